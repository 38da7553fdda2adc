#!/bin/sh
# Installs a release of Skynet for one user: programs, manual and completion. Nothing is installed that was not signed by
# the release's key and does not have the checksum that was signed.
#
# The whole of it is read before any of it runs: what was cut off on its way does nothing.
set -eu

# A release fills these in.
REPOSITORY='@REPOSITORY@'
PUBLIC_KEY='@PUBLIC_KEY@'

usage() {
    cat <<'END'
Installs a release of Skynet.

Usage: install.sh [OPTIONS]

Options:
  --version VERSION  This release instead of the latest
  --prefix DIR       Below this directory instead of /usr/local (root) or ~/.local
  --user             Below ~/.local, also as root
  --base-url URL     Files of the release are in URL (https, file, or http on this host)
  --key KEY          The release is signed with this key of minisign, as text
  --cosign-identity IDENTITY
                     The release is signed without a key by the workflow with this identity
  --help             Print this

Signatures are checked by minisign, or by cosign where an identity is given. A whole host is served by the Debian package.
END
}

refuse() {
    echo "install.sh: $1; nothing was installed" >&2
    exit 1
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# fetch URL FILE
fetch() {
    case "$1" in
    file://*)
        cp "${1#file://}" "$2" 2>/dev/null || refuse "there is no \`$1\`"
        return
        ;;
    https://* | http://127.0.0.1:* | http://localhost:*) ;;
    *) refuse "\`$1\` would come unencrypted" ;;
    esac
    if has curl; then
        # Follows to https alone, and fails when less comes than was announced.
        curl --fail --silent --show-error --location --proto-redir '=https' --output "$2" "$1" || refuse "\`$1\` cannot be had"
    elif has wget; then
        wget --quiet --tries=2 --output-document="$2" "$1" || refuse "\`$1\` cannot be had"
    else
        refuse "there is neither curl nor wget"
    fi
}

sha256() {
    if has sha256sum; then
        sha256sum "$1" | cut -d ' ' -f 1
    else
        shasum -a 256 "$1" | cut -d ' ' -f 1
    fi
}

platform() {
    case "$(uname -s)" in
    Linux) system=linux ;;
    Darwin) system=darwin ;;
    *) refuse "there is no release for $(uname -s)" ;;
    esac
    case "$(uname -m)" in
    x86_64 | amd64) echo "${system}_amd64" ;;
    aarch64 | arm64) echo "${system}_arm64" ;;
    *) refuse "there is no release for $(uname -m)" ;;
    esac
}

# verify DIRECTORY: that SHA256SUMS was written by whoever holds the key.
verify() {
    if [ -n "$identity" ]; then
        has cosign || refuse "cosign is needed to check the signature"
        fetch "$base/SHA256SUMS.sigstore.json" "$1/SHA256SUMS.sigstore.json"
        cosign verify-blob --bundle "$1/SHA256SUMS.sigstore.json" --certificate-identity "$identity" \
            --certificate-oidc-issuer https://token.actions.githubusercontent.com "$1/SHA256SUMS" >/dev/null 2>&1 ||
            refuse "the signature is wrong"
        return
    fi
    case "$key" in
    "" | @*) refuse "this copy of the script has no key; give --key or --cosign-identity" ;;
    esac
    has minisign || refuse "minisign is needed to check the signature (a package of that name, on most systems)"
    fetch "$base/SHA256SUMS.minisig" "$1/SHA256SUMS.minisig"
    minisign -Vqm "$1/SHA256SUMS" -P "$key" >/dev/null 2>&1 || refuse "the signature is wrong"
}

# The one file for this platform that was signed. Of another version it would be an old release in the place of a new one.
choose() {
    if [ -n "$version" ]; then
        wanted="skynet_${version}_$platform.tar.gz"
        grep -E '^[0-9a-f]{64}  ' "$1" | cut -c 67- | grep -Fx "$wanted" || refuse "the release has no \`$wanted\`"
    else
        found="$(grep -E "^[0-9a-f]{64}  skynet_[0-9A-Za-z.-]+_$platform\\.tar\\.gz\$" "$1" | cut -c 67-)"
        [ "$(printf '%s\n' "$found" | grep -c .)" = 1 ] || refuse "the release has nothing for $platform"
        printf '%s\n' "$found"
    fi
}

# Each file is complete before it has its name; one that runs goes on as it was.
place() {
    (cd "$1" && find . ! -type d) | while read -r path; do
        path="${path#./}"
        mkdir -p "$prefix/$(dirname "$path")"
        cp -P "$1/$path" "$prefix/$path.new"
        mv -f "$prefix/$path.new" "$prefix/$path"
    done
}

main() {
    # What root installs is for all users, whatever his mask is.
    umask 022
    version='' prefix='' base='' identity='' key="$PUBLIC_KEY" for_user=no
    while [ $# -gt 0 ]; do
        case "$1" in
        --user) for_user=yes ;;
        --help | -h)
            usage
            exit 0
            ;;
        --version | --prefix | --base-url | --key | --cosign-identity)
            [ $# -gt 1 ] || refuse "$1 needs a value"
            case "$1" in
            --version) version="${2#v}" ;;
            --prefix) prefix="$2" ;;
            --base-url) base="$2" ;;
            --key) key="$2" ;;
            --cosign-identity) identity="$2" ;;
            esac
            shift
            ;;
        *) refuse "\`$1\` is no option; see --help" ;;
        esac
        shift
    done
    if [ -z "$prefix" ]; then
        prefix=/usr/local
        if [ "$for_user" = yes ] || [ "$(id -u)" != 0 ]; then
            prefix="${HOME:?}/.local"
        fi
    fi
    if [ -z "$base" ]; then
        case "$REPOSITORY" in
        @*) refuse "this copy of the script belongs to no release; give --base-url" ;;
        esac
        base="https://github.com/$REPOSITORY/releases/latest/download"
        [ -z "$version" ] || base="https://github.com/$REPOSITORY/releases/download/v$version"
    fi
    platform="$(platform)"
    scratch="$(mktemp -d)"
    trap 'rm -rf "$scratch"' EXIT
    trap 'exit 1' HUP INT TERM

    fetch "$base/SHA256SUMS" "$scratch/SHA256SUMS"
    verify "$scratch"
    name="$(choose "$scratch/SHA256SUMS")"
    fetch "$base/$name" "$scratch/$name"
    signed="$(grep -F "  $name" "$scratch/SHA256SUMS" | cut -d ' ' -f 1)"
    [ "$(sha256 "$scratch/$name")" = "$signed" ] || refuse "\`$name\` is not what was signed"
    mkdir "$scratch/files"
    tar -xzf "$scratch/$name" -C "$scratch/files" || refuse "\`$name\` cannot be unpacked"
    place "$scratch/files"

    echo "installed $name below $prefix"
    case ":$PATH:" in
    *":$prefix/bin:"*) ;;
    *) echo "add $prefix/bin to PATH" ;;
    esac
    echo "next: $prefix/bin/skynetctl client list; $prefix/bin/skynetctl doctor"
}

main "$@"
