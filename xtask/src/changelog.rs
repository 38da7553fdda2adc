//! What users notice: fragments in `changelog.d`, which a release moves into `CHANGELOG.md`.

use crate::{package, shell};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use std::{collections::BTreeMap, fs, process::Command};

#[derive(Args)]
pub(crate) struct Options {
    /// The version to release; its fragments are moved into CHANGELOG.md.
    #[arg(required_unless_present = "check")]
    version: Option<String>,
    /// Only say whether fragments and CHANGELOG.md are as they must be.
    #[arg(long)]
    check: bool,
}

/// Kinds of changes, as the fragments' names have them, in the order in which they are told.
pub(crate) const KINDS: [&str; 5] = ["added", "changed", "fixed", "removed", "security"];

const FILE: &str = "CHANGELOG.md";
const FRAGMENTS: &str = "changelog.d";

const HEAD: &str = "\
# Changelog

What users notice, newest first. `cargo xtask changelog VERSION` makes a section of the fragments in `changelog.d`.
";

/// Sentences by the kind of change they tell.
type Changes = BTreeMap<String, Vec<String>>;

/// One release.
#[derive(Debug, Default, PartialEq)]
struct Section {
    version: String,
    /// As `2026-11-27`; nothing before it is released.
    date: String,
    /// What changed, by kind.
    changes: Changes,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut sections = sections()?;
    let (changes, files) = fragments()?;
    let Some(version) = options.version.as_ref().filter(|_| !options.check) else {
        println!("{} fragments, {} releases", files.len(), sections.len());
        return Ok(());
    };
    if sections.iter().any(|section| section.version == *version) {
        bail!("{FILE} has {version} already");
    }
    if files.is_empty() {
        bail!("there is nothing new in {FRAGMENTS}");
    }
    let date = date(package::epoch()?, "+%Y-%m-%d")?;
    sections.insert(0, Section { version: version.clone(), date, changes });
    fs::write(crate::root().join(FILE), written(&sections))?;
    for file in &files {
        fs::remove_file(crate::root().join(FRAGMENTS).join(file))?;
    }
    shell::step(&format!("{FILE}: {version} with {} changes", files.len()));
    Ok(())
}

/// All there is to tell, what is not released yet included.
pub(crate) fn markdown() -> Result<String> {
    Ok(written(&with_unreleased()?))
}

/// As Debian has it (deb-changelog(5)): the first entry is of the version that is packaged.
pub(crate) fn debian(version: &str, maintainer: &str, epoch: u64) -> Result<String> {
    let mut text = String::new();
    for (index, section) in with_unreleased()?.iter().enumerate() {
        let (version, at) = match index {
            0 => (version.to_owned(), format!("@{epoch}")),
            _ => (format!("{}-1", section.version.replace('-', "~")), section.date.clone()),
        };
        text += &format!("skynet ({version}) unstable; urgency=medium\n\n");
        for (kind, changes) in &section.changes {
            for change in changes {
                text += &wrapped(&format!("{}: {change}", capital(kind)));
            }
        }
        let date = shell::capture(
            Command::new("date").args(["--utc", "--rfc-email", "--date", &at]).env("LC_ALL", "C"),
        )?;
        text += &format!("\n -- {maintainer}  {}\n\n", date.trim());
    }
    Ok(text)
}

/// Releases and, first, what would be the next.
fn with_unreleased() -> Result<Vec<Section>> {
    let mut sections = sections()?;
    let (changes, files) = fragments()?;
    if !files.is_empty() || sections.is_empty() {
        sections.insert(0, Section { version: package::VERSION.into(), date: String::new(), changes });
    }
    Ok(sections)
}

fn sections() -> Result<Vec<Section>> {
    let path = crate::root().join(FILE);
    if path.exists() { parse(&fs::read_to_string(path)?) } else { Ok(Vec::new()) }
}

/// Changes by kind, and the files that say so.
fn fragments() -> Result<(Changes, Vec<String>)> {
    let mut files = Vec::new();
    let directory = crate::root().join(FRAGMENTS);
    // Git keeps no empty directory, as it is after a release.
    if directory.is_dir() {
        for entry in fs::read_dir(&directory)? {
            files.push(entry?.file_name().to_string_lossy().into_owned());
        }
    }
    files.sort();
    let mut changes = Changes::new();
    for file in &files {
        let parts: Vec<&str> = file.split('.').collect();
        let [_, kind, "md"] = parts.as_slice() else { bail!("{FRAGMENTS}/{file}: {}", named()) };
        if !KINDS.contains(kind) {
            bail!("{FRAGMENTS}/{file}: {}", named());
        }
        let text = fs::read_to_string(directory.join(file))?;
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if text.is_empty() {
            bail!("{FRAGMENTS}/{file}: says nothing");
        }
        changes.entry((*kind).to_owned()).or_default().push(text);
    }
    Ok((changes, files))
}

/// What a fragment's name must be.
pub(crate) fn named() -> String {
    format!("must be named <slug>.<{}>.md", KINDS.join("|"))
}

fn written(sections: &[Section]) -> String {
    let mut text = HEAD.to_owned();
    for section in sections {
        let date = if section.date.is_empty() { "not released" } else { &section.date };
        text += &format!("\n## {} - {date}\n", section.version);
        for (kind, changes) in &section.changes {
            text += &format!("\n### {}\n\n", capital(kind));
            text.extend(changes.iter().map(|change| format!("- {change}\n")));
        }
    }
    text
}

fn parse(text: &str) -> Result<Vec<Section>> {
    let mut sections: Vec<Section> = Vec::new();
    let mut kind = String::new();
    for (number, line) in text.lines().enumerate() {
        let fault = |what: &str| format!("{FILE}:{}: {what}", number + 1);
        if let Some(title) = line.strip_prefix("## ") {
            let (version, date) = title.split_once(" - ").with_context(|| fault("no ` - DATE`"))?;
            sections.push(Section { version: version.into(), date: date.into(), ..Section::default() });
        } else if let Some(title) = line.strip_prefix("### ") {
            kind = title.to_lowercase();
            if !KINDS.contains(&kind.as_str()) {
                bail!("{}", fault("no such kind of change"));
            }
        } else if let Some(change) = line.strip_prefix("- ") {
            let section = sections.last_mut().with_context(|| fault("a change of no version"))?;
            section.changes.entry(kind.clone()).or_default().push(change.into());
        } else if !line.is_empty() && !sections.is_empty() {
            bail!("{}", fault("neither a heading nor a change"));
        }
    }
    Ok(sections)
}

/// As a list of Debian's, in lines of 78.
fn wrapped(change: &str) -> String {
    let mut text = String::from("  *");
    let mut column = text.len();
    for word in change.split_whitespace() {
        if column + 1 + word.chars().count() > 78 {
            text += "\n   ";
            column = 3;
        }
        text += " ";
        text += word;
        column += 1 + word.chars().count();
    }
    text + "\n"
}

fn capital(kind: &str) -> String {
    let mut chars = kind.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn date(epoch: u64, format: &str) -> Result<String> {
    let date = shell::capture(Command::new("date").args(["--utc", "--date", &format!("@{epoch}"), format]))?;
    Ok(date.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read_again() {
        let changes = BTreeMap::from([
            ("added".to_owned(), vec!["Files.".to_owned(), "Git.".to_owned()]),
            ("fixed".to_owned(), vec!["A race.".to_owned()]),
        ]);
        let sections = [
            Section { version: "2.1.0".into(), date: "2026-12-01".into(), changes },
            Section { version: "2.0.0".into(), date: "2026-11-27".into(), ..Section::default() },
        ];
        assert_eq!(parse(&written(&sections)).unwrap(), sections);
        for wrong in ["## 2.0.0\n", "## 1 - 2\n### Improved\n", "- a\n", "## 1 - 2\nprose\n"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn entries_of_debian_are_narrow() {
        let text = wrapped(&"word ".repeat(40));
        assert!(text.starts_with("  * word") && text.lines().count() == 3, "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("    word") && line.len() <= 78));
    }
}
