<#
.SYNOPSIS
Checks on a real Windows Server what the tests cannot show under Wine, and says pass or fail for each.

.DESCRIPTION
To be run as an administrator, in Windows PowerShell 5.1 or later, after the extension was deployed and has succeeded.
Nothing is changed, unless -Disruptive is given: then the service is stopped, started and killed.
Ends with the number of checks that failed. What cannot be told on this machine is skipped, with the reason.

.PARAMETER Accounts
Accounts of the settings ("accounts") that must be able to read every private key.

.PARAMETER Connect
HOST:PORT of a TLS server on this machine, such as IIS, that must show the newest version of its certificate.

.PARAMETER ServerName
The name that is asked for there.

.PARAMETER Disruptive
Also checks that the service ends in time, and that it is started again after a failure and counts it.

.EXAMPLE
.\windows-check.ps1 -Accounts 'NETWORK SERVICE' -Connect localhost:443 -ServerName www.contoso.com
#>
[CmdletBinding()]
param(
    [string[]] $Accounts = @(),
    [string] $Connect,
    [string] $ServerName = 'localhost',
    [switch] $Disruptive
)
Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'

$name = 'akvvm_service'
$folder = 'C:\Program Files\akvvm'
$mark = 'Key Vault VM extension'
$events = 'Microsoft-Windows-CertificateServicesClient-Lifecycle-System/Operational'
$script:failed = 0

# Runs one check: it gives $true, or text that says what is wrong; @{ Skip = 'why' } is neither.
function Test-That([string] $what, [scriptblock] $check) {
    try { $result = & $check } catch { $result = "$_" }
    if ($result -is [hashtable]) { Write-Output "skip  $what ($($result.Skip))" }
    elseif ($result -is [bool] -and $result) { Write-Output "pass  $what" }
    else { $script:failed++; Write-Output "FAIL  $what ($result)" }
}

# The status file that the service wrote last; none when it was not started by the handler.
function Get-NewestStatus {
    $folder = [regex]::Match((Get-TheService).PathName, '--status-folder (?:"([^"]+)"|(\S+))')
    $folder = $folder.Groups[1].Value + $folder.Groups[2].Value
    if ($folder) { Get-ChildItem $folder -Filter *.status | Sort-Object LastWriteTimeUtc | Select-Object -Last 1 }
}

function Get-TheService { Get-CimInstance Win32_Service -Filter "Name='$name'" }

Add-Type -Namespace Akvvm -Name Crypt32 -MemberDefinition @'
[DllImport("crypt32.dll", SetLastError = true)]
public static extern bool CertGetCertificateContextProperty(IntPtr certificate, uint property, byte[] data, ref uint length);
'@

# A property of a certificate, as bytes; none when it does not have it.
function Get-Property($certificate, [uint32] $property) {
    [uint32] $length = 0
    if (-not [Akvvm.Crypt32]::CertGetCertificateContextProperty($certificate.Handle, $property, $null, [ref] $length)) {
        return , [byte[]] @()
    }
    $data = New-Object byte[] $length
    $null = [Akvvm.Crypt32]::CertGetCertificateContextProperty($certificate.Handle, $property, $data, [ref] $length)
    , $data
}

# The description (13) marks the certificates that the extension installed; the renewal (64) is the newer one's thumbprint.
function Get-Ours {
    foreach ($store in Get-ChildItem Cert:\LocalMachine) {
        if ($store.Name -in 'Root', 'CA', 'AuthRoot', 'Disallowed', 'TrustedPublisher') { continue }
        foreach ($certificate in Get-ChildItem $store.PSPath -ErrorAction SilentlyContinue) {
            if ([Text.Encoding]::Unicode.GetString((Get-Property $certificate 13)).StartsWith($mark)) {
                $renewal = -join (Get-Property $certificate 64 | ForEach-Object { $_.ToString('X2') })
                [pscustomobject]@{ Store = $store.Name; Certificate = $certificate; Renewal = $renewal }
            }
        }
    }
}

function Get-Key($certificate) {
    $key = [Security.Cryptography.X509Certificates.RSACertificateExtensions]::GetRSAPrivateKey($certificate)
    if ($key) { return $key }
    [Security.Cryptography.X509Certificates.ECDsaCertificateExtensions]::GetECDsaPrivateKey($certificate)
}

# The file that holds a key of the machine.
function Get-KeyFile($certificate) {
    $key = Get-Key $certificate
    $file = if ($key.PSObject.Properties['Key']) { $key.Key.UniqueName } else { $key.CspKeyContainerInfo.UniqueKeyContainerName }
    $folders = "$env:ProgramData\Microsoft\Crypto\RSA\MachineKeys", "$env:ProgramData\Microsoft\Crypto\Keys"
    $folders | ForEach-Object { Join-Path $_ $file } | Where-Object { Test-Path $_ } | Select-Object -First 1
}

Test-That 'the service runs, by itself, as LocalSystem, under its name' {
    $service = Get-TheService
    if (-not $service) { return "there is no service $name" }
    $found = "$($service.State)/$($service.StartMode)/$($service.StartName)/$($service.DisplayName)"
    if ($found -eq 'Running/Auto/LocalSystem/Key Vault VM Extension') { $true } else { $found }
}
Test-That 'its path is quoted' {
    $path = (Get-TheService).PathName
    if ($path.StartsWith("`"$folder\versions\")) { $true } else { $path }
}
Test-That 'it is started again after a failure, with growing pauses' {
    $said = sc.exe qfailure $name | Out-String
    $pauses = [regex]::Matches($said, '(\d+)\s*[a-z]*\.?\s*$', 'Multiline') | ForEach-Object { $_.Groups[1].Value }
    if ("$pauses" -match '5000 30000 300000') { $true } else { $said }
}
Test-That 'also after one that it told of' {
    $said = sc.exe qfailureflag $name | Out-String
    if ($said -match 'TRUE|: 1') { $true } else { $said }
}
Test-That 'only administrators can write where its programs and settings are' {
    $strangers = foreach ($item in @(Get-Item $folder) + @(Get-ChildItem $folder -Recurse -Force)) {
        foreach ($rule in (Get-Acl $item.FullName).Access) {
            $sid = $rule.IdentityReference.Translate([Security.Principal.SecurityIdentifier]).Value
            $writes = $rule.FileSystemRights -band [Security.AccessControl.FileSystemRights]'Write,Delete,ChangePermissions,TakeOwnership'
            $known = $sid -in 'S-1-5-18', 'S-1-5-32-544', 'S-1-3-0' -or $sid.StartsWith('S-1-5-80-')
            if ($writes -and $rule.AccessControlType -eq 'Allow' -and -not $known) { "$($item.FullName): $($rule.IdentityReference)" }
        }
    }
    if ($strangers) { $strangers -join '; ' } else { $true }
}
Test-That 'a poll is made when PARAMCHANGE asks for it' {
    $status = Get-NewestStatus
    if (-not $status) { return @{ Skip = 'the service was not started by the handler' } }
    $before = $status.LastWriteTimeUtc
    sc.exe control $name paramchange | Out-Null
    foreach ($second in 1..120) {
        Start-Sleep -Seconds 1
        if ((Get-NewestStatus).LastWriteTimeUtc -gt $before) { return $true }
    }
    'the status file did not change within two minutes'
}
Test-That 'the vaults are trusted, by roots that Windows fetches where it has to' {
    $status = Get-NewestStatus
    if (-not $status) { return @{ Skip = 'the service was not started by the handler' } }
    $said = Get-Content $status.FullName -Raw
    if ($said -match 'nobody this machine trusts') { $said } else { $true }
}

$ours = @(Get-Ours)
Test-That 'certificates of the extension are in the stores of the machine' {
    if ($ours.Count) { $true } else { 'none is' }
}
foreach ($one in $ours) {
    $certificate = $one.Certificate
    $title = "$($one.Store)\$($certificate.Thumbprint)"
    Test-That "${title}: the key signs" {
        $key = Get-Key $certificate
        $bytes = [byte[]](1..32)
        $hash = [Security.Cryptography.HashAlgorithmName]::SHA256
        if ($key -is [Security.Cryptography.RSA]) {
            $padding = [Security.Cryptography.RSASignaturePadding]::Pkcs1
            $public = [Security.Cryptography.X509Certificates.RSACertificateExtensions]::GetRSAPublicKey($certificate)
            $public.VerifyData($bytes, $key.SignData($bytes, $hash, $padding), $hash, $padding)
        } else {
            $public = [Security.Cryptography.X509Certificates.ECDsaCertificateExtensions]::GetECDsaPublicKey($certificate)
            $public.VerifyData($bytes, $key.SignData($bytes, $hash), $hash)
        }
    }
    Test-That "${title}: the key cannot be exported" {
        try { $null = $certificate.Export('Pfx', 'check') } catch { return $true }
        @{ Skip = 'it can: is keyExportable true in the settings?' }
    }
    Test-That "${title}: the key belongs to SYSTEM, Administrators and the accounts of the settings" {
        $file = Get-KeyFile $certificate
        if (-not $file) { return @{ Skip = 'its key lies in no file' } }
        $readers = (Get-Acl $file).Access | Where-Object { $_.AccessControlType -eq 'Allow' } |
            ForEach-Object { $_.IdentityReference.Translate([Security.Principal.SecurityIdentifier]).Value }
        $wanted = @('S-1-5-18', 'S-1-5-32-544') + @($Accounts | ForEach-Object {
            ([Security.Principal.NTAccount] $_).Translate([Security.Principal.SecurityIdentifier]).Value })
        $missing = @($wanted | Where-Object { $_ -notin $readers })
        $public = @($readers | Where-Object { $_ -in 'S-1-1-0', 'S-1-5-11', 'S-1-5-32-545' })
        if ($missing) { "no access: $missing" } elseif ($public) { "everybody has access: $public" } else { $true }
    }
    Test-That "${title}: a key in CNG is in KeyGuard" {
        if ([Environment]::OSVersion.Version.Build -lt 26100) { return @{ Skip = 'Windows Server 2025 has it first' } }
        $key = Get-Key $certificate
        if (-not $key.PSObject.Properties['Key']) { return @{ Skip = 'the key is in CAPI' } }
        $option = [Security.Cryptography.CngPropertyOptions]::None
        if ($key.Key.HasProperty('Virtual Iso', $option)) { $true } else { @{ Skip = 'it is not; the log of the service says why' } }
    }
    if ($one.Renewal) {
        Test-That "${title}: its renewal was announced (event 1001)" {
            $told = Get-WinEvent -FilterHashtable @{ LogName = $events; Id = 1001 } -ErrorAction SilentlyContinue |
                Where-Object { $_.ToXml() -match $one.Renewal }
            if ($told) { $true } elseif ($one.Store -ne 'My') { @{ Skip = 'it is documented for My only' } } else { 'it was not' }
        }
        Test-That "${title}: its link leads to a certificate of the same store" {
            [bool]($ours | Where-Object { $_.Store -eq $one.Store -and $_.Certificate.Thumbprint -eq $one.Renewal })
        }
    }
}
if ($Connect) {
    Test-That "$Connect shows the newest version" {
        $server, $port = $Connect -split ':(?=\d+$)'
        $client = [Net.Sockets.TcpClient]::new($server, [int] $port)
        $anybody = [Net.Security.RemoteCertificateValidationCallback] { $true }
        $stream = [Net.Security.SslStream]::new($client.GetStream(), $false, $anybody)
        $stream.AuthenticateAsClient($ServerName)
        $shown = $stream.RemoteCertificate.GetCertHashString()
        $client.Close()
        $found = $ours | Where-Object { $_.Certificate.Thumbprint -eq $shown }
        if (-not $found) { "it shows $shown, which is none of the extension's" }
        elseif ($found.Renewal) { "it shows $shown, which was renewed by $($found.Renewal)" }
        else { $true }
    }
}
if ($Disruptive) {
    Test-That 'the service ends within five seconds' {
        $took = Measure-Command { Stop-Service $name }
        Start-Service $name
        if ($took.TotalSeconds -le 5) { $true } else { "$($took.TotalSeconds) s" }
    }
    Test-That 'the service is started again when it was killed' {
        $process = (Get-TheService).ProcessId
        Stop-Process -Id $process -Force
        foreach ($second in 1..60) {
            Start-Sleep -Seconds 1
            $now = Get-TheService
            if ($now.State -eq 'Running' -and $now.ProcessId -ne $process) { return $true }
        }
        'it was not within a minute'
    }
    Test-That 'and counts that end' {
        foreach ($second in 1..10) {
            Start-Sleep -Seconds 1
            if (Test-Path "$folder\state\ends.json") { return $true }
        }
        'it did not within ten seconds'
    }
}
Write-Output "$script:failed failed"
exit $script:failed
