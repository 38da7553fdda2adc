//! Package managers, and what each of them is told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{Error, Result};

/// A package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Manager {
    Pip,
    Uv,
    Poetry,
    Conda,
    Npm,
    Pnpm,
    Yarn,
    Cargo,
    Go,
    Maven,
    Gradle,
}

impl Manager {
    /// Its name in an input.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pip => "pip",
            Self::Uv => "uv",
            Self::Poetry => "poetry",
            Self::Conda => "conda",
            Self::Npm => "npm",
            Self::Pnpm => "pnpm",
            Self::Yarn => "yarn",
            Self::Cargo => "cargo",
            Self::Go => "go",
            Self::Maven => "maven",
            Self::Gradle => "gradle",
        }
    }
}

/// What is installed.
pub(crate) struct Install<'a> {
    pub(crate) manager: Manager,
    /// Exactly what the lock file says.
    pub(crate) is_locked: bool,
    /// Also what only developers need.
    pub(crate) with_dev: bool,
    /// Of pip.
    pub(crate) requirements: &'a [String],
    /// Of Python's.
    pub(crate) environment: &'a str,
}

impl Install<'_> {
    /// The command that does it.
    pub(crate) fn argv(&self) -> Result<Vec<String>> {
        let Self { manager, is_locked, with_dev, requirements, environment } = *self;
        let mut argv = match manager {
            Manager::Pip => vec![python(environment)?, "-m".into(), "pip".into(), "install".into()],
            Manager::Uv => words("uv sync"),
            Manager::Poetry => words("poetry install --no-interaction"),
            Manager::Conda => words("conda env update --prefix .conda --file environment.yml"),
            Manager::Npm => words(if is_locked { "npm ci" } else { "npm install" }),
            Manager::Pnpm => words("pnpm install"),
            Manager::Yarn => words("yarn install --non-interactive"),
            Manager::Cargo => words("cargo fetch"),
            Manager::Go => words("go mod download"),
            Manager::Maven => {
                words("mvn --batch-mode -Dstyle.color=never --no-transfer-progress dependency:go-offline")
            }
            Manager::Gradle => words("gradle --no-daemon --console=plain dependencies"),
        };
        let mut also = |is_so: bool, flag: &str| {
            if is_so {
                argv.push(flag.to_owned());
            }
        };
        match manager {
            Manager::Pip => {
                for file in requirements {
                    argv.extend(["-r".to_owned(), plain("requirements", file)?.to_owned()]);
                }
            }
            Manager::Uv => {
                also(is_locked, "--frozen");
                also(!with_dev, "--no-dev");
            }
            Manager::Poetry => also(!with_dev, "--only=main"),
            Manager::Npm => also(!with_dev, "--omit=dev"),
            Manager::Pnpm => {
                also(true, if is_locked { "--frozen-lockfile" } else { "--no-frozen-lockfile" });
                also(!with_dev, "--prod");
            }
            Manager::Yarn => {
                also(is_locked, "--frozen-lockfile");
                also(!with_dev, "--production");
            }
            Manager::Cargo => also(is_locked, "--locked"),
            Manager::Conda | Manager::Go | Manager::Maven | Manager::Gradle => {}
        }
        Ok(argv)
    }
}

/// The Python of a virtual environment (PEP 405), or the host's where none is named.
pub(crate) fn python(environment: &str) -> Result<String> {
    Ok(if environment.is_empty() { "python3".to_owned() } else { program_of(environment, "python")? })
}

/// A program of a virtual environment, or the host's where none is named.
pub(crate) fn program_of(environment: &str, name: &str) -> Result<String> {
    if environment.is_empty() {
        return Ok(name.to_owned());
    }
    let environment = plain("environment", environment)?.trim_start_matches("./").trim_end_matches('/');
    if environment.starts_with('/') || environment.split('/').any(|part| part == "..") {
        return Err(Error::invalid_input(format!(
            "`environment` is a path below `directory` such as `.venv`, not `{environment}`"
        )));
    }
    Ok(format!("./{environment}/bin/{name}"))
}

/// Words of ours.
pub(crate) fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// A word of the caller's that no program takes for an option.
pub(crate) fn plain<'a>(field: &str, word: &'a str) -> Result<&'a str> {
    if word.is_empty() || word.starts_with('-') || word.contains('\0') {
        return Err(Error::invalid_input(format!(
            "`{field}` cannot be `{word}`: it must not be empty or start with `-`"
        )));
    }
    Ok(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(manager: Manager, is_locked: bool, with_dev: bool) -> String {
        let requirements = ["requirements.txt".to_owned()];
        let install =
            Install { manager, is_locked, with_dev, requirements: &requirements, environment: ".venv" };
        install.argv().unwrap().join(" ")
    }

    #[test]
    fn a_lock_file_is_followed_unless_told_otherwise() {
        assert_eq!(told(Manager::Npm, true, true), "npm ci");
        assert_eq!(told(Manager::Npm, false, false), "npm install --omit=dev");
        assert_eq!(told(Manager::Pip, true, true), "./.venv/bin/python -m pip install -r requirements.txt");
        assert_eq!(told(Manager::Cargo, true, true), "cargo fetch --locked");
        assert_eq!(told(Manager::Pnpm, true, false), "pnpm install --frozen-lockfile --prod");
    }

    #[test]
    fn nothing_of_the_caller_is_an_option() {
        for (environment, requirements) in
            [("-x", "a"), ("../v", "a"), ("/v", "a"), (".venv", "-rx"), (".venv", "")]
        {
            let requirements = [requirements.to_owned()];
            let install = Install {
                manager: Manager::Pip,
                is_locked: true,
                with_dev: true,
                requirements: &requirements,
                environment,
            };
            assert!(install.argv().is_err(), "{environment} {requirements:?}");
        }
    }
}
