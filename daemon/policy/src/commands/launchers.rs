//! Programs that do what their arguments say, and variables that decide what a program runs. A list of what is known:
//! it makes some mistakes in a configuration impossible, and is no boundary.

/// Their operands are programs, scripts or expressions that run programs.
const LAUNCHERS: [&str; 78] = [
    "ash",
    "awk",
    "bash",
    "bun",
    "busybox",
    "bwrap",
    "chroot",
    "csh",
    "dash",
    "deno",
    "doas",
    "docker-compose",
    "ed",
    "emacs",
    "env",
    "ex",
    "expect",
    "fakeroot",
    "firejail",
    "fish",
    "flock",
    "gawk",
    "gdb",
    "gmake",
    "groovy",
    "guile",
    "ionice",
    "irb",
    "ksh",
    "ld-linux",
    "ld-linux-x86-64.so",
    "less",
    "lldb",
    "ltrace",
    "lua",
    "luajit",
    "m4",
    "make",
    "man",
    "mawk",
    "more",
    "nawk",
    "nice",
    "node",
    "nodejs",
    "nohup",
    "nsenter",
    "parallel",
    "perl",
    "php",
    "pkexec",
    "pwsh",
    "python",
    "rsh",
    "ruby",
    "run-parts",
    "script",
    "sed",
    "setarch",
    "setpriv",
    "setsid",
    "sh",
    "ssh",
    "stdbuf",
    "strace",
    "su",
    "sudo",
    "systemd-run",
    "taskset",
    "tclsh",
    "tcsh",
    "time",
    "timeout",
    "unshare",
    "vi",
    "vim",
    "watch",
    "xargs",
];

/// Their first operand decides what the others are.
const WITH_SUBCOMMANDS: [&str; 20] = [
    "apt",
    "bundle",
    "cargo",
    "dnf",
    "docker",
    "gh",
    "git",
    "go",
    "helm",
    "kubectl",
    "mvn",
    "npm",
    "npx",
    "pip",
    "pnpm",
    "podman",
    "poetry",
    "systemctl",
    "uv",
    "yarn",
];

/// Variables from which programs take code, programs, options or files of settings.
const VARIABLES: [&str; 36] = [
    "BASH_ENV",
    "BROWSER",
    "CDPATH",
    "CLASSPATH",
    "EDITOR",
    "ENV",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "GOFLAGS",
    "HOME",
    "IFS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "LESSCLOSE",
    "LESSOPEN",
    "LOCPATH",
    "MAKEFLAGS",
    "MANPAGER",
    "MFLAGS",
    "NLSPATH",
    "PAGER",
    "PATH",
    "PROMPT_COMMAND",
    "PS4",
    "RIPGREP_CONFIG_PATH",
    "RSYNC_RSH",
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "SHELL",
    "SHELLOPTS",
    "TAR_OPTIONS",
    "VISUAL",
    "ZDOTDIR",
];

/// The same of whole families.
const VARIABLE_STARTS: [&str; 17] = [
    "BASH_FUNC_",
    "BUNDLE_",
    "CARGO_",
    "DYLD_",
    "GIT_",
    "LD_",
    "LUA_",
    "MAVEN_",
    "NODE_",
    "NPM_",
    "PERL",
    "PIP_",
    "PYTHON",
    "PYTEST_",
    "RUBY",
    "SSH_",
    "npm_",
];

/// What is safe of these families.
const HARMLESS: [&str; 8] = [
    "CARGO_TERM_COLOR",
    "GIT_AUTHOR_DATE",
    "GIT_AUTHOR_EMAIL",
    "GIT_AUTHOR_NAME",
    "GIT_COMMITTER_DATE",
    "GIT_COMMITTER_EMAIL",
    "GIT_COMMITTER_NAME",
    "NODE_ENV",
];

/// The name of a program without its directory and version: `python` for `/usr/bin/python3.11`.
pub(super) fn family(program: &str) -> &str {
    let name = file_name(program);
    let family =
        name.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.' || letter == '-');
    if family.is_empty() { name } else { family }
}

/// The last part of a path.
pub(super) fn file_name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

pub(super) fn is_launcher(program: &str) -> bool {
    LAUNCHERS.contains(&family(program)) || LAUNCHERS.contains(&file_name(program))
}

pub(super) fn has_subcommands(program: &str) -> bool {
    WITH_SUBCOMMANDS.contains(&family(program))
}

/// Whether a variable of that name can decide what runs.
pub(super) fn is_telling_variable(name: &str) -> bool {
    !HARMLESS.contains(&name)
        && (VARIABLES.contains(&name)
            || VARIABLE_STARTS.iter().any(|start| name.starts_with(start))
            || name.to_ascii_uppercase().ends_with("_OPTIONS")
            || name.to_ascii_uppercase().ends_with("_OPTS")
            || name.to_ascii_uppercase().ends_with("_PROXY"))
}
