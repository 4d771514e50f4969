"""What is measured side by side: how each contender is started, and how to tell that it did its work."""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

HERE = Path(__file__).resolve().parent

# Requests under way at a time: as many as akvvm_service has.
PARALLEL = "16"

# Everything from an empty folder, then once more with nothing to do.
WORK = ["first", "unchanged"]

# Leaf, intermediate, root: what the emulated authority issues.
CHAIN = 3


class Contender(NamedTuple):
    """A program that brings certificates from a vault to a folder. What is in the folder afterwards is looked at, not
    what the program says."""

    name: str
    # How its passes are called: the first one starts with an empty folder, the next with what that one left.
    passes: list
    # (host, names, folder) -> the words of the command line
    command: Callable
    # (host, {name: version}, folder) -> what is wrong with the folder, or None
    wrong: Callable


def contenders(service, latency):
    """All of them. `service` is the path of akvvm_service, `latency` the round trip that was added to the network."""
    # Without a network to wait for, threads only make it slower: its work on a PFX keeps to one processor.
    threads = PARALLEL if latency else "1"
    return [
        Contender("akvvm_service sync", WORK, lambda *task: sync(service, *task), wrong_installation),
        Contender("Python SDK", WORK, lambda *task: python_sdk(threads, *task), wrong_installation),
        Contender("curl --parallel", ["fetch only"], curl, wrong_answers),
    ]


def sync(service, host, names, folder):
    settings = Path(folder).parent / "settings.json"
    observed = [{"url": f"https://{host}/secrets/{name}", "certificateStoreLocation": str(folder)} for name in names]
    settings.write_text(json.dumps({"secretsManagementSettings": {"observedCertificates": observed}}))
    return [service, "sync", settings]


def python_sdk(threads, host, names, folder):
    return [sys.executable, HERE / "python_sdk.py", threads, folder, host, *names]


def curl(host, names, folder):
    return [HERE / "curl_parallel", PARALLEL, folder, host, *names]


def wrong_installation(host, versions, folder):
    """Every link leads to the file of the newest version, and that holds the certificate, its chain and its key."""
    vault = host.split(".")[0]
    for name, version in versions.items():
        link = folder / f"{vault}.{name}"
        file = f"{link.name}.{version}"
        if not link.is_symlink() or os.readlink(link) != file:
            return f"{link} does not lead to {file}"
        wrong = wrong_pem(link.read_bytes(), f"{name}.example.com")
        if wrong:
            return f"{link}: {wrong}"
    found = sum(1 for _ in folder.iterdir())
    if found != 2 * len(versions):
        return f"{folder}: {found} files and links for {len(versions)} certificates"
    return None


def wrong_pem(pem, dns_name):
    chain = x509.load_pem_x509_certificates(pem)
    if len(chain) != CHAIN:
        return f"{len(chain)} certificates instead of {CHAIN}"
    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if dns_name not in names.get_values_for_type(x509.DNSName):
        return f"the first certificate is not that of {dns_name}"
    if any(below.issuer != above.subject for below, above in zip(chain, chain[1:])):
        return "the chain is out of order"
    key = re.search(rb"-----BEGIN PRIVATE KEY-----.*?-----END PRIVATE KEY-----\n", pem, re.DOTALL)
    if key is None:
        return "the private key is missing"
    key = load_pem_private_key(key[0], None, unsafe_skip_rsa_key_validation=True)
    if key.public_key() != chain[0].public_key():
        return "the key is not that of the first certificate"
    return None


def wrong_answers(host, versions, folder):
    """Every answer is there, and is the newest version."""
    for name, version in versions.items():
        file = folder / f"{name}.json"
        expected = f"https://{host}/secrets/{name}/{version}"
        if not file.exists():
            return f"{file} is missing"
        if json.loads(file.read_bytes()).get("id") != expected:
            return f"{file} is not {expected}"
    return None
