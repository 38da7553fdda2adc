//! The archive of a release, and `install.sh`, which trusts nothing on the way.

use sha2::{Digest as _, Sha256};
use skynet_tests::{
    components,
    packages::{self, PROGRAMS, Workshop, run},
};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// A release in a directory, signed by a key of its own.
struct Release {
    shop: Workshop,
    directory: PathBuf,
    archive: String,
    key: String,
}

impl Release {
    fn publish() -> Option<Self> {
        // Made once; each test has a copy that it may spoil.
        static MADE: OnceLock<Option<(Workshop, PathBuf)>> = OnceLock::new();
        components::program("minisign")?;
        let made = MADE.get_or_init(|| {
            let shop = Workshop::open()?;
            let file = shop.make("archive", "release");
            Some((shop, file))
        });
        let (_, file) = made.as_ref()?;
        let shop = Workshop::open()?;
        let directory = shop.path("release");
        fs::create_dir(&directory).unwrap();
        let archive = file.file_name().unwrap().to_str().unwrap().to_owned();
        fs::copy(file, directory.join(&archive)).unwrap();
        let release = Self { key: generate(&shop, "key"), shop, directory, archive };
        release.sum();
        release.sign("key");
        Some(release)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn sum(&self) {
        let sum: String = Sha256::digest(fs::read(self.path(&self.archive)).unwrap())
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        fs::write(self.path("SHA256SUMS"), format!("{sum}  {}\n", self.archive)).unwrap();
    }

    fn sign(&self, key: &str) {
        let (secret, sums) = (self.shop.path(&format!("{key}.secret")), self.path("SHA256SUMS"));
        run("minisign", &[Path::new("-S"), Path::new("-s"), &secret, Path::new("-m"), &sums]);
    }

    /// Runs the script with a home and a prefix of their own; what it said, and whether it is done.
    fn install(&self, base: &str, more: &[&str]) -> (bool, String, PathBuf) {
        let home = self.shop.path("home");
        if home.exists() {
            fs::remove_dir_all(&home).unwrap();
        }
        fs::create_dir(&home).unwrap();
        let script = packages::source().join("packaging/install.sh");
        let mut command = Command::new("sh");
        command.arg(script).args(["--user", "--key", &self.key, "--base-url", base]).args(more);
        let mut path = self.shop.path("bin").into_os_string();
        path.push(":");
        path.push(components::path());
        command.env_clear().env("HOME", &home).env("PATH", path);
        let output = command.output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.success(), said, home.join(".local"))
    }

    fn base(&self) -> String {
        format!("file://{}", self.directory.display())
    }

    /// It must not install, and say why.
    fn refused(&self, base: &str, more: &[&str], why: &str) {
        let (done, said, prefix) = self.install(base, more);
        assert!(!done && said.contains(why) && said.contains("nothing was installed"), "{why}: {said}");
        assert!(!prefix.exists(), "{why}: something was installed");
    }
}

/// A pair of keys; the public one as text.
fn generate(shop: &Workshop, name: &str) -> String {
    let (public, secret) = (shop.path(&format!("{name}.public")), shop.path(&format!("{name}.secret")));
    run("minisign", &[Path::new("-GW"), Path::new("-p"), &public, Path::new("-s"), &secret]);
    fs::read_to_string(public).unwrap().lines().nth(1).unwrap().to_owned()
}

#[test]
fn what_was_signed_is_installed_and_runs() {
    let Some(release) = Release::publish() else { return };
    let (done, said, prefix) = release.install(&release.base(), &[]);
    assert!(done, "{said}");
    for name in PROGRAMS {
        assert!(prefix.join("lib/skynet").join(name).is_file(), "{name}");
    }
    let version = run(prefix.join("bin/skynetctl").to_str().unwrap(), &["--version"]);
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    assert!(prefix.join("share/man/man1/skynetctl.1.gz").is_file());
    // Again, over what is there; by its version, and elsewhere.
    let elsewhere = release.shop.path("elsewhere");
    let elsewhere = elsewhere.to_str().unwrap();
    for _ in 0..2 {
        let more = ["--version", env!("CARGO_PKG_VERSION"), "--prefix", elsewhere];
        let (done, said, _) = release.install(&release.base(), &more);
        assert!(done && said.contains(elsewhere), "{said}");
        assert!(Path::new(elsewhere).join("bin/skynet-shim").exists());
    }
}

#[test]
fn what_is_not_as_it_was_signed_is_refused() {
    let Some(release) = Release::publish() else { return };
    let base = release.base();
    let (archive, sums) = (release.path(&release.archive), release.path("SHA256SUMS"));
    let (whole, signed) = (fs::read(&archive).unwrap(), fs::read(&sums).unwrap());
    let signature = fs::read(release.path("SHA256SUMS.minisig")).unwrap();

    release.refused(&base, &["--version", "9.9.9"], "the release has no `skynet_9.9.9_");
    release.refused(&base, &["--key", ""], "has no key");
    release.refused("http://example.org/release", &[], "would come unencrypted");
    release.refused(&format!("{base}/none"), &[], "there is no");

    let other = generate(&release.shop, "other");
    release.refused(&base, &["--key", &other], "the signature is wrong");

    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&archive, &changed).unwrap();
    release.refused(&base, &[], "is not what was signed");

    // With the checksum to match, but not signed again; then signed by somebody else; then not signed at all.
    release.sum();
    release.refused(&base, &[], "the signature is wrong");
    release.sign("other");
    release.refused(&base, &[], "the signature is wrong");
    fs::remove_file(release.path("SHA256SUMS.minisig")).unwrap();
    release.refused(&base, &[], "there is no");

    fs::write(&sums, signed).unwrap();
    fs::write(release.path("SHA256SUMS.minisig"), signature).unwrap();
    fs::write(&archive, &whole[..whole.len() / 2]).unwrap();
    release.refused(&base, &[], "is not what was signed");
    fs::write(&archive, whole).unwrap();
    assert!(release.install(&base, &[]).0, "as it was");
}

#[test]
fn without_a_key_the_workflow_vouches_or_nobody_does() {
    let Some(release) = Release::publish() else { return };
    let identity = ["--cosign-identity", "https://forge/owner/name/release.yml"];
    fs::write(release.path("SHA256SUMS.sigstore.json"), "{}").unwrap();
    let programs = release.shop.path("bin");
    fs::create_dir(&programs).unwrap();
    let cosign = programs.join("cosign");
    // What it is asked, and what is made of its answer: here is none that could answer by itself.
    let answer = |code: i32| {
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in 'verify-blob --bundle '*' --certificate-identity {} '*) exit {code} ;; esac\nexit 9\n",
            identity[1]
        );
        fs::write(&cosign, script).unwrap();
        fs::set_permissions(&cosign, fs::Permissions::from_mode(0o755)).unwrap();
    };
    answer(1);
    release.refused(&release.base(), &identity, "the signature is wrong");
    answer(0);
    let (done, said, _) = release.install(&release.base(), &identity);
    assert!(done, "{said}");
    fs::remove_file(release.path("SHA256SUMS.sigstore.json")).unwrap();
    release.refused(&release.base(), &identity, "there is no");
    fs::remove_file(&cosign).unwrap();
    let is_here =
        std::env::split_paths(&components::path()).any(|directory| directory.join("cosign").exists());
    if !is_here {
        release.refused(&release.base(), &identity, "cosign is needed");
    }
}

#[test]
fn a_download_that_is_cut_off_is_refused() {
    let Some(release) = Release::publish() else { return };
    if components::program("curl").is_none() {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let directory = release.directory.clone();
    let server = std::thread::spawn(move || {
        // The sums, the signature, and half of the archive.
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let name = request.split_whitespace().nth(1).unwrap().trim_start_matches('/').to_owned();
            let content = fs::read(directory.join(&name)).unwrap();
            let sent = if name.ends_with(".tar.gz") { content.len() / 2 } else { content.len() };
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                content.len()
            )
            .unwrap();
            stream.write_all(&content[..sent]).unwrap();
        }
    });
    release.refused(&base, &[], "cannot be had");
    server.join().unwrap();
}

#[test]
fn a_script_that_is_cut_off_does_nothing() {
    let script = fs::read_to_string(packages::source().join("packaging/install.sh")).unwrap();
    // All but the last line only says what it would do.
    let lines: Vec<&str> = script.lines().collect();
    assert_eq!(lines.last(), Some(&"main \"$@\""));
    for keep in [lines.len() - 1, lines.len() / 2] {
        let mut command = Command::new("sh");
        command.args(["-c", &lines[..keep].join("\n"), "install.sh", "--base-url", "file:///none"]);
        let output = command.output().unwrap();
        assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(!String::from_utf8_lossy(&output.stderr).contains("there is no"));
    }
}

#[test]
fn scripts_are_clean() {
    if components::program("shellcheck").is_none() {
        return;
    }
    let source = packages::source();
    let scripts = ["install.sh", "deb/preinst", "deb/postinst", "deb/prerm", "deb/postrm"]
        .map(|name| source.join("packaging").join(name));
    run("shellcheck", &scripts);
}
