//! Archives by `tar`, that are the same when their content is: the one that `install.sh` unpacks, and those in an image.

use super::{Compression, Material, VERSION, require, tree::Tree};
use crate::shell;
use anyhow::Result;
use std::{fs, path::Path, process::Command};

/// Sorted, with one time and no names of this host.
const SORTED: [&str; 3] = ["--sort=name", "--numeric-owner", "--format=gnu"];

/// Makes the archive of a release: what lies below `/usr/local` or `~/.local`, for one user.
pub(crate) fn make(material: &Material) -> Result<()> {
    require("tar", "tar")?;
    let scratch = tempfile::tempdir()?;
    let tree = Tree::new(&scratch.path().join("root"))?;
    tree.of_one_user(material)?;
    let name = format!("skynet_{VERSION}_{}_{}.tar", std::env::consts::OS, super::deb::architecture());
    let file = scratch.path().join(&name);
    write(material, &tree.path("usr"), &file, 0)?;
    compress(material, &file)?;
    let made = material.out.join(format!("{name}.gz"));
    fs::copy(scratch.path().join(format!("{name}.gz")), &made)?;
    shell::step(&format!("made {}", made.display()));
    Ok(())
}

/// Writes a directory into an archive, or to the end of it.
pub(super) fn write(material: &Material, directory: &Path, file: &Path, owner: u32) -> Result<()> {
    let mut command = material.command("tar");
    command.args(SORTED).arg(format!("--mtime=@{}", material.epoch));
    command.args([format!("--owner={owner}"), format!("--group={owner}")]);
    command.arg(if file.exists() { "--append" } else { "--create" }).arg("--file").arg(file);
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name());
    }
    names.sort();
    shell::run(command.arg("--directory").arg(directory).args(names))
}

/// Replaces a file by one with `.gz`, without its name and time.
pub(super) fn compress(material: &Material, file: &Path) -> Result<()> {
    let level = match material.compression {
        Compression::Best => "-9n",
        Compression::Fast => "-1n",
    };
    shell::run(Command::new("gzip").arg(level).arg(file))
}
