//! Which file goes where on a host. Everything is written with its mode, whatever the umask is.

use super::{Material, changelog, copyright};
use crate::{build, shell};
use anyhow::{Context as _, Result};
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

/// Where programs lie, side by side, because they look for one another there.
pub(crate) const PROGRAMS: &str = "usr/lib/skynet";

/// What people and clients start.
pub(crate) const LINKED: [&str; 2] = ["skynet-shim", "skynetctl"];

/// Files below a directory that will be somebody's root.
pub(crate) struct Tree(PathBuf);

impl Tree {
    /// An empty one.
    pub(crate) fn new(root: &Path) -> Result<Self> {
        let tree = Self(root.to_owned());
        tree.directory("")?;
        Ok(tree)
    }

    /// A place in it.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// A directory, with those above it.
    pub(crate) fn directory(&self, path: &str) -> Result<()> {
        let mut whole = self.0.clone();
        for part in std::iter::once("").chain(path.split('/')) {
            whole.push(part);
            if !whole.is_dir() {
                fs::create_dir(&whole).with_context(|| format!("making `{}`", whole.display()))?;
            }
            fs::set_permissions(&whole, fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    /// Gives a directory another mode.
    pub(crate) fn mode(&self, path: &str, mode: u32) -> Result<()> {
        Ok(fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode))?)
    }

    /// A file with that content.
    pub(crate) fn put(&self, path: &str, content: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent)?;
        }
        let whole = self.path(path);
        fs::write(&whole, content).with_context(|| format!("writing `{}`", whole.display()))?;
        Ok(fs::set_permissions(&whole, fs::Permissions::from_mode(mode))?)
    }

    /// A copy of a file of this source.
    pub(crate) fn copy(&self, source: &str, path: &str) -> Result<()> {
        let from = crate::root().join(source);
        self.put(path, fs::read(&from).with_context(|| format!("reading `{}`", from.display()))?, 0o644)
    }

    /// A symbolic link.
    pub(crate) fn link(&self, path: &str, target: &str) -> Result<()> {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent)?;
        }
        symlink(target, self.path(path)).with_context(|| format!("linking `{path}`"))
    }

    /// A compressed file; the name gets its `.gz`.
    pub(crate) fn compressed(&self, path: &str, content: impl AsRef<[u8]>) -> Result<()> {
        self.put(path, content, 0o644)?;
        // Without its name and time, so that the same content is the same file.
        shell::run(Command::new("gzip").args(["-9n", "--force"]).arg(self.path(path)))
    }

    /// All that one user needs: programs, manual, and what is to be told of both.
    pub(crate) fn of_one_user(&self, material: &Material) -> Result<()> {
        self.programs(material)?;
        self.manual(material)?;
        self.put("usr/share/doc/skynet/copyright", copyright::file(&material.crates)?, 0o644)?;
        self.changes()
    }

    /// The programs without symbols, and links for what is started by name.
    pub(crate) fn programs(&self, material: &Material) -> Result<()> {
        for name in build::PROGRAMS {
            let path = format!("{PROGRAMS}/{name}");
            self.put(&path, fs::read(material.programs.join(name))?, 0o755)?;
            // A release has none; debug builds have ten times its size.
            if shell::has("strip") {
                let sections = ["--remove-section=.comment", "--remove-section=.note"];
                shell::run(Command::new("strip").args(sections).arg(self.path(&path)))?;
            }
        }
        for name in LINKED {
            self.link(&format!("usr/bin/{name}"), &format!("../lib/skynet/{name}"))?;
        }
        Ok(())
    }

    /// The units and what belongs to them.
    pub(crate) fn units(&self) -> Result<()> {
        for directory in ["systemd", "systemd/user"] {
            let Ok(entries) = fs::read_dir(crate::root().join(directory)) else { continue };
            for entry in entries {
                let name = entry?.file_name().to_string_lossy().into_owned();
                if let Some(place) = place_of_unit(directory, &name) {
                    self.copy(&format!("{directory}/{name}"), &place)?;
                }
            }
        }
        Ok(())
    }

    /// The configuration of the host, and a directory for more of it.
    pub(crate) fn configuration(&self) -> Result<()> {
        self.copy("packaging/config.toml", "etc/skynet/config.toml")?;
        self.directory("etc/skynet/config.d")
    }

    /// Man pages and completion: of `skynetctl` as itself writes them.
    pub(crate) fn manual(&self, material: &Material) -> Result<()> {
        let pages = tempfile::tempdir()?;
        let skynetctl = material.programs.join("skynetctl");
        shell::capture(Command::new(&skynetctl).arg("man").arg(pages.path()))?;
        for directory in [pages.path(), &crate::root().join("packaging/man")] {
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let section = name.rsplit('.').next().unwrap_or_default();
                self.compressed(&format!("usr/share/man/man{section}/{name}"), fs::read(entry.path())?)?;
            }
        }
        for (shell, path) in [
            ("bash", "usr/share/bash-completion/completions/skynetctl"),
            ("fish", "usr/share/fish/vendor_completions.d/skynetctl.fish"),
            ("zsh", "usr/share/zsh/vendor-completions/_skynetctl"),
        ] {
            self.put(path, shell::capture(Command::new(&skynetctl).args(["completion", shell]))?, 0o644)?;
        }
        Ok(())
    }

    /// What changed, for those who read it on the host.
    pub(crate) fn changes(&self) -> Result<()> {
        self.compressed("usr/share/doc/skynet/changelog", changelog::markdown()?)
    }

    /// Every file and link in it, from its top, in order.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let mut open = vec![self.0.clone()];
        let mut found = Vec::new();
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    open.push(entry.path());
                } else {
                    found.push(entry.path().strip_prefix(&self.0)?.to_owned());
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

/// Where a file of that directory of this source belongs; not every one belongs on a host.
fn place_of_unit(directory: &str, name: &str) -> Option<String> {
    let (stem, kind) = name.rsplit_once('.')?;
    let of_user = directory.ends_with("/user");
    match kind {
        "service" | "socket" | "target" | "timer" | "slice" if of_user => {
            Some(format!("usr/lib/systemd/user/{name}"))
        }
        "service" | "socket" | "target" | "timer" | "slice" => Some(format!("usr/lib/systemd/system/{name}")),
        "sysusers" => Some(format!("usr/lib/sysusers.d/{stem}.conf")),
        "tmpfiles" => Some(format!("usr/lib/tmpfiles.d/{stem}.conf")),
        "policy" => Some(format!("usr/share/polkit-1/actions/{name}")),
        "rules" => Some(format!("usr/share/polkit-1/rules.d/{name}")),
        _ => None,
    }
}
