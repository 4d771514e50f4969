"""Adds the medians to the results, prints them as a table and draws them: report.py RESULTS.json PLOT.png"""

import json
import statistics
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FuncFormatter, NullFormatter

FIGURES = ["wall_s", "cpu_s", "peak_mib", "vault_requests", "token_requests", "connections", "load"]
# The passes in the order of the table, and how they are drawn.
LINES = {"first": "-", "unchanged": "--", "fetch only": ":"}
# Told apart also without colour vision.
COLOURS = ["#0072b2", "#d55e00", "#767676"]
MARKERS = ["o", "s", "^"]


def medians(runs):
    """The medians of all runs of the same contender, pass and number of certificates, in the order of the table."""
    cells = {}
    for run in runs:
        run = {**run, "cpu_s": run["user_s"] + run["system_s"], "peak_mib": run["peak_kib"] / 1024}
        cells.setdefault((run["certificates"], run["pass"], run["contender"]), []).append(run)
    contenders = list(dict.fromkeys(run["contender"] for run in runs))
    passes = list(LINES)
    return [
        {
            "certificates": certificates,
            "pass": kind,
            "contender": contender,
            **{figure: round(statistics.median(run[figure] for run in cell), 4) for figure in FIGURES},
        }
        for (certificates, kind, contender), cell in sorted(
            cells.items(), key=lambda item: (item[0][0], passes.index(item[0][1]), contenders.index(item[0][2]))
        )
    ]


def table(rows):
    lines = [["certificates", "pass", "contender", "wall s", "CPU s", "peak MiB", "requests", "connections"]]
    for row in rows:
        lines.append(
            [
                str(row["certificates"]),
                row["pass"],
                row["contender"],
                f"{row['wall_s']:.3f}",
                f"{row['cpu_s']:.3f}",
                f"{row['peak_mib']:.1f}",
                f"{row['vault_requests']:.0f} + {row['token_requests']:.0f}",
                f"{row['connections']:.0f}",
            ]
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = [column in (1, 2) for column in range(len(widths))]
    lines.insert(1, ["-" * width if left else "-" * (width - 1) + ":" for width, left in zip(widths, text)])
    return "\n".join(
        "| " + " | ".join(f"{word:{'<' if left else '>'}{width}}" for word, width, left in zip(line, widths, text)) + " |"
        for line in lines
    )


def conditions(results):
    machine = results["machine"]
    loads = [run["load"] for run in results["runs"]]
    runs = max(run["run"] for run in results["runs"])
    return (
        f"{machine['distribution']}, {machine['processors']} processors ({machine['architecture']}, Linux "
        f"{machine['kernel']}), load {min(loads):.1f} to {max(loads):.1f}; round trip to the vault "
        f"{results['round_trip_ms']:.1f} ms; " + ("one run" if runs == 1 else f"medians of {runs} runs")
    )


def plot(results, path):
    rows = results["medians"]
    counts = sorted({row["certificates"] for row in rows})
    contenders = list(dict.fromkeys(row["contender"] for row in rows))
    figure, panels = plt.subplots(1, 2, figsize=(11, 5.6), layout="constrained")
    for panel, quantity, title in zip(panels, ["wall_s", "cpu_s"], ["Wall time", "CPU time, user and system"]):
        for contender, colour, marker in zip(contenders, COLOURS, MARKERS):
            for kind, line in LINES.items():
                cells = [row for row in rows if (row["contender"], row["pass"]) == (contender, kind)]
                if not cells:
                    continue
                panel.plot(
                    [row["certificates"] for row in cells],
                    [row[quantity] for row in cells],
                    color=colour,
                    linestyle=line,
                    marker=marker,
                    markerfacecolor="white" if kind == "unchanged" else colour,
                    label=f"{contender}, {kind}",
                )
        panel.set(xscale="log", yscale="log", xlabel="certificates", ylabel="seconds", title=title)
        panel.set_xticks(counts, [str(count) for count in counts])
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.grid(True, which="major", color="#dddddd")
        panel.spines[["top", "right"]].set_visible(False)
    # The same quantity in the same unit: the panels can be compared when their axes are the same.
    lowest, highest = (edge(panel.get_ylim()[side] for panel in panels) for side, edge in enumerate([min, max]))
    for panel in panels:
        panel.set_ylim(lowest, highest)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(contenders), frameon=False)
    figure.suptitle("Bringing certificates from Key Vault to the disk (lower is better)\n", fontsize=13)
    figure.text(0.5, 0.925, conditions(results), ha="center", fontsize=9, color="#555555")
    figure.savefig(path, dpi=150)


def main():
    results_path, plot_path = map(Path, sys.argv[1:])
    results = json.loads(results_path.read_text())
    results["medians"] = medians(results["runs"])
    results_path.write_text(json.dumps(results, indent=1) + "\n")
    plot(results, plot_path)
    print(f"{conditions(results)}\n\n{table(results['medians'])}")


main()
