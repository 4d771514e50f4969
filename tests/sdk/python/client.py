"""Fetches secrets with Microsoft's Python SDK: client.py VAULT_URL NAME...

Prints one JSON object a line: name, version and SHA-256 of the value, or name, status and code of the error.
"""

import hashlib
import json
import sys

from azure.core.exceptions import HttpResponseError
from azure.identity import ManagedIdentityCredential
from azure.keyvault.secrets import SecretClient

vault, *names = sys.argv[1:]
client = SecretClient(vault, ManagedIdentityCredential(), retry_total=1)
for name in names:
    try:
        secret = client.get_secret(name)
        digest = hashlib.sha256(secret.value.encode()).hexdigest()
        result = {"version": secret.properties.version, "sha256": digest}
    except HttpResponseError as error:
        result = {"status": error.status_code, "code": error.error.code}
    print(json.dumps({"name": name, **result}))
