//! What an administrator says about the server: `[secrets.vault]`.

use crate::{Error, Result, place};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// Where systemd puts the credentials of a unit (systemd.exec(5), "Credentials").
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// A token or a secret id is no longer.
const LONGEST_CREDENTIAL: usize = 16 << 10;

/// The server, and how the daemon shows who it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Like `https://vault.example.org:8200`; `http` for a loopback address alone.
    pub address: String,
    /// Where the key/value engine, version 2, is mounted.
    #[serde(default = "default_mount")]
    pub mount: String,
    /// Below the mount, where the secrets of a user are: `users/{user}`, with his name, or `users/{uid}`, with his number.
    pub path: String,
    /// Certificates (PEM) of who may vouch for the server, instead of those that the host trusts.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The namespace to work in.
    #[serde(default)]
    pub namespace: Option<String>,
    /// A file with a token; this, or `approle`.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// An AppRole to log in with.
    #[serde(default)]
    pub approle: Option<AppRole>,
}

/// How to log in with an AppRole.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppRole {
    /// Its id.
    pub role_id: String,
    /// A file with its secret id.
    pub secret_id_file: PathBuf,
    /// Where the method is mounted.
    #[serde(default = "default_role_mount")]
    pub mount: String,
}

fn default_mount() -> String {
    "secret".into()
}

fn default_role_mount() -> String {
    "approle".into()
}

/// Who may have secrets there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Users {
    /// The one user of the daemon.
    One,
    /// All of a host: none may come to another's.
    All,
}

impl Settings {
    /// Says what is wrong, as far as that can be said without reading a file or asking the server.
    ///
    /// # Errors
    /// `Settings`.
    pub fn check(&self, users: Users) -> Result<()> {
        let wrong = |reason: String| Err(Error::Settings(format!("`secrets.vault`: {reason}")));
        let address = &self.address;
        let host = match address.split_once("://") {
            Some((scheme @ ("http" | "https"), rest))
                if rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:[]-_".contains(&byte)) =>
            {
                (scheme, rest)
            }
            _ => {
                return wrong(format!(
                    "`address` is `{address}`; write a URL without a path, like `https://vault.example.org:8200`"
                ));
            }
        };
        if host.0 == "http" && !is_loopback(host.1) {
            return wrong(format!(
                "`address` is `{address}`: secrets go over `https`, or to a loopback address like `127.0.0.1`"
            ));
        }
        let has_owner = self.path.split('/').any(|part| [place::USER, place::UID].contains(&part));
        let is_path = |path: &str| path.split('/').all(place::is_part);
        if !is_path(&self.path.replace(place::USER, "user").replace(place::UID, "uid")) {
            return wrong(format!("`path` is `{}`; write one like `users/{{user}}`", self.path));
        }
        if users == Users::All && !has_owner {
            return wrong(format!(
                "`path` is `{}`; where Skynet serves the whole host, a part of it is `{{user}}` or `{{uid}}`, or users could read each other's secrets",
                self.path
            ));
        }
        let mounts = [Some(&self.mount), self.approle.as_ref().map(|role| &role.mount)];
        if let Some(mount) = mounts.into_iter().flatten().find(|mount| !is_path(mount)) {
            return wrong(format!("`{mount}` is no mount; write one like `secret`, without `/` at its ends"));
        }
        let is_word = |text: &String| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        if self.namespace.as_ref().is_some_and(|namespace| !is_word(namespace)) {
            return wrong("`namespace` is no name; leave it out for none".into());
        }
        match (&self.token_file, &self.approle) {
            (Some(_), None) | (None, Some(_)) => Ok(()),
            (None, None) => wrong("it needs `token_file` or `[secrets.vault.approle]` to log in with".into()),
            (Some(_), Some(_)) => {
                wrong("it has `token_file` and `[secrets.vault.approle]`; leave one of them out".into())
            }
        }
    }
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, _)) => host,
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What is in a file that only the daemon reads: an absolute path, or the name of a credential of systemd's.
///
/// # Errors
/// `Settings` when there is none, it is empty, or everybody can read it.
pub(crate) fn credential(file: &Path) -> Result<Zeroizing<String>> {
    let path = if file.is_absolute() {
        file.to_owned()
    } else {
        let directory = std::env::var_os(CREDENTIALS_DIRECTORY).ok_or_else(|| {
            Error::Settings(format!(
                "`{}` in `secrets.vault` is no absolute path, and systemd passed no credentials (`LoadCredentialEncrypted=`)",
                file.display()
            ))
        })?;
        Path::new(&directory).join(file)
    };
    let wrong = |reason: &str| {
        Error::Settings(format!("`{}` cannot be used for the vault: {reason}", path.display()))
    };
    let metadata = fs::metadata(&path).map_err(|err| wrong(&err.to_string()))?;
    if metadata.permissions().mode() & 0o007 != 0 {
        return Err(wrong("everybody may read or change it; `chmod 0600` it"));
    }
    let text = Zeroizing::new(fs::read_to_string(&path).map_err(|err| wrong(&err.to_string()))?);
    let text = Zeroizing::new(text.trim().to_owned());
    if text.is_empty() || text.len() > LONGEST_CREDENTIAL || !text.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(wrong("it holds no token or secret id"));
    }
    Ok(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            address: "https://vault.example.org:8200".into(),
            mount: default_mount(),
            path: "users/{user}".into(),
            ca_file: None,
            namespace: None,
            token_file: Some("/etc/token".into()),
            approle: None,
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        settings().check(Users::All).unwrap();
        let role = AppRole { role_id: "r".into(), secret_id_file: "/s".into(), mount: default_role_mount() };
        let refused = |change: &dyn Fn(&mut Settings)| {
            let mut settings = settings();
            change(&mut settings);
            settings.check(Users::All).err().map(|err| err.to_string())
        };
        for (address, words) in [
            ("vault:8200", "write a URL"),
            ("ftp://vault", "write a URL"),
            ("https://vault.example.org/v1", "without a path"),
            ("https://user@vault.example.org", "without a path"),
            ("http://vault.example.org", "over `https`"),
            ("http://127.example.org", "over `https`"),
            ("http://[2001:db8::1]:8200", "over `https`"),
        ] {
            let err = refused(&|one| one.address = address.into()).unwrap();
            assert!(err.contains(words), "{address}: {err}");
        }
        for address in ["http://127.0.0.1:8200", "http://[::1]:8200", "http://localhost"] {
            assert_eq!(refused(&|one| one.address = address.into()), None);
        }
        for (path, words) in [
            ("users", "users could read each other's"),
            ("users-{user}", "users could read each other's"),
            ("users/../{user}", "write one like"),
            ("/{user}", "write one like"),
            ("", "write one like"),
        ] {
            let err = refused(&|one| one.path = path.into()).unwrap();
            assert!(err.contains(words), "{path}: {err}");
        }
        let mut own = settings();
        own.path = "mine".into();
        own.check(Users::One).unwrap();
        assert!(refused(&|one| one.mount = "a//b".into()).unwrap().contains("no mount"));
        assert!(refused(&|one| one.namespace = Some("a b".into())).unwrap().contains("namespace"));
        assert!(refused(&|one| one.token_file = None).unwrap().contains("needs `token_file` or"));
        assert!(refused(&|one| one.approle = Some(role.clone())).unwrap().contains("leave one of them out"));
    }

    #[test]
    fn a_credential_is_for_the_daemon_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, "s.abc\n").unwrap();
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        assert!(credential(&path).unwrap_err().to_string().contains("everybody"));
        mode(0o600);
        assert_eq!(credential(&path).unwrap().as_str(), "s.abc");
        for text in ["", "\n", "a b", "a\nb", &"a".repeat(LONGEST_CREDENTIAL + 1)] {
            fs::write(&path, text).unwrap();
            assert!(credential(&path).unwrap_err().to_string().contains("no token"), "{text}");
        }
        assert!(credential(Path::new("/nowhere/token")).unwrap_err().to_string().contains("/nowhere/token"));
        assert!(credential(Path::new("token")).unwrap_err().to_string().contains("no absolute path"));
    }
}
