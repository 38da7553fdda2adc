# Installs Skynet's Debian package inside a distribution of WSL 2. A release fills in what stands between at signs.
$ErrorActionPreference = 'Stop'

$version = '@VERSION@'
$base = "https://github.com/@REPOSITORY@/releases/download/v$version"
$checksums = @{
    'amd64' = '@SHA256_DEB_AMD64@'
    'arm64' = '@SHA256_DEB_ARM64@'
}

$parameters = Get-PackageParameters
$distribution = @()
if ($parameters['Distribution']) {
    $distribution = @('--distribution', $parameters['Distribution'])
}

function Invoke-Linux {
    # Runs a program inside as root; what it prints. Its failure is this script's.
    param([Parameter(Mandatory)][string[]]$Command)
    $said = & wsl.exe @distribution --user root --exec @Command
    if ($LASTEXITCODE -ne 0) {
        throw "wsl: '$($Command -join ' ')' ended with $LASTEXITCODE"
    }
    return ($said -join "`n").Trim()
}

if (-not (Get-Command wsl.exe -ErrorAction SilentlyContinue)) {
    throw 'There is no WSL. Run "wsl --install" as administrator, restart, and install this package again.'
}
# WSL 1 has no kernel of its own, and so no namespaces, Landlock or seccomp.
$kernel = Invoke-Linux @('uname', '-r')
if ($kernel -notmatch 'WSL2|microsoft-standard') {
    throw "The distribution runs on '$kernel', not on WSL 2. Run: wsl --set-version NAME 2"
}
$first = Invoke-Linux @('ps', '-p', '1', '-o', 'comm=')
if ($first -ne 'systemd') {
    throw 'systemd is not in charge there. Write "[boot]" and "systemd=true" into /etc/wsl.conf, run "wsl --shutdown", and try again.'
}
$architecture = Invoke-Linux @('dpkg', '--print-architecture')
if (-not $checksums.ContainsKey($architecture)) {
    throw "There is no package for '$architecture'."
}

# Debian writes the version of an alpha with a tilde.
$file = "skynet_$($version.Replace('-', '~'))-1_$architecture.deb"
$local = Join-Path $env:TEMP $file
Get-ChocolateyWebFile -PackageName 'skynet' -FileFullPath $local `
    -Url "$base/$($file.Replace('~', '.'))" `
    -Checksum $checksums[$architecture] -ChecksumType 'sha256'
try {
    $inside = Invoke-Linux @('wslpath', '-a', $local.Replace('\', '/'))
    Invoke-Linux @('env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', 'install', '--yes', $inside) | Write-Verbose
}
finally {
    Remove-Item -Path $local -ErrorAction SilentlyContinue
}

$user = $parameters['User']
if (-not $user) {
    $user = (& wsl.exe @distribution --exec id -un | Out-String).Trim()
}
if ($user -and $user -ne 'root') {
    Invoke-Linux @('adduser', '--quiet', $user, 'skynet') | Write-Verbose
}
Write-Host "Skynet $version serves the distribution. A client on Windows starts: wsl.exe $distribution --exec /usr/bin/skynet-shim"
