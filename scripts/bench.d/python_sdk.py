"""Installs certificates with Microsoft's Python SDK: python_sdk.py THREADS FOLDER HOST NAME...

What one would write with it: fetch the secret, turn a PFX into PEM (leaf, chain, key), write the file under its
version and swing the link to it. A version that is there already is left alone.
"""

import base64
import os
import sys
from concurrent.futures import ThreadPoolExecutor

from azure.identity import ManagedIdentityCredential
from azure.keyvault.secrets import SecretClient
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12


def ordered(leaf, others):
    """The leaf and its issuers, each certificate before the one that certifies it."""
    by_subject = {certificate.subject: certificate for certificate in others}
    chain = [leaf]
    while issuer := by_subject.pop(chain[-1].issuer, None):
        chain.append(issuer)
    return chain


def to_pem(secret):
    if secret.properties.content_type == "application/x-pem-file":
        return secret.value.encode()
    key, leaf, others = pkcs12.load_key_and_certificates(base64.b64decode(secret.value), b"")
    certificates = [certificate.public_bytes(Encoding.PEM) for certificate in ordered(leaf, others)]
    return b"".join(certificates) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def install(client, vault, name, folder):
    secret = client.get_secret(name)
    file = f"{vault}.{name}.{secret.properties.version}"
    path, link = os.path.join(folder, file), os.path.join(folder, f"{vault}.{name}")
    if os.path.exists(path) and os.path.islink(link) and os.readlink(link) == file:
        return
    with open(os.open(f"{path}.tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as new:
        new.write(to_pem(secret))
    os.replace(f"{path}.tmp", path)
    os.symlink(file, f"{link}.tmp")
    os.replace(f"{link}.tmp", link)


def main():
    threads, folder, host, *names = sys.argv[1:]
    client = SecretClient(f"https://{host}", ManagedIdentityCredential())
    vault = host.split(".")[0]
    with ThreadPoolExecutor(int(threads)) as pool:
        # Asking for each result raises what went wrong in its thread.
        for _ in pool.map(lambda name: install(client, vault, name, folder), names):
            pass


main()
