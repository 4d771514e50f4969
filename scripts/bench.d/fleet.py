"""Draws how a fleet gets its certificates, as the campaign simulated it: fleet.py FLEET.json PLOT.png"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Told apart also without colour vision.
COLOURS = {1: "#0072b2", 5: "#d55e00", 20: "#767676"}


def draw(fleets, path):
    starts = list(dict.fromkeys(fleet["start"] for fleet in fleets))
    figure, axes = plt.subplots(1, len(starts), figsize=(3.2 * len(starts), 3.2), sharey=True, layout="constrained")
    for axis, start in zip(axes, starts):
        for fleet in fleets:
            if fleet["start"] == start:
                axis.plot(
                    fleet["seconds"],
                    range(1, 101),
                    color=COLOURS[fleet["certificates"]],
                    linestyle="-" if fleet["retry_after"] else "--",
                    label=f"{fleet['certificates']}, Retry-After: {'yes' if fleet['retry_after'] else 'no'}",
                )
        axis.set_title(start, fontsize=9)
        axis.set_xlabel("seconds since its start, or the outage's end", fontsize=8)
        # A fleet that nobody refuses is a line on the left.
        axis.set_xlim(-1, max(60, axis.get_xlim()[1]))
    axes[0].set_ylabel("machines with all certificates, %")
    axes[0].legend(title="certificates", fontsize=7, title_fontsize=7, loc="lower right")
    figure.suptitle("10,000 machines before one vault that answers 4,000 requests in 10 s", fontsize=10)
    figure.savefig(path, dpi=80)


draw(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2])
