//! What files hold: read, compared, and given a place.

use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};
use skynet_core::{
    CallCtx, Error, RelativePath, Result, Workspace,
    canonical::hex,
    error::IoContext as _,
    target::{Target, regular},
};
use std::{
    fs::File,
    io::Read as _,
    path::{Component, Path},
};

/// Opens a regular file for reading, following links that stay inside. Never blocks on a FIFO.
pub(crate) fn open_regular(workspace: &Workspace, path: &RelativePath) -> Result<File> {
    regular(workspace.open_at(path, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?, path)
}

/// Reads a whole file of at most `limit` bytes.
pub(crate) fn read_all(file: &mut File, limit: u64, path: &RelativePath) -> Result<Vec<u8>> {
    let size = file.metadata().on(path)?.len();
    if size > limit {
        return Err(Error::invalid_input(format!(
            "`{path}` has {size} bytes; this tool takes at most {limit}"
        )));
    }
    let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(limit).read_to_end(&mut content).on(path)?;
    Ok(content)
}

/// SHA-256, lower-case hex.
pub(crate) fn digest(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

/// Refuses a change of a file that is not what the caller saw.
pub(crate) fn check_expected(
    expected: Option<&str>,
    content: Option<&[u8]>,
    path: &RelativePath,
) -> Result<()> {
    let Some(expected) = expected else { return Ok(()) };
    match content.map(digest) {
        Some(found) if found.eq_ignore_ascii_case(expected) => Ok(()),
        Some(found) => Err(Error::conflict(format!(
            "`{path}` was changed since you read it: its sha256 is {found}; read it again"
        ))),
        None => Err(Error::conflict(format!(
            "`{path}` does not exist (any more), but `expected_sha256` was given"
        ))),
    }
}

/// Makes the missing directories above an entry.
pub(crate) async fn make_parents(ctx: &CallCtx, workspace: &Workspace, path: &RelativePath) -> Result<()> {
    let (parent, _) = path.split()?;
    if workspace.open_raw(&parent, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).is_ok() {
        return Ok(());
    }
    let mut made = RelativePath::root();
    for part in parent.as_path().components() {
        made = made.join(Path::new(part.as_os_str()));
        if part == Component::ParentDir
            || workspace.open_raw(&made, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).is_ok()
        {
            continue;
        }
        let target = Target::entry(workspace, &made)?;
        target.keep_entry_before(ctx).await?;
        let mode = Mode::RWXU | Mode::RWXG | Mode::RWXO;
        match rustix::fs::mkdirat(&target.directory, &target.name, mode) {
            // Somebody else made it meanwhile.
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(err) => return Err(err).on(&made),
        }
    }
    Ok(())
}
