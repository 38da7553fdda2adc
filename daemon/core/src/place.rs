//! Where a path of a caller is, by the kernel's word: everything is resolved beneath the workspace's descriptor. What it looks
//! at it does not open for reading (`O_PATH`, open(2)).

use crate::{RelativePath, Workspace};
use rustix::fs::{Mode, OFlags};
use std::{io, os::fd::AsFd as _, path::PathBuf};

/// The places a path may mean, relative to the workspace and free of links: the entry it names, and what that leads to. Both,
/// because some tools follow a link in the last place and some do not. `None` where it leads out, or nobody can say.
#[must_use]
pub fn places(workspace: &Workspace, path: &str) -> Option<[PathBuf; 2]> {
    let path = workspace.relative(path).ok()?;
    let target = resolve(workspace, &path)?;
    let entry = match path.split() {
        Ok((parent, name)) => resolve(workspace, &parent)?.join(name),
        // The workspace itself, or a path that ends in `..`: no link of that name can be meant.
        Err(_) => target.clone(),
    };
    Some([entry, target])
}

/// Where `path` leads. What does not exist yet is where it would be made.
#[must_use]
pub fn resolve(workspace: &Workspace, path: &RelativePath) -> Option<PathBuf> {
    let mut path = path.clone();
    let mut missing = Vec::new();
    loop {
        match workspace.open_raw(&path, OFlags::PATH, Mode::empty()) {
            Ok(found) => {
                let place = workspace.locate(found.as_fd())?;
                let mut place =
                    if place == RelativePath::root() { PathBuf::new() } else { place.as_path().to_owned() };
                place.extend(missing.iter().rev());
                return Some(place);
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            Err(_) => return None,
        }
        // A link to what does not exist: who writes to it decides where that is.
        if workspace.open_raw(&path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).is_ok() {
            return None;
        }
        let (parent, name) = path.split().ok()?;
        let name = name.to_owned();
        missing.push(name);
        path = parent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink, path::Path};

    #[test]
    fn a_path_is_where_the_kernel_says() {
        let keep = tempfile::tempdir().unwrap();
        let root = keep.path().join("work");
        fs::create_dir_all(root.join("src/deep")).unwrap();
        fs::write(root.join("src/file"), "").unwrap();
        symlink("src", root.join("link")).unwrap();
        symlink("src/file", root.join("to-file")).unwrap();
        symlink("nothing", root.join("dangling")).unwrap();
        symlink("..", root.join("out")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let workspace = Workspace::open(&root).unwrap();
        let absolute = workspace.path().join("src//./file").display().to_string();
        for (path, expected) in [
            ("src/file", Some(["src/file", "src/file"])),
            ("./src//file/", Some(["src/file", "src/file"])),
            ("./src//deep/", Some(["src/deep", "src/deep"])),
            ("src/deep/../file", Some(["src/file", "src/file"])),
            ("link/file", Some(["src/file", "src/file"])),
            ("link", Some(["link", "src"])),
            ("to-file", Some(["to-file", "src/file"])),
            ("link/new/file", Some(["src/new/file", "src/new/file"])),
            (".", Some(["", ""])),
            ("src/..", Some(["", ""])),
            (absolute.as_str(), Some(["src/file", "src/file"])),
            ("new/../src/file", None),
            ("dangling", None),
            ("dangling/file", None),
            ("loop", None),
            ("out/x", None),
            ("../work/src/file", None),
            ("/etc/passwd", None),
            ("", None),
            ("a\0b", None),
        ] {
            let found = places(&workspace, path);
            assert_eq!(found, expected.map(|both| both.map(|one| Path::new(one).to_owned())), "{path}");
        }
    }
}
