# Removes Skynet from the distribution of WSL 2; its configuration and state stay, as Debian keeps them.
$ErrorActionPreference = 'Stop'

$parameters = Get-PackageParameters
$distribution = @()
if ($parameters['Distribution']) {
    $distribution = @('--distribution', $parameters['Distribution'])
}
& wsl.exe @distribution --user root --exec env DEBIAN_FRONTEND=noninteractive apt-get remove --yes skynet
if ($LASTEXITCODE -ne 0) {
    throw "apt-get remove ended with $LASTEXITCODE"
}
