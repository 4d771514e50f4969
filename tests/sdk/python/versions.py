"""Lists the versions of a secret with Microsoft's Python SDK: versions.py VAULT_URL NAME

Prints one JSON object a line: version, whether it is enabled, and when it was created; or status and code of the error.
"""

import json
import sys

from azure.core.exceptions import HttpResponseError
from azure.identity import ManagedIdentityCredential
from azure.keyvault.secrets import SecretClient

vault, name = sys.argv[1:]
client = SecretClient(vault, ManagedIdentityCredential(), retry_total=1)
try:
    for version in client.list_properties_of_secret_versions(name):
        created = int(version.created_on.timestamp())
        print(json.dumps({"version": version.version, "enabled": version.enabled, "created": created}))
except HttpResponseError as error:
    print(json.dumps({"status": error.status_code, "code": error.error.code}))
