//! The image for containers, from nothing: two layers, written without a container engine. One archive for both formats, that
//! of the OCI (<https://github.com/opencontainers/image-spec>) and that of `docker load`, which share their blobs.

use super::{
    Material, VERSION, archive, copyright, libraries, require,
    tree::{self, Tree},
};
use crate::shell;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{fs, io::Read as _, path::Path};

/// Who the programs run as, unless the engine is told another.
const USER: u32 = 65532;

/// Where he is at home.
const HOME: &str = "home/skynet";

/// Makes it; says where it is.
pub(crate) fn make(material: &Material) -> Result<()> {
    require("tar", "tar")?;
    let scratch = tempfile::tempdir()?;
    let layout = Tree::new(&scratch.path().join("layout"))?;
    let layers = [
        layer(material, &system(material, scratch.path())?, &layout, scratch.path())?,
        layer(material, &programs(material, scratch.path())?, &layout, scratch.path())?,
    ];
    let created = moment(material)?;
    let config = json!({
        "created": created,
        "architecture": super::deb::architecture(),
        "os": "linux",
        "config": {
            "User": format!("{USER}:{USER}"),
            "Env": [format!("HOME=/{HOME}"), "PATH=/usr/bin:/bin"],
            "Entrypoint": [format!("/{}/skynetd", tree::PROGRAMS)],
            "WorkingDir": format!("/{HOME}"),
            "Labels": {
                "org.opencontainers.image.title": "Skynet",
                "org.opencontainers.image.description": super::SUMMARY,
                "org.opencontainers.image.version": VERSION,
                "org.opencontainers.image.licenses": "MIT",
            },
        },
        "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|layer| &layer.content).collect::<Vec<_>>() },
        "history": layers.iter().map(|_| json!({ "created": created, "created_by": "cargo xtask package image" })).collect::<Vec<_>>(),
    });
    let config = blob(&layout, &serde_json::to_vec(&config)?, "application/vnd.oci.image.config.v1+json")?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": layers.iter().map(|layer| &layer.descriptor).collect::<Vec<_>>(),
    });
    let mut manifest =
        blob(&layout, &serde_json::to_vec(&manifest)?, "application/vnd.oci.image.manifest.v1+json")?;
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": VERSION });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    let docker = json!([{
        "Config": place(&config),
        "RepoTags": [format!("skynet:{VERSION}")],
        "Layers": layers.iter().map(|layer| place(&layer.descriptor)).collect::<Vec<_>>(),
    }]);
    for (name, content) in [
        ("oci-layout", json!({ "imageLayoutVersion": "1.0.0" })),
        ("index.json", index),
        ("manifest.json", docker),
    ] {
        layout.put(name, serde_json::to_vec(&content)?, 0o644)?;
    }
    let file = material.out.join(format!("skynet_{VERSION}_{}.image.tar", super::deb::architecture()));
    if file.exists() {
        // An archive is added to.
        fs::remove_file(&file)?;
    }
    archive::write(material, &layout.path(""), &file, 0)?;
    shell::step(&format!("made {}", file.display()));
    Ok(())
}

/// What the programs expect of a system: the libraries that the loader maps, names of users, and whom TLS trusts.
fn system(material: &Material, scratch: &Path) -> Result<Vec<(Tree, u32)>> {
    let tree = Tree::new(&scratch.join("system"))?;
    for library in libraries::files(&material.programs)? {
        let content = fs::read(&library).with_context(|| format!("reading `{}`", library.display()))?;
        tree.put(&library.to_string_lossy().replacen('/', "", 1), content, 0o755)?;
    }
    tree.put(
        "etc/passwd",
        format!("root:x:0:0:root:/root:/\nskynet:x:{USER}:{USER}:Skynet:/{HOME}:/\n"),
        0o644,
    )?;
    tree.put("etc/group", format!("root:x:0:\nskynet:x:{USER}:\n"), 0o644)?;
    tree.put("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n", 0o644)?;
    let authorities = Path::new("/etc/ssl/certs/ca-certificates.crt");
    if authorities.exists() {
        tree.put("etc/ssl/certs/ca-certificates.crt", fs::read(authorities)?, 0o644)?;
    }
    // Places that are mounted over, and the ways that programs of a Debian host take.
    for place in ["dev", "proc", "run", "sys", "tmp", "workspace"] {
        tree.directory(place)?;
    }
    tree.mode("tmp", 0o1777)?;
    let home = Tree::new(&scratch.join("home"))?;
    home.directory(HOME)?;
    home.mode(HOME, 0o700)?;
    Ok(vec![(tree, 0), (home, USER)])
}

fn programs(material: &Material, scratch: &Path) -> Result<Vec<(Tree, u32)>> {
    let tree = Tree::new(&scratch.join("programs"))?;
    tree.programs(material)?;
    tree.put("usr/share/doc/skynet/copyright", copyright::file(&material.crates)?, 0o644)?;
    Ok(vec![(tree, 0)])
}

/// A layer that is written.
struct Layer {
    /// Of the archive before it was compressed.
    content: String,
    descriptor: Value,
}

/// Writes a layer of trees, each with its owner.
fn layer(material: &Material, trees: &[(Tree, u32)], layout: &Tree, scratch: &Path) -> Result<Layer> {
    let file = scratch.join("layer.tar");
    if file.exists() {
        fs::remove_file(&file)?;
    }
    for (tree, owner) in trees {
        archive::write(material, &tree.path(""), &file, *owner)?;
    }
    let content = format!("sha256:{}", digest(&file)?);
    archive::compress(material, &file)?;
    let packed = fs::read(scratch.join("layer.tar.gz"))?;
    fs::remove_file(scratch.join("layer.tar.gz"))?;
    let descriptor = blob(layout, &packed, "application/vnd.oci.image.layer.v1.tar+gzip")?;
    Ok(Layer { content, descriptor })
}

/// Stores bytes by what they are; how others refer to them.
fn blob(layout: &Tree, content: &[u8], kind: &str) -> Result<Value> {
    let digest = hex(&Sha256::digest(content));
    layout.put(&format!("blobs/sha256/{digest}"), content, 0o644)?;
    Ok(json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": content.len() }))
}

fn place(descriptor: &Value) -> String {
    format!("blobs/{}", descriptor["digest"].as_str().unwrap_or_default().replace(':', "/"))
}

fn digest(file: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    let mut open = fs::File::open(file)?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = open.read(&mut buffer)?;
        if read == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(buffer.get(..read).unwrap_or_default());
    }
}

/// As digests are written.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As RFC 3339 writes it.
pub(super) fn moment(material: &Material) -> Result<String> {
    let mut command = material.command("date");
    let date = shell::capture(command.args([
        "--utc",
        "--date",
        &format!("@{}", material.epoch),
        "+%Y-%m-%dT%H:%M:%SZ",
    ]))?;
    Ok(date.trim().to_owned())
}
