//! The recorded sessions of the book.

use skynet_tests::packages;
use std::process::Command;

#[test]
fn recorded_sessions_are_rendered_as_they_were() {
    let mut command = Command::new("python3");
    // It writes nothing beside what it tests.
    command.args(["-B", "-m", "unittest", "docs/casts/test_render.py"]).current_dir(packages::source());
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}
