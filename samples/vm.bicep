// The extension on a VM that has a user-assigned identity, with the settings of KeyVaultForLinux.json or
// KeyVaultForWindows.json.

@description('A VM to which the identity is assigned.')
param vmName string

@description('A user-assigned identity in this resource group.')
param identityName string

@description('A vault with role-based access, in this resource group.')
param vaultName string = 'myvault'

@description('KeyVaultForWindows on a VM with Windows.')
@allowed(['KeyVaultForLinux', 'KeyVaultForWindows'])
param extensionType string = 'KeyVaultForLinux'

param location string = resourceGroup().location

var settings = {
  KeyVaultForLinux: loadJsonContent('KeyVaultForLinux.json')
  KeyVaultForWindows: loadJsonContent('KeyVaultForWindows.json')
}

resource vm 'Microsoft.Compute/virtualMachines@2024-07-01' existing = {
  name: vmName
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' existing = {
  name: identityName
}

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' existing = {
  name: vaultName
}

// Key Vault Secrets User: a certificate is read with its key through its secret.
resource role 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, identity.id, 'Key Vault Secrets User')
  scope: vault
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4633458b-17de-408a-b874-0445c86b69e6')
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
  }
}

resource extension 'Microsoft.Compute/virtualMachines/extensions@2024-07-01' = {
  parent: vm
  name: extensionType
  location: location
  // With requireInitialSync the extension succeeds only with the role: it must not come after.
  dependsOn: [role]
  properties: {
    publisher: 'Contoso.Azure.KeyVault'
    type: extensionType
    typeHandlerVersion: '1.0'
    autoUpgradeMinorVersion: true
    settings: union(settings[extensionType], {
      authenticationSettings: {
        msiEndpoint: 'http://169.254.169.254/metadata/identity'
        msiClientId: identity.properties.clientId
      }
    })
  }
}
