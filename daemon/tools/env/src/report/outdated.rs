//! Which dependencies have newer versions, as package managers say it.

use crate::manager::Manager;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A dependency with a newer version.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Outdated {
    /// Its name.
    pub(crate) name: String,
    /// What is there.
    pub(crate) current: String,
    /// The newest that the manifest allows, where the package manager says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wanted: Option<String>,
    /// The newest.
    pub(crate) latest: String,
}

/// `None` for what is no report of this manager.
pub(crate) fn parse(manager: Manager, stdout: &str, stderr: &str) -> Option<Vec<Outdated>> {
    match manager {
        Manager::Pip | Manager::Uv => pip(stdout),
        Manager::Npm | Manager::Pnpm => npm(stdout),
        Manager::Yarn => yarn(stdout),
        Manager::Cargo => Some(cargo(stderr)),
        Manager::Go => go(stdout),
        Manager::Maven => Some(maven(stdout)),
        Manager::Poetry => poetry(stdout),
        Manager::Conda | Manager::Gradle => None,
    }
}

/// `pip list --outdated --format=json`.
fn pip(json: &str) -> Option<Vec<Outdated>> {
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
        latest_version: String,
    }
    let packages: Vec<Package> = serde_json::from_str(json.trim()).ok()?;
    let outdated = packages.into_iter();
    Some(
        outdated
            .map(|one| Outdated {
                name: one.name,
                current: one.version,
                wanted: None,
                latest: one.latest_version,
            })
            .collect(),
    )
}

/// `npm outdated --json`, and `pnpm outdated --format json`, which says nothing where there is nothing.
fn npm(json: &str) -> Option<Vec<Outdated>> {
    #[derive(Deserialize)]
    struct Package {
        current: Option<String>,
        wanted: Option<String>,
        latest: String,
    }
    /// In a workspace, npm tells of each of its packages.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(Package),
        More(Vec<Package>),
    }
    if json.trim().is_empty() {
        return Some(Vec::new());
    }
    let packages: BTreeMap<String, OneOrMore> = serde_json::from_str(json.trim()).ok()?;
    let each = packages.into_iter().filter_map(|(name, found)| {
        let package = match found {
            OneOrMore::One(package) => package,
            OneOrMore::More(packages) => packages.into_iter().next()?,
        };
        Some(Outdated {
            name,
            current: package.current.unwrap_or_default(),
            wanted: package.wanted,
            latest: package.latest,
        })
    });
    Some(each.collect())
}

/// `yarn outdated --json` of Yarn 1: a table among other lines.
fn yarn(lines: &str) -> Option<Vec<Outdated>> {
    #[derive(Deserialize)]
    struct Line {
        #[serde(rename = "type")]
        kind: String,
        data: serde_json::Value,
    }
    let lines: Vec<Line> = lines.lines().map(serde_json::from_str).collect::<Result<_, _>>().ok()?;
    let table = lines.into_iter().find(|line| line.kind == "table");
    let rows = table.as_ref().and_then(|table| table.data.get("body")?.as_array()).into_iter().flatten();
    let outdated = rows.filter_map(|row| {
        let cell = |place: usize| Some(row.get(place)?.as_str()?.to_owned());
        Some(Outdated { name: cell(0)?, current: cell(1)?, wanted: cell(2), latest: cell(3)? })
    });
    Some(outdated.collect())
}

/// `poetry show --outdated --no-ansi`: name, current, latest and a description, in columns. A `(!)` marks what is not installed.
fn poetry(text: &str) -> Option<Vec<Outdated>> {
    let outdated = text.lines().map(|line| {
        let mut words = line.split_whitespace().filter(|word| *word != "(!)");
        let mut next = || words.next().map(str::to_owned);
        Some(Outdated { name: next()?, current: next()?, wanted: None, latest: next()? })
    });
    outdated.collect()
}

/// `cargo update --dry-run --verbose`: what it would update, and what the manifest holds back.
fn cargo(text: &str) -> Vec<Outdated> {
    let version = |word: &str| word.trim_start_matches('v').to_owned();
    let outdated = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (action, name, current) = (words.next()?, words.next()?, words.next()?);
        let rest: Vec<_> = words.collect();
        let available = line.split_once("(available: ").and_then(|(_, rest)| rest.split([',', ')']).next());
        let (wanted, latest) = match (action, &*rest) {
            ("Updating", ["->", new, ..]) => {
                (Some(version(new)), available.map_or_else(|| version(new), version))
            }
            ("Unchanged", _) => (None, version(available?)),
            _ => return None,
        };
        Some(Outdated { name: name.to_owned(), current: version(current), wanted, latest })
    });
    outdated.collect()
}

/// `go list -m -u -json all`: objects, one after the other.
fn go(json: &str) -> Option<Vec<Outdated>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Module {
        path: String,
        version: Option<String>,
        update: Option<Update>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Update {
        version: String,
    }
    let modules = serde_json::Deserializer::from_str(json).into_iter::<Module>();
    let modules: Vec<Module> = modules.collect::<Result<_, _>>().ok()?;
    let outdated = modules.into_iter().filter_map(|module| {
        let latest = module.update?.version;
        Some(Outdated {
            name: module.path,
            current: module.version.unwrap_or_default(),
            wanted: None,
            latest,
        })
    });
    Some(outdated.collect())
}

/// `mvn versions:display-dependency-updates`: `GROUP:ARTIFACT ..... CURRENT -> LATEST`, the name and the rest on two lines if long.
fn maven(text: &str) -> Vec<Outdated> {
    let mut outdated: Vec<Outdated> = Vec::new();
    let mut name = String::new();
    for line in text.lines() {
        let line = line.trim_start_matches("[INFO]").trim();
        let first = line.split_whitespace().next().unwrap_or_default();
        if first.contains(':') && !first.ends_with(':') && line.contains(" ..") {
            name = first.to_owned();
        }
        if let Some((before, latest)) = line.split_once(" -> ")
            && let Some(current) = before.split_whitespace().next_back()
            && !name.is_empty()
        {
            let (current, latest) = (current.to_owned(), latest.trim().to_owned());
            outdated.push(Outdated { name: std::mem::take(&mut name), current, wanted: None, latest });
        }
    }
    outdated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_manager_is_read_alike() {
        let samples = [
            (
                Manager::Pip,
                r#"[{"name":"a","version":"1.0","latest_version":"2.0","latest_filetype":"wheel"}]"#,
                "",
            ),
            (Manager::Npm, r#"{"a":{"current":"1.0","wanted":"1.5","latest":"2.0","dependent":"x"}}"#, ""),
            (Manager::Npm, r#"{"a":[{"current":"1.0","wanted":"1.5","latest":"2.0"},{"latest":"2.0"}]}"#, ""),
            (
                Manager::Yarn,
                "{\"type\":\"info\",\"data\":\"x\"}\n{\"type\":\"table\",\"data\":{\"head\":[],\"body\":[[\"a\",\"1.0\",\"1.5\",\"2.0\",\"dependencies\",\"\"]]}}",
                "",
            ),
            (Manager::Poetry, "a (!) 1.0 2.0 A library\n", ""),
            (
                Manager::Cargo,
                "",
                "    Updating index\n    Updating a v1.0 -> v1.5 (available: v2.0)\n   Unchanged b v1.0\nwarning: x\n",
            ),
            (Manager::Cargo, "", "   Unchanged a v1.0 (available: v2.0)\n"),
            (
                Manager::Go,
                "{\"Path\":\"m\",\"Main\":true}\n{\"Path\":\"a\",\"Version\":\"1.0\",\"Update\":{\"Path\":\"a\",\"Version\":\"2.0\"}}",
                "",
            ),
        ];
        for (manager, stdout, stderr) in samples {
            let outdated = parse(manager, stdout, stderr).unwrap();
            let [one] = &*outdated else { panic!("{manager:?}: {outdated:?}") };
            assert_eq!((&*one.name, &*one.current, &*one.latest), ("a", "1.0", "2.0"), "{manager:?}");
            assert!(one.wanted.as_deref().is_none_or(|wanted| wanted == "1.5"), "{manager:?}");
        }
        let text = "[INFO]   org.x:short ............ 1.0 -> 2.0\n[INFO]   org.x:very-long-name ...\n[INFO]                    3.0 -> 4.0\n[INFO] BUILD SUCCESS";
        let names: Vec<_> = maven(text).into_iter().map(|one| (one.name, one.latest)).collect();
        assert_eq!(
            names,
            [("org.x:short".into(), "2.0".into()), ("org.x:very-long-name".into(), "4.0".into())]
        );
    }

    #[test]
    fn what_is_no_report_is_none() {
        for manager in [Manager::Pip, Manager::Npm, Manager::Yarn, Manager::Go] {
            assert_eq!(parse(manager, "oops", ""), None, "{manager:?}");
        }
    }
}
