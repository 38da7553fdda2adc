//! The rules of the house that no compiler checks. Each finding names the file and the rule.

use crate::{changelog, shell};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

/// First-party crates a crate may depend on; a family may use core and services, never another family.
const ALLOWED: &[(&str, &[&str])] = &[
    ("skynet-proto", &[]),
    ("skynet-shim", &["skynet-proto"]),
    ("skynetctl", &["skynet-proto", "skynet-secrets"]),
    ("skynet-core", &[]),
    ("skynet-store", &["skynet-core"]),
    ("skynet-leases", &["skynet-core", "skynet-store"]),
    ("skynet-cache", &["skynet-core"]),
    ("skynet-policy", &["skynet-cache", "skynet-core", "skynet-leases", "skynet-secrets", "skynet-store"]),
    ("skynet-sandbox", &["skynet-core", "skynet-proto"]),
    ("skynet-egress", &["skynet-web"]),
    ("skynet-secrets", &[]),
    ("skynet-vault", &["skynet-web"]),
    ("skynet-web", &[]),
    ("skynet-oauth", &["skynet-core", "skynet-secrets", "skynet-web"]),
    ("skynet-changes", &["skynet-core", "skynet-sandbox"]),
    ("skynet-engine", &["skynet-core", "skynet-sandbox"]),
    ("skynet-docker", &["skynet-core", "skynet-engine", "skynet-exec"]),
    ("skynet-env", &["skynet-core", "skynet-exec"]),
    ("skynet-exec", &["skynet-changes", "skynet-core", "skynet-egress", "skynet-sandbox"]),
    ("skynet-documents", &["skynet-core", "skynet-parser", "skynet-secrets"]),
    ("skynet-files", &["skynet-core"]),
    ("skynet-git", &["skynet-core", "skynet-documents"]),
    ("skynet-image", &["skynet-core", "skynet-parser"]),
    (
        "skynet-knowledge",
        &["skynet-core", "skynet-documents", "skynet-models", "skynet-secrets", "skynet-store"],
    ),
    ("skynet-knowledge-tools", &["skynet-core", "skynet-documents", "skynet-knowledge"]),
    (
        "skynet-memory",
        &[
            "skynet-core",
            "skynet-documents",
            "skynet-knowledge",
            "skynet-models",
            "skynet-secrets",
            "skynet-store",
        ],
    ),
    ("skynet-memory-tools", &["skynet-core", "skynet-memory"]),
    ("skynet-lease-tools", &["skynet-core", "skynet-leases"]),
    ("skynet-models", &["skynet-core", "skynet-sandbox", "skynet-web"]),
    ("skynet-parser", &["skynet-core", "skynet-sandbox"]),
    ("skynet-service", &["skynet-core", "skynet-system"]),
    ("skynet-system", &["skynet-core", "skynet-documents"]),
    ("skynet-v1", &["skynet-core"]),
    ("skynet-undo", &["skynet-changes", "skynet-core", "skynet-sandbox"]),
    ("skynet-catalog", &["skynet-core"]),
    (
        "skynet-hands",
        &[
            "skynet-changes",
            "skynet-core",
            "skynet-documents",
            "skynet-egress",
            "skynet-env",
            "skynet-exec",
            "skynet-files",
            "skynet-git",
            "skynet-image",
            "skynet-parser",
            "skynet-sandbox",
            "skynet-service",
            "skynet-system",
            "skynet-undo",
        ],
    ),
    (
        "skynetd",
        &[
            "skynet-cache",
            "skynet-catalog",
            "skynet-core",
            "skynet-docker",
            "skynet-engine",
            "skynet-env",
            "skynet-exec",
            "skynet-hands",
            "skynet-knowledge",
            "skynet-knowledge-tools",
            "skynet-lease-tools",
            "skynet-leases",
            "skynet-memory",
            "skynet-memory-tools",
            "skynet-models",
            "skynet-oauth",
            "skynet-policy",
            "skynet-proto",
            "skynet-sandbox",
            "skynet-secrets",
            "skynet-store",
            "skynet-v1",
            "skynet-vault",
        ],
    ),
    (
        "skynet-tests",
        &[
            "skynet-cache",
            "skynet-catalog",
            "skynet-core",
            "skynet-docker",
            "skynet-engine",
            "skynet-env",
            "skynet-exec",
            "skynet-hands",
            "skynet-knowledge-tools",
            "skynet-lease-tools",
            "skynet-leases",
            "skynet-memory-tools",
            "skynet-policy",
            "skynet-proto",
            "skynet-sandbox",
            "skynet-secrets",
            "skynet-store",
        ],
    ),
    (
        "xtask",
        &[
            "skynet-core",
            "skynet-documents",
            "skynet-hands",
            "skynet-knowledge",
            "skynet-models",
            "skynet-sandbox",
            "skynet-store",
            "skynet-tests",
        ],
    ),
];

/// Foreign APIs with one home each.
const HOMES: [(&str, &str); 11] = [
    ("bollard", "skynet-engine"),
    ("gix", "skynet-git"),
    ("ort", "skynet-models"),
    ("redis", "skynet-cache"),
    ("rmcp", "skynetd"),
    ("rustls-native-certs", "skynet-web"),
    ("sled", "skynet-store"),
    ("tantivy", "skynet-knowledge"),
    ("usearch", "skynet-knowledge"),
    ("tokenizers", "skynet-models"),
    ("tokio-rustls", "skynet-egress"),
];

/// Names of files that say nothing.
const VAGUE: [&str; 5] = ["utils.rs", "util.rs", "helpers.rs", "common.rs", "misc.rs"];

/// Lines of a file before its tests, and of a function.
const LONGEST_FILE: usize = 500;

/// Files over the limit, each with its reason. May only shrink.
const LONG_FILES: [&str; 0] = [];

/// What must not stand in code: the words, and the rule.
const FORBIDDEN: [(&str, &str); 5] = [
    ("todo!(", "no stubs"),
    ("unimplemented!(", "no stubs"),
    ("#[ignore", "no ignored tests"),
    ("TODO", "no notes to oneself"),
    ("thread::sleep(", "no waiting for a clock"),
];

pub(crate) fn run() -> Result<()> {
    shell::step("tidy");
    let mut faults = Vec::new();
    dependencies(&mut faults)?;
    let listed = shell::capture(
        Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(crate::root()),
    );
    // A source archive has no Git; its files were checked when it was made.
    let Ok(listed) = listed else {
        return report(&faults);
    };
    let files: Vec<&str> = listed.lines().filter(|path| crate::root().join(path).is_file()).collect();
    top_level(&files, &mut faults);
    for path in &files {
        if path.ends_with(".rs") {
            source(path, &mut faults)?;
        }
    }
    tools(&files, &mut faults)?;
    fragments(&files, &mut faults);
    crate::book::check(&files, &mut faults)?;
    report(&faults)
}

fn report(faults: &[String]) -> Result<()> {
    for fault in faults {
        eprintln!("{fault}");
    }
    if faults.is_empty() { Ok(()) } else { bail!("{} rules are broken", faults.len()) }
}

/// Who may depend on whom.
fn dependencies(faults: &mut Vec<String>) -> Result<()> {
    let metadata =
        shell::capture(shell::cargo().args(["metadata", "--format-version=1", "--no-deps", "--offline"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let packages = metadata["packages"].as_array().context("cargo metadata")?;
    let ours: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(may) = allowed.get(name) else {
            faults.push(format!("{name}: say in xtask/src/tidy.rs what it may depend on"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let other = dependency["name"].as_str().unwrap_or_default();
            if ours.contains(other) && !may.contains(&other) {
                faults.push(format!("{name} must not depend on {other}"));
            }
            let home = HOMES.iter().find(|(foreign, _)| *foreign == other);
            // A test may hold what it tests against the foreign program itself.
            let is_test = dependency["kind"].as_str() == Some("dev");
            if home.is_some_and(|(_, home)| *home != name) && !is_test {
                faults.push(format!("{name} must not use {other}, which has its home elsewhere"));
            }
        }
    }
    Ok(())
}

/// The rooms at the top are few, and named in the architecture.
fn top_level(files: &[&str], faults: &mut Vec<String>) {
    let rooms = [
        "proto",
        "shim",
        "ctl",
        "daemon",
        "systemd",
        "packaging",
        "tests",
        "docs",
        "xtask",
        "changelog.d",
        ".github",
        ".ci",
        ".cargo",
    ];
    let found: BTreeSet<&str> =
        files.iter().filter_map(|path| path.split_once('/')).map(|(top, _)| top).collect();
    faults.extend(
        found
            .iter()
            .filter(|top| !rooms.contains(top))
            .map(|top| format!("{top}/: no such room in the architecture")),
    );
}

fn source(path: &str, faults: &mut Vec<String>) -> Result<()> {
    let text = fs::read_to_string(crate::root().join(path)).with_context(|| format!("reading `{path}`"))?;
    let name = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if VAGUE.contains(&name) {
        faults.push(format!("{path}: a file is named after what it holds"));
    }
    if !text.starts_with("//!") && !name.ends_with("_tests.rs") {
        faults.push(format!("{path}: starts with no `//!` that says what it is for"));
    }
    let before_tests = text.split("#[cfg(test)]").next().unwrap_or_default().lines().count();
    let is_test = path.starts_with("tests/") || name.ends_with("_tests.rs");
    if before_tests > LONGEST_FILE && !is_test && !LONG_FILES.contains(&path) {
        faults.push(format!("{path}: {before_tests} lines before its tests; split it by concept"));
    }
    // This file names what it looks for.
    if path != "xtask/src/tidy.rs" {
        for (words, rule) in FORBIDDEN {
            if text.contains(words) {
                faults.push(format!("{path}: has `{words}`: {rule}"));
            }
        }
    }
    if text.contains("unsafe {") && !path.starts_with("daemon/sandbox/") && path != "xtask/src/tidy.rs" {
        faults.push(format!("{path}: unsafe code belongs into daemon/sandbox"));
    }
    Ok(())
}

/// A tool is one file named after it.
fn tools(files: &[&str], faults: &mut Vec<String>) -> Result<()> {
    for name in crate::docs::tools()?.keys() {
        let (family, rest) = name.split_once('_').unwrap_or((name, name));
        let path = format!("daemon/tools/{family}/src/{rest}.rs");
        if !files.contains(&path.as_str()) {
            faults.push(format!("{name}: expected in {path}"));
        }
    }
    Ok(())
}

/// `<slug>.<kind>.md`, one sentence to the user.
fn fragments(files: &[&str], faults: &mut Vec<String>) {
    for path in files.iter().filter(|path| path.starts_with("changelog.d/")) {
        let parts: Vec<&str> = path.trim_start_matches("changelog.d/").split('.').collect();
        if !matches!(parts.as_slice(), [_, kind, "md"] if changelog::KINDS.contains(kind)) {
            faults.push(format!("{path}: {}", changelog::named()));
        }
    }
}
