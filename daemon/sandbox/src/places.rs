//! Where commands find programs, all of it read-only to them.

/// Programs and their data.
pub const SYSTEM: [&str; 10] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix", "/snap"];

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
