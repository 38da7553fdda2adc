//! What is compiled into the programs: names, versions, licences, and who holds the rights.

use crate::{build, shell};
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A list that was made where the sources are, beside the copy of this source that is packaged from.
pub(crate) const PREPARED: &str = "crates.json";

/// Crates, ours included, by name and version.
#[derive(Serialize, Deserialize)]
pub(crate) struct Crates(pub(crate) Vec<Crate>);

/// One of them.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Crate {
    pub(crate) name: String,
    pub(crate) version: String,
    /// An expression of SPDX, or nearly.
    pub(crate) licence: String,
    /// Lines that say who holds the rights, without the word.
    pub(crate) holders: Vec<String>,
    /// What a crate under the licence of Apache asks to be passed on (section 4 d); of others nobody asks for it.
    pub(crate) notice: Option<String>,
    pub(crate) repository: Option<String>,
    /// SHA-256 of what the registry delivered; none of our own.
    pub(crate) checksum: Option<String>,
    /// Keys of those it uses.
    pub(crate) uses: Vec<String>,
}

impl Crate {
    /// What tells it from all others.
    pub(crate) fn key(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// Whether it is part of this source.
    pub(crate) fn is_ours(&self) -> bool {
        self.checksum.is_none()
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    authors: Vec<String>,
    repository: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    kind: Option<String>,
}

impl Crates {
    /// Those of this source: as prepared, or as cargo knows them.
    pub(crate) fn read() -> Result<Self> {
        let prepared = crate::root().join(PREPARED);
        if prepared.is_file() {
            return Ok(serde_json::from_slice(&fs::read(prepared)?)?);
        }
        Self::of_source()
    }

    /// As cargo knows them.
    pub(crate) fn of_source() -> Result<Self> {
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let metadata = shell::capture(shell::cargo().args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--filter-platform",
            &target,
        ]))?;
        let metadata: Metadata = serde_json::from_str(&metadata).context("what cargo metadata prints")?;
        let checksums = checksums(&fs::read_to_string(crate::root().join("Cargo.lock"))?);
        let packages: BTreeMap<&str, &Package> =
            metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
        let nodes: BTreeMap<&str, &Node> =
            metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
        let is_program = |package: &&Package| build::PROGRAMS.contains(&package.name.as_str());
        let mut open: Vec<&str> =
            metadata.packages.iter().filter(is_program).map(|package| package.id.as_str()).collect();
        let mut seen = BTreeSet::new();
        let mut crates = Vec::new();
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            let package = packages.get(id).context("a package that cargo does not describe")?;
            let node = nodes.get(id).context("a package that cargo does not resolve")?;
            let mut uses = Vec::new();
            // What only builds or tests it is not in it.
            for dependency in &node.deps {
                if dependency.dep_kinds.iter().any(|kind| kind.kind.is_none()) {
                    let used = packages.get(&*dependency.pkg).context("a dependency without a package")?;
                    uses.push(format!("{}-{}", used.name, used.version));
                    open.push(&dependency.pkg);
                }
            }
            uses.sort();
            let licence =
                package.license.clone().with_context(|| format!("{} has no licence", package.name))?;
            let files = legal_files(package)?;
            crates.push(Crate {
                name: package.name.clone(),
                version: package.version.clone(),
                notice: notice(&files, &licence)?,
                licence,
                holders: holders(package, &files)?,
                repository: package.repository.clone(),
                checksum: checksums.get(&(package.name.clone(), package.version.clone())).cloned(),
                uses,
            });
        }
        crates.sort_by_key(Crate::key);
        Ok(Self(crates))
    }

    /// Keeps them for [`Crates::read`].
    pub(crate) fn save(&self, file: &Path) -> Result<()> {
        fs::write(file, serde_json::to_vec(self)?).with_context(|| format!("writing `{}`", file.display()))
    }
}

/// Checksums of packages by name and version, from a lock file.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""));
        line.map(|rest| rest.trim_end_matches('"').to_owned())
    };
    let blocks = lock.split("[[package]]");
    blocks
        .filter_map(|block| {
            Some(((value(block, "name")?, value(block, "version")?), value(block, "checksum")?))
        })
        .collect()
}

/// The files in which a crate says what may be done with it, in order.
fn legal_files(package: &Package) -> Result<Vec<PathBuf>> {
    let directory = package.manifest_path.parent().context("a manifest in no directory")?;
    let mut files: Vec<_> = fs::read_dir(directory)
        .with_context(|| format!("reading `{}`", directory.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let is_legal = ["LICEN", "COPY", "NOTICE", "UNLICEN"].iter().any(|start| is_called(path, start));
            is_legal && path.is_file()
        })
        .collect();
    files.sort();
    Ok(files)
}

fn is_called(path: &Path, start: &str) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().to_uppercase().starts_with(start))
}

fn notice(files: &[PathBuf], licence: &str) -> Result<Option<String>> {
    let file = files.iter().find(|path| is_called(path, "NOTICE") && licence == "Apache-2.0");
    Ok(file.map(fs::read).transpose()?.map(|text| String::from_utf8_lossy(&text).trim().to_owned()))
}

/// Who holds the rights, by the files that say so; else its authors.
fn holders(package: &Package, files: &[PathBuf]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for file in files {
        for line in String::from_utf8_lossy(&fs::read(file)?).lines() {
            if let Some(holder) = holder(line).filter(|holder| !found.contains(holder)) {
                found.push(holder);
            }
        }
    }
    if found.is_empty() {
        found = package.authors.clone();
    }
    if found.is_empty() {
        found.push(format!("the authors of {}", package.name));
    }
    Ok(found)
}

/// What a line says after `Copyright`, unless it is about copyright or a form to be filled in.
fn holder(line: &str) -> Option<String> {
    let line = line.trim_start_matches(|char: char| !char.is_alphanumeric()).trim();
    let rest = line.strip_prefix("Copyright").or_else(|| line.strip_prefix("COPYRIGHT"))?.trim_start();
    let rest = ["(c)", "(C)", "©"].iter().find_map(|sign| rest.strip_prefix(sign)).unwrap_or(rest).trim();
    let starts_well = rest.starts_with(|char: char| char.is_ascii_digit()) || line.contains(['©', '(']);
    let is_form = rest.contains(['[', '{', '<']) && !rest.contains('@');
    (starts_well && !is_form && !rest.is_empty()).then(|| rest.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_are_told_from_text_about_them() {
        assert_eq!(holder("Copyright (c) 2016 Ann <ann@host>"), Some("2016 Ann <ann@host>".into()));
        assert_eq!(holder("   // Copyright 2015-2016 Brian."), Some("2015-2016 Brian.".into()));
        assert_eq!(holder("Copyright © The authors"), Some("The authors".into()));
        for about in [
            "copyright notice and",
            "Copyright [yyyy] [name of copyright owner]",
            "COPYRIGHT AND PERMISSION NOTICE",
        ] {
            assert_eq!(holder(about), None, "{about}");
        }
    }

    #[test]
    fn a_lock_file_has_checksums() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"ab\"\n\n[[package]]\nname = \"b\"\nversion = \"2\"\n";
        let found = checksums(lock);
        assert_eq!(found.get(&("a".into(), "1.0.0".into())), Some(&"ab".to_owned()));
        assert_eq!(found.len(), 1);
    }
}
