#!/bin/sh
# The extension on a VM, by its system-assigned identity, with Azure CLI.
#
#   RESOURCE_GROUP=rg VM=vm1 VAULT=myvault ./vm.sh
#   RESOURCE_GROUP=rg VM=vm1 VAULT=myvault TYPE=KeyVaultForWindows ./vm.sh
set -eu
: "${RESOURCE_GROUP:?}" "${VM:?}" "${VAULT:?}" "${TYPE:=KeyVaultForLinux}"
cd "$(dirname "$0")"

principal=$(az vm identity assign --resource-group "$RESOURCE_GROUP" --name "$VM" \
  --query systemAssignedIdentity --output tsv)

# Before the extension: with requireInitialSync it waits for the certificates, and so for the role.
az role assignment create --role "Key Vault Secrets User" \
  --assignee-object-id "$principal" --assignee-principal-type ServicePrincipal \
  --scope "$(az keyvault show --name "$VAULT" --query id --output tsv)"

# With the settings of KeyVaultForLinux.json or KeyVaultForWindows.json.
az vm extension set --resource-group "$RESOURCE_GROUP" --vm-name "$VM" \
  --publisher Contoso.Azure.KeyVault --name "$TYPE" --version 1.0 \
  --settings "$TYPE.json"
