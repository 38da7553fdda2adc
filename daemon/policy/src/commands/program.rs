//! From a name to the file that runs. What is found lies, links followed, where no command can change anything: then the
//! file that was judged is the file that is run.

use skynet_core::command::Programs;
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Component, Path, PathBuf},
};

/// The file that `program` stands for: its own name in the directory where it really is. The name stays because some
/// programs do what they are called.
///
/// # Errors
/// In words, why there is none.
pub(super) fn resolve(
    program: &str,
    programs: &Programs,
    workspace: Option<&Path>,
) -> Result<PathBuf, String> {
    if program.is_empty() || program.contains('\0') {
        return Err("there is no program".into());
    }
    let path = Path::new(program);
    if !program.contains('/') {
        let found =
            programs.path.iter().find_map(|directory| vet(&directory.join(program), programs, workspace));
        return found.ok_or_else(|| {
            format!("no directory that commands cannot write to holds a program `{}`", program.escape_debug())
        });
    }
    let is_plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let found = if is_plain && path.is_absolute() { vet(path, programs, workspace) } else { None };
    found.ok_or_else(|| {
        format!(
            "`{}` is no program outside of the workspace; what a command can write to can become any program",
            program.escape_debug()
        )
    })
}

fn vet(candidate: &Path, programs: &Programs, workspace: Option<&Path>) -> Option<PathBuf> {
    let is_fixed = |path: &Path| {
        programs.fixed.iter().any(|directory| path.starts_with(directory))
            && !workspace.is_some_and(|workspace| path.starts_with(workspace))
    };
    let found = candidate.parent()?.canonicalize().ok()?.join(candidate.file_name()?);
    let file = found.canonicalize().ok()?;
    let metadata = fs::metadata(&file).ok()?;
    let can_run = metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
    (can_run && is_fixed(&found) && is_fixed(&file)).then_some(found)
}
