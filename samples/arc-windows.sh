#!/bin/sh
# The extension on a machine with Windows that is connected by Azure Arc, by the machine's own identity, with Azure CLI.
#
#   RESOURCE_GROUP=rg MACHINE=server1 LOCATION=westeurope VAULT=myvault ./arc-windows.sh
set -eu
: "${RESOURCE_GROUP:?}" "${MACHINE:?}" "${LOCATION:?}" "${VAULT:?}"

principal=$(az connectedmachine show --resource-group "$RESOURCE_GROUP" --name "$MACHINE" \
  --query identity.principalId --output tsv)

az role assignment create --role "Key Vault Secrets User" \
  --assignee-object-id "$principal" --assignee-principal-type ServicePrincipal \
  --scope "$(az keyvault show --name "$VAULT" --query id --output tsv)"

# The Azure Arc agent gives the tokens; it listens on the machine itself, at this port.
settings=$(cat <<JSON
{
  "secretsManagementSettings": {
    "pollingIntervalInS": "3600",
    "requireInitialSync": true,
    "linkOnRenewal": "sameCertificate",
    "observedCertificates": [
      {
        "url": "https://$VAULT.vault.azure.net/secrets/web",
        "certificateStoreName": "MY",
        "certificateStoreLocation": "LocalMachine",
        "accounts": ["NETWORK SERVICE"]
      }
    ]
  },
  "authenticationSettings": { "msiEndpoint": "http://localhost:40342/metadata/identity" }
}
JSON
)

az connectedmachine extension create --resource-group "$RESOURCE_GROUP" --machine-name "$MACHINE" \
  --location "$LOCATION" --publisher Contoso.Azure.KeyVault --type KeyVaultForWindows --name KeyVaultForWindows \
  --settings "$settings"
