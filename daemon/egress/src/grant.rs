//! What a command may connect to.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt, net::IpAddr, str::FromStr};

/// Where no port is named: HTTPS (RFC 9110, section 4.2.2).
const DEFAULT_PORT: u16 = 443;

/// Of a name (RFC 1035, section 2.3.4).
const LONGEST_NAME: usize = 253;

/// `HOST` or `HOST:PORT`. A host is a name, `*.` and a name for all names below that, or an address, with brackets around
/// one of IPv6.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Grant {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Name(String),
    Below(String),
    Address(IpAddr),
}

impl Grant {
    /// Whether it is for this host, a name as [`plain`] leaves it or an address, and this port.
    pub(crate) fn covers(&self, host: &str, port: u16) -> bool {
        self.port == port
            && match &self.host {
                Host::Name(name) => name == host,
                Host::Below(name) => {
                    host.strip_suffix(name.as_str()).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
                }
                Host::Address(address) => address_of(host) == Some(*address),
            }
    }

    /// The host without the port: a name, `*.` and a name, or an address.
    #[must_use]
    pub fn host(&self) -> String {
        match &self.host {
            Host::Name(name) => name.clone(),
            Host::Below(name) => format!("*.{name}"),
            Host::Address(address) => address.to_string(),
        }
    }

    /// The host as it stands in a URL: an address of IPv6 has brackets.
    pub(crate) fn authority_host(&self) -> String {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
            Host::Name(_) | Host::Below(_) | Host::Address(IpAddr::V4(_)) => self.host(),
        }
    }

    /// The host, if it is one by name.
    pub(crate) fn name(&self) -> Option<String> {
        match &self.host {
            Host::Name(name) => Some(name.clone()),
            Host::Below(_) | Host::Address(_) => None,
        }
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Whether it is for more than one host.
    pub(crate) const fn is_many(&self) -> bool {
        matches!(self.host, Host::Below(_))
    }

    /// Whether all that `other` is for, one host, is granted by this.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        self == other || (!other.is_many() && self.covers(&other.host(), other.port))
    }

    /// Whether it is for this very address, also one that is not public.
    pub(crate) fn is_for(&self, address: IpAddr) -> bool {
        self.host == Host::Address(address)
    }
}

/// A name in the form in which names are compared: without case, and without the dot at the end.
pub(crate) fn plain(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Of a host that is written as an address.
pub(crate) fn address_of(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).parse().ok()
}

/// Letters, digits, `-` and `_`, in labels of at most 63 (RFC 1035, section 2.3.1, as hosts really are).
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= LONGEST_NAME && name.split('.').all(is_label)
}

impl FromStr for Grant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("`{text}` is no host to connect to: {why}");
        if text.contains("://") || text.contains('/') {
            return Err(wrong("write `HOST` or `HOST:PORT`, without scheme and path"));
        }
        let is_bare_v6 = text.parse::<std::net::Ipv6Addr>().is_ok();
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !is_bare_v6 && !port.ends_with(']') => {
                let port = port.parse().ok().filter(|port| *port != 0);
                (host, port.ok_or_else(|| wrong("the port is a number from 1 to 65535"))?)
            }
            _ => (text, DEFAULT_PORT),
        };
        if let Some(address) = address_of(host) {
            return Ok(Self { host: Host::Address(address), port });
        }
        let host = plain(host);
        let host = match host.strip_prefix("*.") {
            Some(name) if is_name(name) => Host::Below(name.to_owned()),
            None if is_name(&host) => Host::Name(host),
            _ => {
                return Err(wrong(
                    "a host is a name in ASCII (`xn--...` for others), `*.` and a name, or an address",
                ));
            }
        };
        Ok(Self { host, port })
    }
}

impl TryFrom<String> for Grant {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Grant> for String {
    fn from(grant: Grant) -> Self {
        grant.to_string()
    }
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port;
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{port}"),
            Host::Below(name) => write!(f, "*.{name}:{port}"),
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}:{port}"),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{port}"),
        }
    }
}

impl JsonSchema for Grant {
    fn schema_name() -> Cow<'static, str> {
        "Grant".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 260 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prop_assert_eq, proptest};

    #[test]
    fn a_grant_is_for_what_it_names_and_nothing_else() {
        let yes = [
            ("example.com", "example.com", 443),
            ("Example.COM.:80", "example.com", 80),
            ("*.example.com", "a.example.com", 443),
            ("*.example.com", "a.b.example.com", 443),
            ("192.0.2.1:8080", "192.0.2.1", 8080),
            ("[2001:db8::1]:80", "2001:db8:0::1", 80),
            ("2001:db8::1", "[2001:db8::1]", 443),
        ];
        for (grant, host, port) in yes {
            assert!(grant.parse::<Grant>().unwrap().covers(host, port), "{grant} {host}:{port}");
        }
        let no = [
            ("example.com", "example.com", 80),
            ("example.com", "a.example.com", 443),
            ("example.com", "notexample.com", 443),
            ("*.example.com", "example.com", 443),
            ("*.example.com", ".example.com", 443),
            ("*.example.com", "evil-example.com", 443),
            ("*.example.com", "example.com.evil.net", 443),
            ("192.0.2.1", "192.0.2.10", 443),
            ("127.0.0.1:80", "127.1", 80),
            ("127.0.0.1:80", "localhost", 80),
        ];
        for (grant, host, port) in no {
            assert!(!grant.parse::<Grant>().unwrap().covers(host, port), "{grant} {host}:{port}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            "*",
            "*.",
            "**.com",
            "a b",
            "https://example.com",
            "example.com/x",
            "example.com:",
            "example.com:0",
            "example.com:65536",
            "example.com:http",
            "a..b",
            "-é-",
            "user@example.com",
            "*.*.com",
            "[::1",
            "::1]:80",
        ] {
            assert!(text.parse::<Grant>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(text in "[*a-z0-9.:\\[\\]-]{0,24}") {
            if let Ok(grant) = text.parse::<Grant>() {
                prop_assert_eq!(grant.to_string().parse::<Grant>(), Ok(grant));
            }
        }
    }
}
