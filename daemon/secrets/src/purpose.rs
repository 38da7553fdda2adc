//! What a secret is for.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Places that one secret may be sent to.
pub(crate) const MOST_HOSTS: usize = 64;

/// RFC 1035, section 2.3.4: of a host's name and of a label, in bytes.
pub(crate) const LONGEST_HOST: usize = 253;
pub(crate) const LONGEST_LABEL: usize = 63;

/// Of a user's name at a remote, in bytes.
const LONGEST_USERNAME: usize = 255;

/// GitHub wants that name beside a token of an app, and servers that look at the token alone take any.
const DEFAULT_USERNAME: &str = "x-access-token";

/// Where a secret may go, and who may take it unasked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purpose {
    /// The hosts that what gets it may reach (names in lower case, or addresses; `*.` in front means every
    /// name below); with none, it may reach none.
    pub hosts: Vec<String>,
    /// Set for what Git gets for remotes at these hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<Git>,
}

/// How Git uses it: a private key for remotes by SSH, anything else as the password for remotes by HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Git {
    /// The name that goes with a password, where the URL has none.
    pub username: String,
}

impl Git {
    /// With that name, or, if it is empty, one that servers take which look at the token alone.
    #[must_use]
    pub fn new(username: &str) -> Self {
        let username = if username.is_empty() { DEFAULT_USERNAME } else { username };
        Self { username: username.to_owned() }
    }
}

impl Purpose {
    /// Says what is wrong with it.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check(&self) -> Result<()> {
        check_written(&self.hosts)?;
        let Some(Git { username }) = &self.git else { return Ok(()) };
        if self.hosts.is_empty() {
            return Err(Error::Invalid(
                "a secret for git needs the host of the remotes that it is for".to_owned(),
            ));
        }
        // git-credential(1) has one attribute on each line.
        if username.len() > LONGEST_USERNAME || username.chars().any(char::is_control) {
            return Err(Error::Invalid(format!(
                "a user name for git has at most {LONGEST_USERNAME} bytes and no control characters"
            )));
        }
        Ok(())
    }
}

/// Whether a value is a private key in one of the forms that SSH reads (RFC 7468, section 2).
pub(crate) fn is_private_key(value: &[u8]) -> bool {
    let first = value.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    first.starts_with(b"-----BEGIN ") && first.ends_with(b"PRIVATE KEY-----")
}

/// [`check_hosts`], of hosts that somebody writes now. What was written before this was checked is read as it is.
pub(crate) fn check_written(hosts: &[String]) -> Result<()> {
    check_hosts(hosts)?;
    for host in hosts {
        // Hosts are compared as they are written, and one address of IPv6 can be written in many ways (RFC 5952).
        if let Ok(address) = host.parse::<IpAddr>()
            && address.to_string() != *host
        {
            return Err(Error::Invalid(format!("`{host}` is no host: write this address as `{address}`")));
        }
    }
    Ok(())
}

pub(crate) fn check_hosts(hosts: &[String]) -> Result<()> {
    if hosts.len() > MOST_HOSTS {
        let count = hosts.len();
        return Err(Error::Invalid(format!(
            "a secret has at most {MOST_HOSTS} hosts, and these are {count}"
        )));
    }
    // RFC 1123, section 2.1.
    let is_label = |label: &str| {
        (1..=LONGEST_LABEL).contains(&label.len())
            && label.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
            })
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    for host in hosts {
        if host.parse::<IpAddr>().is_ok() {
            continue;
        }
        let name = host.strip_prefix("*.").unwrap_or(host);
        if name.len() > LONGEST_HOST || !name.split('.').all(is_label) {
            return Err(Error::Invalid(format!(
                "`{}` is no host: write a name like `api.example.com` or `*.example.com`, in lower case and without \
                 scheme, port or path",
                host.escape_debug()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_needs_a_host_and_a_name_on_one_line() {
        let purpose = |hosts: &[&str], username: &str| Purpose {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            git: Some(Git::new(username)),
        };
        assert_eq!(purpose(&["a"], "").git.unwrap().username, "x-access-token");
        assert!(purpose(&["a"], "ann@example.org").check().is_ok());
        for (hosts, username, words) in [
            (&[][..], "ann", "needs the host"),
            (&["a"], "ann\nhost=b", "control characters"),
            (&["a"], &"a".repeat(256), "at most 255"),
            (&["A"], "ann", "is no host"),
        ] {
            let err = purpose(hosts, username).check().unwrap_err().to_string();
            assert!(err.contains(words), "{hosts:?} {username}: {err}");
        }
    }

    #[test]
    fn an_address_is_written_in_the_one_way_in_which_it_is_compared() {
        let check = |host: &str| Purpose { hosts: vec![host.to_owned()], git: None }.check();
        for host in ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"] {
            check(host).unwrap();
        }
        for host in ["2001:DB8::1", "2001:db8:0:0::1", "[2001:db8::1]"] {
            let err = check(host).unwrap_err().to_string();
            assert!(err.contains("is no host"), "{host}: {err}");
        }
        assert!(check("2001:DB8::1").unwrap_err().to_string().ends_with("as `2001:db8::1`"));
    }

    #[test]
    fn private_keys_are_known_by_their_first_line() {
        for yes in [
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl",
            "-----BEGIN RSA PRIVATE KEY-----\r\nMII",
            "-----BEGIN PRIVATE KEY-----\nMII",
        ] {
            assert!(is_private_key(yes.as_bytes()), "{yes}");
        }
        for no in ["", "token", "-----BEGIN PUBLIC KEY-----\nMII", " -----BEGIN PRIVATE KEY-----\n"] {
            assert!(!is_private_key(no.as_bytes()), "{no}");
        }
    }
}
