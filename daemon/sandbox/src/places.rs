//! Where commands find programs and certificates, all of it read-only to them, and where they never work.

/// Programs and their data.
pub const SYSTEM: [&str; 10] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix", "/snap"];

/// Neither these nor what is below them is ever a workspace, whatever an administrator lets be one: what lies there is the system's, or
/// Skynet's own.
pub const NEVER_A_WORKSPACE: [&str; 7] =
    ["/etc", "/proc", "/sys", "/run", "/dev", "/var/lib/skynet", "/var/lib/skynet-sandbox"];

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
