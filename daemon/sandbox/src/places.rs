//! Where commands find programs and certificates, all of it read-only to them.

/// Programs and their data.
pub const SYSTEM: [&str; 10] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix", "/snap"];

/// Certificates that one command trusts, if it was given any.
pub const CERTIFICATES: &str = "/etc/skynet-certificates.pem";

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
