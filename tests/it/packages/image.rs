//! The image, as its archive has it. That an engine runs it is tested where there is one.

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use skynet_tests::packages::{PROGRAMS, Workshop, run};
use std::{
    fs,
    path::{Path, PathBuf},
};

struct Image {
    root: PathBuf,
}

impl Image {
    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&fs::read(self.root.join(path)).unwrap()).unwrap()
    }

    /// A blob is what its name says.
    fn blob(&self, descriptor: &Value) -> PathBuf {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let path = self.root.join("blobs/sha256").join(digest);
        let content = fs::read(&path).unwrap();
        assert_eq!(descriptor["size"], content.len());
        assert_eq!(sha256(&content), digest);
        path
    }
}

fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn its_layers_hold_the_programs_and_all_that_they_load() {
    let Some(shop) = Workshop::open() else { return };
    let file = shop.make("image", "image");
    let root = shop.path("layout");
    fs::create_dir(&root).unwrap();
    run("tar", &[Path::new("-xf"), &file, Path::new("-C"), &root]);
    let image = Image { root };

    let index = image.json("index.json");
    let manifest = image.blob(&index["manifests"][0]);
    let manifest: Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    let config: Value = serde_json::from_slice(&fs::read(image.blob(&manifest["config"])).unwrap()).unwrap();
    assert_eq!(config["config"]["User"], "65532:65532", "never root");
    assert_eq!(config["config"]["Entrypoint"][0], "/usr/lib/skynet/skynetd");
    assert_eq!(config["created"], "2023-11-14T22:13:20Z");

    let mut listed = String::new();
    for (number, layer) in manifest["layers"].as_array().unwrap().iter().enumerate() {
        let path = image.blob(layer);
        let unpacked = shop.path("layer.tar");
        let script = format!("gzip -dc {} > {}", path.display(), unpacked.display());
        run("sh", &["-c", &script]);
        let content = fs::read(&unpacked).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][number], format!("sha256:{}", sha256(&content)));
        listed += &run("tar", &[Path::new("--numeric-owner"), Path::new("-tvf"), &unpacked]);
    }
    let entry = |path: &str| {
        listed
            .lines()
            .find(|line| line.ends_with(&format!(" {path}")))
            .unwrap_or_else(|| panic!("{path}: {listed}"))
    };
    for name in PROGRAMS {
        assert!(entry(&format!("usr/lib/skynet/{name}")).starts_with("-rwxr-xr-x 0/0 "));
    }
    assert!(entry("home/skynet/").starts_with("drwx------ 65532/65532 "));
    assert!(entry("tmp/").starts_with("drwxrwxrwt 0/0 "));
    let _ = (entry("etc/passwd"), entry("etc/group"), entry("etc/nsswitch.conf"));
    for library in run("ldd", &[shop.path("programs/skynetctl")]).lines() {
        let path = library.split("=>").last().unwrap().split_whitespace().next().unwrap();
        if let Some(path) = path.strip_prefix('/') {
            let _ = entry(path);
        }
    }

    // Docker reads another file, which leads to the same.
    let docker = image.json("manifest.json");
    let layers = docker[0]["Layers"].as_array().unwrap();
    assert_eq!(layers.len(), 2);
    assert!(
        layers
            .iter()
            .chain([&docker[0]["Config"]])
            .all(|path| image.root.join(path.as_str().unwrap()).is_file())
    );
    assert_eq!(docker[0]["RepoTags"][0], format!("skynet:{}", env!("CARGO_PKG_VERSION")));
}
