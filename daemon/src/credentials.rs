//! Which of a user's secrets Git gets for a remote: the one that is for git at the remote's host. If there are more, the
//! user that the URL names decides, then the host that is written out most.

use skynet_core::{
    Error, Result,
    ctx::{Credential, Remote, Transport},
};
use skynet_secrets::{Error as SecretError, Git, Keyring, Metadata, Purpose};
use std::net::IpAddr;

/// The secret of this user for that remote. Takes its time.
///
/// # Errors
/// `Denied` for a password that would be told in the clear, `NotFound`, `Conflict`, `Unavailable`.
pub(crate) fn find(keyring: &Keyring, uid: u32, remote: &Remote) -> Result<Credential> {
    let Remote { transport, host, .. } = remote;
    if *transport == Transport::Http && !is_this_host(host) {
        return Err(Error::denied(format!(
            "a password is told by `https` alone, and the URL of this remote at `{host}` is one with `http`; change it to `https`"
        )));
    }
    let unreadable = |err: SecretError| Error::unavailable(err.to_string());
    let all = keyring.secrets().list(uid).map_err(unreadable)?.found;
    let Metadata { name, purpose: Purpose { git, .. }, .. } = choose(all, remote)?;
    let value = keyring.value(uid, &name).map_err(unreadable)?;
    let value = String::from_utf8(value.to_vec()).ok();
    let is_usable = |value: &String| *transport == Transport::Ssh || !value.contains(['\0', '\n', '\r']);
    let value = value.filter(is_usable).ok_or_else(|| {
        Error::invalid_input(format!(
            "the secret `{name}` is no password: that is one line of text; its user gives it a new value with `skynetctl secret rotate {name}`"
        ))
    })?;
    let own = git.map(|Git { username }| username).unwrap_or_default();
    let username = remote.username.clone().unwrap_or(own);
    Ok(Credential { remote: remote.clone(), secret: name.to_string(), username, value })
}

fn choose(all: Vec<Metadata>, remote: &Remote) -> Result<Metadata> {
    let host = remote.host.to_ascii_lowercase();
    let is_by_key = remote.transport == Transport::Ssh;
    let mut fitting: Vec<(usize, Metadata)> = all
        .into_iter()
        .filter(|secret| secret.purpose.git.is_some() && secret.is_private_key == is_by_key)
        .filter_map(|secret| Some((closeness(&secret.purpose.hosts, &host)?, secret)))
        .collect();
    let is_users = |secret: &Metadata| {
        !is_by_key
            && secret.purpose.git.as_ref().is_some_and(|git| Some(&git.username) == remote.username.as_ref())
    };
    if fitting.iter().any(|(_, secret)| is_users(secret)) {
        fitting.retain(|(_, secret)| is_users(secret));
    }
    let closest = fitting.iter().map(|(closeness, _)| *closeness).max();
    fitting.retain(|(closeness, _)| Some(*closeness) == closest);
    if fitting.len() > 1 {
        let names: Vec<String> = fitting.iter().map(|(_, secret)| format!("`{}`", secret.name)).collect();
        let remedy = if is_by_key {
            "set all but one again without `--git`"
        } else {
            "name the user of one of them in the URL of the remote, or set all but one again without `--git`"
        };
        return Err(Error::conflict(format!(
            "more than one secret is for git at `{host}`: {}; {remedy}",
            names.join(", ")
        )));
    }
    fitting.pop().map(|(_, secret)| secret).ok_or_else(|| {
        let what = if is_by_key { "private key" } else { "password or token" };
        let from = if is_by_key { " < KEYFILE" } else { "" };
        Error::not_found(format!(
            "no {what} is kept for git at `{host}`; its user keeps one with `skynetctl secret set NAME --git --host {host}{from}`"
        ))
    })
}

/// How closely one of these hosts of a secret says which one it is; `None` if none of them is it.
fn closeness(hosts: &[String], host: &str) -> Option<usize> {
    let fitting = hosts.iter().filter(|own| covers(own, host));
    fitting.map(|own| if own == host { usize::MAX } else { own.len() }).max()
}

/// Whether all that `host` stands for is among the hosts of a secret.
pub(crate) fn covers(own: &str, host: &str) -> bool {
    own == host
        || own.strip_prefix('*').is_some_and(|below| {
            // `*.example.org` covers `*.api.example.org` and no `example.org`.
            host.ends_with(below) && host.len() > below.len()
        })
}

fn is_this_host(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use skynet_secrets::{Existing, MasterKey, Name, Secrets};

    const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nkey";

    /// For each: name, value, hosts, user name for git.
    fn keyring(secrets: &[(&str, &str, &[&str], Option<&str>)]) -> (tempfile::TempDir, Keyring) {
        let directory = tempfile::tempdir().unwrap();
        let key = MasterKey::from_bytes([1; 32]);
        let keyring = Keyring::new(Secrets::open(&directory.path().join("secrets"), key).unwrap());
        for (name, value, hosts, git) in secrets {
            let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
            let purpose = Purpose { hosts, git: git.map(Git::new) };
            keyring.set(7, &Name::parse(name).unwrap(), value.as_bytes(), &purpose, Existing::Fail).unwrap();
        }
        (directory, keyring)
    }

    fn remote(url: &str) -> Remote {
        let (scheme, rest) = url.split_once("://").unwrap();
        let (user, host) = rest.split_once('@').map_or((None, rest), |(user, host)| (Some(user), host));
        let transport = match scheme {
            "http" => Transport::Http,
            "https" => Transport::Https,
            _ => Transport::Ssh,
        };
        Remote { transport, host: host.to_owned(), port: 1, username: user.map(str::to_owned) }
    }

    #[test]
    fn the_host_decides_then_the_user_then_how_closely_it_is_named() {
        let (_directory, keyring) = keyring(&[
            ("command", "1", &["git.example.org", "other.example.org"], None),
            ("ann", "2", &["git.example.org"], Some("ann")),
            ("bob", "3", &["git.example.org"], Some("bob")),
            ("all", "4", &["*.example.org"], Some("")),
            ("team", "5", &["*.team.example.org"], Some("")),
            ("key", KEY, &["git.example.org"], Some("")),
            ("here", "6", &["127.0.0.1"], Some("")),
        ]);
        for (url, secret, username) in [
            ("https://ann@git.example.org", "ann", "ann"),
            ("https://bob@Git.Example.org", "bob", "bob"),
            ("https://all.example.org", "all", "x-access-token"),
            ("https://carl@all.example.org", "all", "carl"),
            ("https://a.team.example.org", "team", "x-access-token"),
            ("ssh://git@git.example.org", "key", "git"),
            ("http://127.0.0.1", "here", "x-access-token"),
        ] {
            let found = find(&keyring, 7, &remote(url)).unwrap();
            assert_eq!((found.secret.as_str(), found.username.as_str()), (secret, username), "{url}");
        }
        for (url, kind, words) in [
            ("https://git.example.org", "conflict", "`ann`, `bob`"),
            ("https://example.org", "not_found", "secret set NAME --git --host example.org`"),
            ("https://evil-git.example.org.evil", "not_found", "no password or token"),
            ("ssh://git@all.example.org", "not_found", "< KEYFILE"),
            ("http://all.example.org", "denied", "change it to `https`"),
        ] {
            let err = find(&keyring, 7, &remote(url)).err().unwrap();
            assert!(err.kind.as_str() == kind && err.message.contains(words), "{url}: {err}");
        }
        assert!(find(&keyring, 8, &remote("http://127.0.0.1")).is_err(), "of somebody else");
    }

    #[test]
    fn a_password_is_one_line() {
        let (_directory, keyring) = keyring(&[("two", "a\nhost=evil", &["a"], Some(""))]);
        let err = find(&keyring, 7, &remote("https://a")).err().unwrap();
        assert!(err.message.contains("`two` is no password"), "{err}");
    }
}
