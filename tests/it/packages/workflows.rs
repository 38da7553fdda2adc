//! What the forge runs, and what it asks of people.

use skynet_tests::{
    components,
    packages::{self, run},
};
use std::{fs, path::PathBuf};

fn workflows() -> Vec<PathBuf> {
    let directory = packages::source().join(".github/workflows");
    let mut found: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

#[test]
fn actionlint_finds_nothing() {
    let Some(actionlint) = components::find("packagers", "bin/actionlint") else { return };
    // With its own eyes alone: shellcheck, where there is one, is of another version everywhere.
    let mut arguments = vec![PathBuf::from("-no-color"), "-shellcheck=".into(), "-pyflakes=".into()];
    arguments.extend(workflows());
    run(actionlint.to_str().unwrap(), &arguments);
}

#[test]
fn every_duty_has_a_workflow_with_few_rights() {
    let names: Vec<String> =
        workflows().iter().map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(names, ["ci", "coverage", "fuzz", "packages", "release"]);
    for path in workflows() {
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.contains("\npermissions:\n  contents: read\n"),
            "{}: more only where a job says so",
            path.display()
        );
        for line in
            text.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("uses: "))
        {
            assert!(line.contains('@'), "{}: {line}", path.display());
        }
    }
}

#[test]
fn people_are_asked_for_what_is_needed() {
    let github = packages::source().join(".github");
    for form in ["bug.yml", "feature.yml"] {
        let text = fs::read_to_string(github.join("ISSUE_TEMPLATE").join(form)).unwrap();
        for key in ["\nname: ", "\ndescription: ", "\nbody:\n"] {
            assert!(format!("\n{text}").contains(key), "{form}: {key}");
        }
        assert!(text.contains("required: true"), "{form}");
    }
    for file in ["PULL_REQUEST_TEMPLATE.md", "CODEOWNERS", "dependabot.yml", "ISSUE_TEMPLATE/config.yml"] {
        assert!(!fs::read_to_string(github.join(file)).unwrap().trim().is_empty(), "{file}");
    }
}
