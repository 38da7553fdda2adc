//! Packages, as dpkg(1), apt(8) and rpm(8) tell of them. Each is started with arguments of ours, and changes nothing.

use crate::program::{self, Printed};
use schemars::JsonSchema;
use serde::Serialize;
use skynet_core::{CallCtx, Error, Result};
use std::fs;

/// What keeps the packages of a host.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Manager {
    Dpkg,
    Rpm,
}

impl Manager {
    /// By its database: programs of the other kind may be there too.
    pub(crate) fn of_host() -> Option<Self> {
        let is_there = |path| fs::exists(path).unwrap_or(false);
        if is_there("/var/lib/dpkg/status") {
            Some(Self::Dpkg)
        } else if is_there("/var/lib/rpm") || is_there("/usr/lib/sysimage/rpm") {
            Some(Self::Rpm)
        } else {
            None
        }
    }
}

/// A package.
#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Installed or, of one that can be upgraded, newest version; absent for available ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<String>,
    /// The version that is installed, of one that can be upgraded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) installed_version: Option<String>,
    /// For which processors; `all` and `noarch` for any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) architecture: Option<String>,
    /// On disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size_bytes: Option<u64>,
    /// Why it is not simply installed: `half-configured`, `config-files` of one that was removed...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<String>,
    /// Where the newest version is from, such as `bookworm-security`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) suite: Option<String>,
    /// Whether the newest version closes a hole.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_security: bool,
    /// What it is, in a line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) summary: Option<String>,
}

/// One package per line, fields between tabs (dpkg-query(1), `--showformat`).
const OF_DPKG: &str = "${Package}\\t${Version}\\t${Architecture}\\t${Installed-Size}\\t${db:Status-Status}\\t${binary:Summary}\\n";

/// The same (rpm(8), "QUERY FORMAT"); its sizes are bytes.
const OF_RPM: &str = "%{NAME}\\t%{EVR}\\t%{ARCH}\\t%{SIZE}\\tinstalled\\t%{SUMMARY}\\n";

/// All that is installed, in no order.
pub(crate) async fn installed(ctx: &CallCtx, manager: Manager) -> Result<Vec<Package>> {
    let (printed, unit) = match manager {
        Manager::Dpkg => {
            let format = format!("--showformat={OF_DPKG}");
            (program::ask(ctx, "dpkg-query", &["--show", &format]).await?, 1024)
        }
        Manager::Rpm => (program::ask(ctx, "rpm", &["--query", "--all", "--queryformat", OF_RPM]).await?, 1),
    };
    Ok(checked(printed, "the list of installed packages")?
        .lines()
        .filter_map(|line| one(line, unit))
        .collect())
}

/// Where apt finds what it made of its lists, whatever its configuration says: some images have it keep nothing.
const CACHES: [&str; 2] =
    ["--option=Dir::Cache::pkgcache=pkgcache.bin", "--option=Dir::Cache::srcpkgcache=srcpkgcache.bin"];

/// Asks one of the programs of apt(8).
///
/// # Errors
/// `Unavailable` where there is no cache of its lists: to make one it writes files, and what asks about the host may not.
pub(crate) async fn ask_apt(ctx: &CallCtx, program: &str, arguments: &[&str]) -> Result<Printed> {
    let printed = program::ask(ctx, program, &[&CACHES, arguments].concat()).await?;
    if !printed.status.success() && printed.stderr.contains("Unable to mkstemp") {
        return Err(Error::unavailable(
            "apt has no cache of its lists that fits them, and Skynet may not write one; an administrator makes it by `apt-get update`, or, in an image that has apt keep nothing, by `apt-cache -o Dir::Cache::pkgcache=pkgcache.bin -o Dir::Cache::srcpkgcache=srcpkgcache.bin gencaches`",
        ));
    }
    Ok(printed)
}

/// All of which there is a newer version, in no order.
pub(crate) async fn upgradable(ctx: &CallCtx) -> Result<Vec<Package>> {
    let printed = ask_apt(ctx, "apt", &["list", "--upgradable"]).await?;
    Ok(checked(printed, "the list of upgrades")?.lines().filter_map(newer).collect())
}

/// Those whose name or description contains `text`, in no order.
pub(crate) async fn available(ctx: &CallCtx, text: &str) -> Result<Vec<Package>> {
    let printed = ask_apt(ctx, "apt-cache", &["search", "--", &literal(text)]).await?;
    let package = |line: &str| {
        let (name, summary) = line.split_once(" - ")?;
        Some(Package { name: name.into(), summary: Some(summary.into()), ..Package::default() })
    };
    Ok(checked(printed, "the search")?.lines().filter_map(package).collect())
}

/// Whether an upgrade waits for a restart (needrestart(1), update-notifier).
pub(crate) fn needs_reboot() -> bool {
    ["/run/reboot-required", "/var/run/reboot-required"].iter().any(|path| fs::exists(path).unwrap_or(false))
}

fn checked(printed: Printed, what: &str) -> Result<String> {
    if printed.status.success() {
        return Ok(printed.stdout);
    }
    Err(Error::unavailable(format!("{what} cannot be had: {}", printed.stderr.trim().replace('\n', " "))))
}

/// A regular expression (regex(7)) that matches `text` and nothing else.
fn literal(text: &str) -> String {
    let escape = |letter: char| match letter {
        '\\' | '.' | '[' | ']' | '(' | ')' | '{' | '}' | '*' | '+' | '?' | '^' | '$' | '|' => {
            vec!['\\', letter]
        }
        _ => vec![letter],
    };
    text.chars().flat_map(escape).collect()
}

fn one(line: &str, unit: u64) -> Option<Package> {
    let [name, version, architecture, size, state, summary] =
        line.splitn(6, '\t').collect::<Vec<_>>().try_into().ok()?;
    if state == "not-installed" {
        return None;
    }
    let text = |value: &str| (!value.is_empty()).then(|| value.to_owned());
    Some(Package {
        name: name.to_owned(),
        version: text(version),
        architecture: text(architecture),
        size_bytes: size.parse::<u64>().ok().map(|size| size * unit),
        state: text(state).filter(|state| state != "installed"),
        summary: text(summary),
        ..Package::default()
    })
}

/// `bash/stable-security 5.2-2 amd64 [upgradable from: 5.2-1]`.
fn newer(line: &str) -> Option<Package> {
    let (name, rest) = line.split_once('/')?;
    let (rest, from) = rest.split_once(" [upgradable from: ")?;
    let [suite, version, architecture] = rest.split(' ').collect::<Vec<_>>().try_into().ok()?;
    Some(Package {
        name: name.to_owned(),
        version: Some(version.to_owned()),
        installed_version: Some(from.trim_end_matches(']').to_owned()),
        architecture: Some(architecture.to_owned()),
        is_security: suite.contains("-security"),
        suite: Some(suite.to_owned()),
        ..Package::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_programs_are_understood() {
        let bash = Package {
            name: "bash".into(),
            version: Some("5.2-1".into()),
            architecture: Some("amd64".into()),
            size_bytes: Some(7 << 10),
            summary: Some("GNU shell".into()),
            ..Package::default()
        };
        assert_eq!(one("bash\t5.2-1\tamd64\t7\tinstalled\tGNU shell", 1024), Some(bash));
        let removed = one("old\t1\tall\t\tconfig-files\t", 1024).unwrap();
        assert_eq!((removed.state.as_deref(), removed.size_bytes), (Some("config-files"), None));
        assert_eq!(one("x\t\tall\t\tnot-installed\t", 1024), None);
        // As `rpm --query` prints it with that format.
        let zlib = one("zlib\t1:1.2.11-40.el9\tx86_64\t202024\tinstalled\tA library", 1).unwrap();
        assert_eq!((zlib.version.as_deref(), zlib.size_bytes), (Some("1:1.2.11-40.el9"), Some(202_024)));
        let newer = newer("apt/oldstable,oldstable-security 2.6.2 amd64 [upgradable from: 2.6.1]").unwrap();
        assert_eq!(
            (newer.version.as_deref(), newer.installed_version.as_deref()),
            (Some("2.6.2"), Some("2.6.1"))
        );
        assert!(newer.is_security);
        assert_eq!(super::newer("Listing..."), None);
        assert_eq!(literal("g++ (x.y)"), "g\\+\\+ \\(x\\.y\\)");
    }
}
