//! The snap, by `mksquashfs`: what `snapcraft` would make of `packaging/snap/snapcraft.yaml`, of programs that are there.

use super::{Compression, Material, VERSION, require, tree::Tree};
use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::fs;

/// Keys of the recipe that say how it is built; the others are told to snapd.
const OF_THE_BUILD: [&str; 3] = ["parts", "platforms", "adopt-info"];

/// Makes it; says where it is.
pub(crate) fn make(material: &Material) -> Result<()> {
    require("mksquashfs", "squashfs-tools")?;
    let scratch = tempfile::tempdir()?;
    let tree = Tree::new(&scratch.path().join("root"))?;
    tree.of_one_user(material)?;
    let recipe = crate::root().join("packaging/snap/snapcraft.yaml");
    let recipe = fs::read_to_string(&recipe).with_context(|| format!("reading `{}`", recipe.display()))?;
    tree.put("meta/snap.yaml", metadata(&recipe, VERSION, super::deb::architecture())?, 0o644)?;
    let file = material.out.join(format!("skynet_{VERSION}_{}.snap", super::deb::architecture()));
    // It would add to one that is there.
    if file.exists() {
        fs::remove_file(&file)?;
    }
    let mut command = material.command("mksquashfs");
    command.arg(tree.path("")).arg(&file);
    // As the store asks for it. Times are those of SOURCE_DATE_EPOCH.
    command.args(["-all-root", "-no-xattrs", "-no-fragments", "-no-progress", "-quiet"]);
    command.args(match material.compression {
        Compression::Best => ["-comp", "xz"],
        Compression::Fast => ["-comp", "lzo"],
    });
    shell::run(&mut command)?;
    shell::step(&format!("made {}", file.display()));
    Ok(())
}

/// What snapd reads: the recipe without how it is built, with what is known now.
fn metadata(recipe: &str, version: &str, architecture: &str) -> Result<String> {
    let mut text = String::new();
    let mut is_told = true;
    for line in recipe.lines() {
        if let Some((key, _)) =
            line.split_once(':').filter(|_| line.starts_with(|char: char| char.is_alphanumeric()))
        {
            is_told = !OF_THE_BUILD.contains(&key);
            if key == "version" {
                text += &format!("version: '{version}'\narchitectures: [{architecture}]\n");
                continue;
            }
        }
        if is_told && !line.starts_with('#') {
            text += line;
            text.push('\n');
        }
    }
    if !text.contains("architectures: ") {
        bail!("the recipe of the snap has no version");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapd_is_not_told_how_it_was_built() {
        let recipe =
            "# why\nname: a\nversion: '0'\nparts:\n  a:\n    plugin: nil\napps:\n  a:\n    command: b\n";
        assert_eq!(
            metadata(recipe, "2.0.0", "amd64").unwrap(),
            "name: a\nversion: '2.0.0'\narchitectures: [amd64]\napps:\n  a:\n    command: b\n"
        );
        assert!(metadata("name: a\n", "1", "amd64").is_err());
    }
}
