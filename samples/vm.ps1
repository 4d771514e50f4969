# The extension on a VM, by its system-assigned identity, with Azure PowerShell.
#
#   ./vm.ps1 -ResourceGroupName rg -VMName vm1 -VaultName myvault
#   ./vm.ps1 -ResourceGroupName rg -VMName vm1 -VaultName myvault -Type KeyVaultForWindows
param(
    [Parameter(Mandatory)] [string] $ResourceGroupName,
    [Parameter(Mandatory)] [string] $VMName,
    [Parameter(Mandatory)] [string] $VaultName,
    [ValidateSet('KeyVaultForLinux', 'KeyVaultForWindows')] [string] $Type = 'KeyVaultForLinux'
)
$ErrorActionPreference = 'Stop'

$vm = Get-AzVM -ResourceGroupName $ResourceGroupName -Name $VMName
if (-not $vm.Identity.PrincipalId) {
    # Not done here: given alone, the type SystemAssigned takes away the user-assigned identities that the VM has.
    throw "${VMName} has no system-assigned identity: give it one with Update-AzVM -IdentityType"
}

# Before the extension: with requireInitialSync it waits for the certificates, and so for the role.
New-AzRoleAssignment -RoleDefinitionName 'Key Vault Secrets User' -ObjectId $vm.Identity.PrincipalId `
    -Scope (Get-AzKeyVault -VaultName $VaultName).ResourceId

# KeyVaultForLinux.json or KeyVaultForWindows.json as it is: text that is put together here easily gets its quotes
# escaped twice.
Set-AzVMExtension -ResourceGroupName $ResourceGroupName -VMName $VMName -Location $vm.Location `
    -Publisher Contoso.Azure.KeyVault -ExtensionType $Type -Name $Type -TypeHandlerVersion 1.0 `
    -SettingString (Get-Content -Raw -Path (Join-Path $PSScriptRoot "$Type.json"))
