//! Where commands find programs and certificates, all of it read-only to them.

/// Programs and their data.
pub const SYSTEM: [&str; 10] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix", "/snap"];

/// Certificates that one command trusts, if it was given any.
pub const CERTIFICATES: &str = "/etc/skynet-certificates.pem";

/// Where package managers keep which registries they ask, below a home directory. Some hold passwords besides: no command sees them, and
/// what is asked about the host reads them as data.
pub const REGISTRY_SETTINGS: [&str; 9] = [
    ".cargo/config.toml",
    ".config/pip/pip.conf",
    ".config/pypoetry/config.toml",
    ".config/uv/uv.toml",
    ".m2/settings.xml",
    ".npmrc",
    ".pip/pip.conf",
    ".yarnrc",
    ".yarnrc.yml",
];

/// Toolchains below a home directory, shown where they are directories. What they need to write they find elsewhere.
pub const TOOLCHAINS: [&str; 9] = [
    ".bun/bin",
    ".cargo/bin",
    ".deno/bin",
    ".local/bin",
    ".local/share/mise",
    ".nvm",
    ".pyenv",
    ".rustup",
    ".sdkman",
];
