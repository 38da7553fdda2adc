//! Says what installing, removing or upgrading packages would do, and does nothing of it.

use crate::{
    packages::{self, Manager},
    program::Printed,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use std::time::Duration;

pub(crate) struct SystemSimulatePackages;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Names of packages to install or bring up to date, with `=VERSION` for one version.
    #[serde(default)]
    #[schemars(length(max = 100))]
    install: Vec<String>,
    /// Names of packages to remove.
    #[serde(default)]
    #[schemars(length(max = 100))]
    remove: Vec<String>,
    /// Bring all packages up to date; then nothing else may be named.
    #[serde(default)]
    upgrade: bool,
}

/// A package that would change.
#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
struct Change {
    /// Its name.
    name: String,
    /// The version that is there now.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    /// The version that would be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    /// Where that is from, such as `Debian:12.15/oldstable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
}

#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Output {
    /// New packages, with those that are needed for them.
    installed: Vec<Change>,
    /// Packages that would get another version.
    upgraded: Vec<Change>,
    /// Packages that would go, with those that need them.
    removed: Vec<Change>,
}

impl Tool for SystemSimulatePackages {
    const NAME: &'static str = "system_simulate_packages";
    const SUMMARY: &'static str = "Say which packages would be installed, upgraded and removed if some were installed or removed, or all upgraded; changes nothing. Like apt-get --simulate.";
    const KEYWORDS: &'static str = "simulate dry run what would happen if install remove uninstall upgrade package apt-get dependencies pulled in consequences | simuler que se passerait si installer supprimer désinstaller mettre à niveau paquet dépendances conséquences";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Host;
    const TIMEOUT: Duration = Duration::from_secs(60);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        if Manager::of_host() != Some(Manager::Dpkg) {
            return Err(Error::unavailable("what would change can be said on hosts with apt only"));
        }
        let named = arguments(&input)?;
        let mut arguments = vec!["--simulate", "--quiet=2"];
        arguments.extend(if input.upgrade { ["dist-upgrade", "--"] } else { ["install", "--"] });
        arguments.extend(named.iter().map(String::as_str));
        let printed = packages::ask_apt(ctx, "apt-get", &arguments).await?;
        if !printed.status.success() {
            return Err(refused(&printed));
        }
        Ok(parse(&printed.stdout))
    }
}

/// Names as `apt-get install` takes them: one to remove ends with `-` (apt-get(8)).
fn arguments(input: &Input) -> Result<Vec<String>> {
    let is_empty = input.install.is_empty() && input.remove.is_empty();
    if input.upgrade != is_empty {
        return Err(Error::invalid_input(
            "name packages in `install` or `remove`, or set `upgrade` and name none",
        ));
    }
    for name in input.install.iter().chain(&input.remove) {
        let (bare, version) = name.split_once('=').unwrap_or((name, "0"));
        // Debian Policy, 5.6.1 and 5.6.12; an architecture may follow a name.
        let is_name = bare.len() >= 2
            && bare.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
            && bare
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.:".contains(&byte))
            && !bare.ends_with('-');
        let is_version = !version.is_empty()
            && version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".+-:~".contains(&byte));
        if !is_name || !is_version {
            return Err(Error::invalid_input(format!(
                "`{name}` is no name of a package, such as `nginx` or `nginx=1.22.1-9`"
            )));
        }
    }
    Ok(input.install.iter().cloned().chain(input.remove.iter().map(|name| format!("{name}-"))).collect())
}

/// What apt-get says, in a line.
fn refused(printed: &Printed) -> Error {
    let said: Vec<&str> = printed.stderr.lines().filter_map(|line| line.strip_prefix("E: ")).collect();
    let said = if said.is_empty() { printed.stderr.trim().to_owned() } else { said.join("; ") };
    let is_unknown = ["Unable to locate", "was not found", "has no installation candidate"];
    if is_unknown.iter().any(|part| said.contains(part)) {
        Error::not_found(format!(
            "apt-get says: {said}; search with `system_list_packages` and `which` `available`"
        ))
    } else {
        Error::conflict(format!("apt-get says: {said} {}", printed.stdout.trim().replace('\n', " ")))
    }
}

/// `Inst bash [5.2-1] (5.2-2 Debian:12/stable [amd64])`, without the brackets for a new one, and `Remv bash [5.2-1]`.
fn parse(text: &str) -> Output {
    let mut output = Output::default();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (verb, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let from = words
            .clone()
            .next()
            .and_then(|word| word.strip_prefix('[')?.strip_suffix(']'))
            .map(str::to_owned);
        let offered =
            line.split_once(" (").map(|(_, rest)| rest.split([')', '[']).next().unwrap_or_default().trim());
        let (to, origin) = offered.and_then(|offered| offered.split_once(' ')).unzip();
        let change = Change {
            name: name.to_owned(),
            from,
            to: to.map(str::to_owned),
            origin: origin.map(str::to_owned),
        };
        match verb {
            "Inst" if change.from.is_some() => output.upgraded.push(change),
            "Inst" => output.installed.push(change),
            "Remv" => output.removed.push(change),
            // `Conf` repeats what was installed.
            _ => {}
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_get_would_do_is_understood() {
        let printed = "Inst nginx-common (1.22.1-9 Debian-Security:12/oldstable-security [all])\nInst bash [5.2-1] (5.2-2 Debian:12/stable, Debian:13/x [amd64]) []\nRemv curl [7.88]\nConf nginx-common (1.22.1-9 x [all])\n";
        let text = |value: &str| Some(value.to_owned());
        let change = |name: &str, from, to, origin| Change { name: name.into(), from, to, origin };
        let expected = Output {
            installed: vec![change(
                "nginx-common",
                None,
                text("1.22.1-9"),
                text("Debian-Security:12/oldstable-security"),
            )],
            upgraded: vec![change(
                "bash",
                text("5.2-1"),
                text("5.2-2"),
                text("Debian:12/stable, Debian:13/x"),
            )],
            removed: vec![change("curl", text("7.88"), None, None)],
        };
        assert_eq!(parse(printed), expected);
    }

    #[test]
    fn only_names_reach_the_program() {
        let of = |install: &[&str], remove: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            arguments(&Input { install: owned(install), remove: owned(remove), upgrade: false }).ok()
        };
        assert_eq!(
            of(&["g++", "x11:i386", "a1=1:2~3"], &["vim"]).unwrap(),
            ["g++", "x11:i386", "a1=1:2~3", "vim-"]
        );
        for name in ["", "-o", "--download-only", "a b", "vim-", "A1", "x/testing", "a1=", "./x.deb", "a*"] {
            assert_eq!(of(&[name], &[]), None, "{name}");
        }
        assert_eq!(of(&[], &[]), None);
    }
}
