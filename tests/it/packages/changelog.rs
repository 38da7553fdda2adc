//! The fragments of `changelog.d`, and what a release makes of them.

use skynet_tests::packages::{self, Workshop};
use std::{fs, path::Path};

fn fragment(source: &Path, name: &str, text: &str) {
    let directory = source.join("changelog.d");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(name), text).unwrap();
}

#[test]
fn a_release_moves_the_fragments_into_a_section() {
    let Some(shop) = Workshop::open() else { return };
    let source = shop.path("source");
    fragment(&source, "b.fixed.md", "A race.\n");
    fragment(&source, "a.added.md", "Files,\nin two lines.\n");
    let run = |arguments: &[&str]| {
        let output = shop.xtask(&source, &[&["changelog"], arguments].concat());
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    assert!(run(&["--check"]).0);
    assert!(!source.join("CHANGELOG.md").exists(), "a check changes nothing");
    assert!(run(&["2.0.0"]).0);
    let first = "\n## 2.0.0 - 2023-11-14\n\n### Added\n\n- Files, in two lines.\n\n### Fixed\n\n- A race.\n";
    let written = fs::read_to_string(source.join("CHANGELOG.md")).unwrap();
    assert!(written.starts_with("# Changelog\n") && written.ends_with(first), "{written}");
    assert_eq!(fs::read_dir(source.join("changelog.d")).unwrap().count(), 0);

    let (done, said) = run(&["2.1.0"]);
    assert!(!done && said.contains("nothing new"), "{said}");
    fragment(&source, "c.removed.md", "Old names.\n");
    let (done, said) = run(&["2.0.0"]);
    assert!(!done && said.contains("has 2.0.0 already"), "{said}");
    assert!(run(&["2.1.0"]).0);
    let written = fs::read_to_string(source.join("CHANGELOG.md")).unwrap();
    assert!(
        written.ends_with(&format!("\n## 2.1.0 - 2023-11-14\n\n### Removed\n\n- Old names.\n{first}")),
        "{written}"
    );

    for (name, text, expected) in [
        ("d.improved.md", "Faster.\n", "must be named"),
        ("d.md", "Faster.\n", "must be named"),
        ("d.changed.md", "\n", "says nothing"),
    ] {
        fragment(&source, name, text);
        let (done, said) = run(&["--check"]);
        assert!(!done && said.contains(expected), "{name}: {said}");
        fs::remove_file(source.join("changelog.d").join(name)).unwrap();
    }
}

#[test]
fn what_is_told_of_this_source_can_be_released() {
    let Some(shop) = Workshop::open() else { return };
    let checked = shop.xtask(&packages::source(), &["changelog", "--check"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
}
