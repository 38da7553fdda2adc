//! Sets aside what is damaged of an index: renamed where it lies, so that somebody can look at it. All of it can be made again from its
//! documents, so that what was set aside before gives way.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

/// Renames `path` to `<path>.damaged`, and tells where it is then.
///
/// # Errors
/// What the filesystem says.
pub(crate) fn set(path: &Path) -> io::Result<PathBuf> {
    let mut name = OsString::from(path);
    name.push(".damaged");
    let aside = PathBuf::from(name);
    let removed = match fs::symlink_metadata(&aside) {
        Ok(before) if before.is_dir() => fs::remove_dir_all(&aside),
        Ok(_) => fs::remove_file(&aside),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(err) => Err(err),
    };
    removed?;
    fs::rename(path, &aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_aside_last_is_what_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("words");
        for content in ["first", "second"] {
            fs::create_dir(&path).unwrap();
            fs::write(path.join("file"), content).unwrap();
            let aside = set(&path).unwrap();
            assert_eq!(aside, directory.path().join("words.damaged"));
            assert_eq!(fs::read_to_string(aside.join("file")).unwrap(), content);
            assert!(!path.exists());
        }
        fs::write(&path, "a file").unwrap();
        assert_eq!(fs::read_to_string(set(&path).unwrap()).unwrap(), "a file");
    }
}
