"""Measures the contenders inside the emulator's private world, and prints the figures as JSON.

Each is run in turn against the same vault, first on an empty folder, then on what it left there. Wall time is taken
around the process, CPU time (user and system) from the rusage of its process tree. Peak memory is that of its
largest process, which GNU time reports: a process that Python starts would inherit Python's own peak.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from contenders import contenders
from world import Emulator, add_latency, connections, say

# Seconds that a contender gets: these, and one more for each certificate.
PATIENCE = 60

ENDINGS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]


def run(name, command, patience, folder):
    """Runs a command to its end; answers its figures, or fails with its last words."""
    output, memory = folder / "output", folder / "memory"
    with output.open("wb") as words:
        start = time.monotonic()
        process = subprocess.Popen(
            ["/usr/bin/time", "--quiet", "--format=%M", f"--output={memory}", "--", *command],
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            # A group of its own, so that all of it can be ended.
            preexec_fn=os.setpgrp,
        )
    alarm = threading.Timer(patience, os.killpg, [process.pid, signal.SIGKILL])
    alarm.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        alarm.cancel()
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode != 0:
        manner = f"exit code {process.returncode}"
        if process.returncode == -signal.SIGKILL:
            manner = f"was ended after {patience} s"
        sys.exit(f"{name}: {manner}\n{output.read_text(errors='replace')[-2000:]}")
    return {
        "wall_s": round(wall, 4),
        "user_s": round(usage.ru_utime, 4),
        "system_s": round(usage.ru_stime, 4),
        "peak_kib": int(memory.read_text()),
    }


def measure(emulator, contender, versions, folder):
    """All passes of one contender, from an empty folder; fails unless everything is there after each."""
    shutil.rmtree(folder, ignore_errors=True)
    store = folder / "store"
    store.mkdir(parents=True)
    command = contender.command(emulator.host, list(versions), store)
    for kind in contender.passes:
        requests, opened = len(emulator.requests()), connections()
        load = os.getloadavg()[0]
        figures = run(contender.name, command, PATIENCE + len(versions), folder)
        wrong = contender.wrong(emulator.host, versions, store)
        if wrong:
            sys.exit(f"{contender.name}, {kind} pass: {wrong}")
        new = emulator.requests()[requests:]
        yield {
            "contender": contender.name,
            "pass": kind,
            "certificates": len(versions),
            **figures,
            "vault_requests": new.count("Vault"),
            "token_requests": new.count("Imds"),
            "connections": connections() - opened,
            "load": round(load, 2),
        }


def end(*_):
    """Ends what is under way and tidies up, undisturbed: the signal comes once for each thread of the emulator."""
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)
    sys.exit("ended")


def machine():
    system = platform.uname()
    name = subprocess.run(["sh", "-c", '. /etc/os-release; echo "$PRETTY_NAME"'], stdout=subprocess.PIPE, text=True)
    return {
        "processors": os.cpu_count(),
        "architecture": system.machine,
        "kernel": system.release,
        "distribution": name.stdout.strip(),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--service", required=True)
    parser.add_argument("--emulator", required=True)
    parser.add_argument("--emulator-folder", required=True)
    parser.add_argument("--vault", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--certificates", required=True)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--latency", type=float, required=True)
    arguments = parser.parse_args()
    for number in ENDINGS:
        signal.signal(number, end)
    # Their HTTP libraries bring roots of their own; these are the system's.
    os.environ["REQUESTS_CA_BUNDLE"] = "/etc/ssl/certs/ca-certificates.crt"

    counts = sorted({int(count) for count in arguments.certificates.split(",")})
    emulator = Emulator(arguments.emulator, arguments.emulator_folder, arguments.vault)
    say(f"filling the vault with {counts[-1]} certificates")
    versions = emulator.fill(counts[-1])
    latency = add_latency(arguments.latency)
    competing = contenders(arguments.service, latency)
    result = {"machine": machine(), "latency_ms": latency, "round_trip_ms": round(emulator.round_trip(), 3), "runs": []}
    with tempfile.TemporaryDirectory(dir=arguments.folder.resolve()) as folder:
        folder = Path(folder)
        for contender in competing:
            # Unmeasured, so that the first one measured does not pay for reading programs from the disk.
            list(measure(emulator, contender, dict(list(versions.items())[:1]), folder / "pass"))
        for number in range(arguments.runs):
            for count in counts:
                for contender in competing:
                    wanted = dict(list(versions.items())[:count])
                    for figures in measure(emulator, contender, wanted, folder / "pass"):
                        result["runs"].append({"run": number + 1, **figures})
                        say(
                            f"run {number + 1} of {arguments.runs}, certificates: {count}, {contender.name}, "
                            f"{figures['pass']}: {figures['wall_s']:.3f} s"
                        )
                competing.append(competing.pop(0))
    json.dump(result, sys.stdout, indent=1)


main()
