"""The private world in which is measured: the emulated Azure, and the network to it."""

import os
import socket
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Seconds for one order to the emulator.
ORDER = 60


def say(text):
    print(text, file=sys.stderr, flush=True)


class Emulator:
    """The emulated Azure around this process, with a vault that is filled here."""

    def __init__(self, program, folder, vault):
        self.command = [program, "--folder", folder, "--vault", vault]
        self.host = f"{vault}.vault.azure.net"

    def order(self, *words):
        done = subprocess.run([*self.command, *words], stdout=subprocess.PIPE, timeout=ORDER, check=True, text=True)
        return done.stdout

    def fill(self, count):
        """Puts certificates of the usual kinds into the vault; answers the version of each by its name."""

        def put(number):
            kind = ["rsa-pfx"] * 7 + ["ec-pfx"] * 2 + ["rsa-pem"]
            url = self.order("put", f"c{number:05}", "--kind", kind[number % len(kind)])
            return url.strip().rsplit("/", 2)[1:]

        with ThreadPoolExecutor(2 * os.cpu_count()) as pool:
            return dict(pool.map(put, range(count)))

    def requests(self):
        """The server (`Vault`, `Imds`) of each request so far."""
        return [line.split()[1] for line in self.order("requests").splitlines()]

    def round_trip(self):
        """Milliseconds that it takes to connect, which is one round trip."""
        times = []
        for _ in range(5):
            start = time.monotonic()
            socket.create_connection((self.host, 443), timeout=10).close()
            times.append(1000 * (time.monotonic() - start))
        return statistics.median(times)


def add_latency(milliseconds):
    """Delays every packet of this network by half a round trip. Answers what was added: 0 where it cannot be done."""
    if milliseconds == 0:
        return 0
    delay = ["netem", "delay", f"{milliseconds / 2}ms", "limit", "100000"]
    done = subprocess.run(["tc", "qdisc", "add", "dev", "lo", "root", *delay], stderr=subprocess.PIPE, text=True)
    if done.returncode == 0:
        return milliseconds
    say(f"This kernel cannot delay packets (tc netem: {done.stderr.strip()}); going on without an added round trip.")
    return 0


def connections():
    """The TCP connections that were accepted in this network so far, by any server."""
    tcp = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Tcp:")]
    return int(dict(zip(*tcp))["PassiveOpens"])
