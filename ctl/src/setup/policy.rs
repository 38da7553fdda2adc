//! A first policy, for those who have not read about policies.

use clap::ValueEnum;

/// What agents may do without asking.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Policy {
    /// Look at files, repositories and the system; change nothing.
    ReadOnly,
    /// Work in the workspace and run commands in the sandbox; ask before something is lost or leaves the host.
    Usual,
    /// Look at everything; ask before each change and each command.
    Careful,
}

impl Policy {
    /// From the strictest that can work by itself.
    pub(crate) const ALL: [Self; 3] = [Self::ReadOnly, Self::Usual, Self::Careful];

    /// For a human to choose from.
    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            Self::ReadOnly => "look, and change nothing",
            Self::Usual => {
                "change files of the workspace and run commands in the sandbox; ask before something is lost or leaves the host"
            }
            Self::Careful => "look; ask before each change and each command",
        }
    }

    /// The rules, as a drop-in of the configuration.
    pub(crate) fn toml(self) -> String {
        let rules = match self {
            Self::ReadOnly => {
                "[[policy.rules]]\nname = \"agents look and change nothing\"\nverdict = \"deny\"\neffects = [\"write\", \"destroy\", \"external\"]\n"
            }
            Self::Usual => {
                "# This is what holds without any rule: `read` and `write` are allowed, and commands run in the sandbox without a\n# network; `destroy` and `external` are asked about.\n"
            }
            Self::Careful => {
                "[[policy.rules]]\nname = \"each change is asked about\"\nverdict = \"ask\"\neffects = [\"write\", \"destroy\", \"external\"]\n"
            }
        };
        format!(
            "# Written by `skynetctl setup`, which writes it anew with `--policy`. More rules go into files of their own beside this one.\n# Agents: {}.\n\n{rules}",
            self.in_words()
        )
    }
}
