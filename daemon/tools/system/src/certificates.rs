//! Certificates of X.509 in files of the host: where they are looked for, and what they say. Private keys beside them are
//! skipped unread.

use crate::timestamp;
use rustix::fs::OFlags;
use schemars::JsonSchema;
use serde::Serialize;
use skynet_core::{CallCtx, Error, Result, error::IoContext as _};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read as _},
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
};
use x509_parser::{
    pem::Pem,
    prelude::{FromDer as _, GeneralName, X509Certificate},
};

/// Where servers and authorities keep theirs; also what their configuration names is looked at.
const PLACES: [&str; 12] = [
    "/etc/ssl",
    "/etc/letsencrypt/live",
    "/etc/pki/tls",
    "/etc/pki/nginx",
    "/etc/nginx",
    "/etc/apache2",
    "/etc/httpd",
    "/etc/haproxy",
    "/etc/postfix",
    "/etc/dovecot",
    "/etc/caddy",
    "/etc/kubernetes/pki",
];

/// Whom all programs trust: hundreds that come with packages, and are no concern of an administrator.
const TRUSTED: [&str; 4] =
    ["/usr/share/ca-certificates", "/etc/pki/ca-trust", "/etc/ca-certificates", "/usr/share/pki"];

/// The same in one file.
const BUNDLES: [&str; 4] = ["ca-certificates.crt", "ca-bundle.crt", "ca-bundle.trust.crt", "ca-bundle.pem"];

/// Words of configurations before the path of a certificate: nginx, Apache, HAProxy, Postfix, Dovecot.
const SETTINGS: [&str; 6] = [
    "ssl_certificate",
    "SSLCertificateFile",
    "crt",
    "smtpd_tls_cert_file",
    "smtpd_tls_chain_files",
    "ssl_cert",
];

/// Larger files hold something else.
const MOST_BYTES: u64 = 1 << 20;

/// Files that are looked at in one call.
const MOST_FILES: usize = 5000;

/// Directories within directories.
const DEEPEST: usize = 6;

/// A certificate.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Certificate {
    /// The file that holds it.
    pub(crate) path: String,
    /// For whom.
    pub(crate) subject: String,
    /// Names of hosts and addresses that it is for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) names: Vec<String>,
    /// Who vouches for it.
    pub(crate) issuer: String,
    /// From when, RFC 3339, UTC.
    pub(crate) not_before: String,
    /// Until when.
    pub(crate) not_after: String,
    /// Whole days until then; below zero once it is over.
    pub(crate) days_left: i64,
    /// Whether nobody but itself vouches for it.
    pub(crate) is_self_signed: bool,
    /// Whether it vouches for others.
    pub(crate) is_authority: bool,
    /// Configuration that names the file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) used_by: Vec<String>,
}

/// What was found.
#[derive(Default)]
pub(crate) struct Found {
    /// What is over soonest comes first.
    pub(crate) certificates: Vec<Certificate>,
    pub(crate) files_looked_at: usize,
    /// Paths that are there and may not be read.
    pub(crate) unreadable: BTreeSet<String>,
    /// Whether there was more than is looked at.
    pub(crate) is_cut: bool,
    used_by: BTreeMap<PathBuf, BTreeSet<String>>,
    seen: BTreeSet<PathBuf>,
}

/// Looks at `path` alone, or where certificates usually are.
///
/// # Errors
/// Of a given path that cannot be read.
pub(crate) fn look(ctx: &CallCtx, path: Option<&Path>) -> Result<Found> {
    let mut found = Found::default();
    if let Some(path) = path {
        let metadata = fs::metadata(path).on(path.display())?;
        if metadata.is_dir() {
            fs::read_dir(path).on(path.display())?;
        } else if metadata.is_file() {
            open(path).on(path.display())?;
        } else {
            return Err(Error::invalid_input(format!(
                "`{}` is neither a file nor a directory",
                path.display()
            )));
        }
        found.walk(ctx, path, 0)?;
    } else {
        for place in PLACES {
            found.walk(ctx, Path::new(place), 0)?;
        }
        let named: Vec<PathBuf> = found.used_by.keys().cloned().collect();
        for path in named {
            found.walk(ctx, &path, DEEPEST)?;
        }
    }
    let Found { certificates, used_by, .. } = &mut found;
    for certificate in certificates.iter_mut() {
        if let Some(users) = used_by.get(Path::new(&certificate.path)) {
            certificate.used_by.extend(users.iter().cloned());
        }
    }
    certificates.sort_by(|a, b| (&a.not_after, &a.path).cmp(&(&b.not_after, &b.path)));
    Ok(found)
}

impl Found {
    fn walk(&mut self, ctx: &CallCtx, path: &Path, depth: usize) -> Result<()> {
        ctx.check_canceled()?;
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(err) => {
                self.note(path, &err);
                return Ok(());
            }
        };
        if metadata.is_dir() {
            if depth > DEEPEST {
                return Ok(());
            }
            let entries = match fs::read_dir(path) {
                Ok(entries) => entries,
                Err(err) => {
                    self.note(path, &err);
                    return Ok(());
                }
            };
            let mut names: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            names.sort();
            return names.iter().try_for_each(|name| self.walk(ctx, name, depth + 1));
        }
        if metadata.is_file() && metadata.len() <= MOST_BYTES {
            self.file(path);
        }
        Ok(())
    }

    fn note(&mut self, path: &Path, err: &io::Error) {
        if err.kind() == io::ErrorKind::PermissionDenied {
            self.unreadable.insert(path.display().to_string());
        }
    }

    fn file(&mut self, path: &Path) {
        let file = match open(path) {
            Ok(file) => file,
            // Keys are hidden from all but their owners, as they should be.
            Err(_) if is_key(path) => return,
            Err(err) => return self.note(path, &err),
        };
        // Under many names there is one certificate. The name of what is open, not of what has it now.
        let real =
            fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_else(|_| path.to_owned());
        let is_trusted = TRUSTED.iter().any(|place| real.starts_with(place))
            || real.file_name().and_then(|name| name.to_str()).is_some_and(|name| BUNDLES.contains(&name));
        if is_trusted || !self.seen.insert(real) {
            return;
        }
        if self.files_looked_at == MOST_FILES {
            self.is_cut = true;
            return;
        }
        self.files_looked_at += 1;
        let mut bytes = Vec::new();
        match file.take(MOST_BYTES).read_to_end(&mut bytes) {
            Err(err) => self.note(path, &err),
            Ok(_) => {
                let found = parse(&bytes, path);
                if found.is_empty() {
                    self.configuration(path, &bytes);
                }
                self.certificates.extend(found);
            }
        }
    }

    /// Notes which files a configuration names.
    fn configuration(&mut self, path: &Path, bytes: &[u8]) {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        for named in text.lines().flat_map(named_by) {
            self.used_by.entry(named).or_default().insert(path.display().to_string());
        }
    }
}

/// Without waiting, should it have become a pipe meanwhile.
fn open(path: &Path) -> io::Result<fs::File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn is_key(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == "key")
        || path.ancestors().any(|part| part.file_name().is_some_and(|name| name == "private"))
}

/// The paths of certificates that a line of a configuration names.
fn named_by(line: &str) -> Vec<PathBuf> {
    let line = line.split('#').next().unwrap_or_default();
    let mut words = line.split([' ', '\t', '=', '<', ';', '"', '\'', ',']).filter(|word| !word.is_empty());
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        if SETTINGS.contains(&word) {
            found.extend(words.next().filter(|path| path.starts_with('/')).map(PathBuf::from));
        }
    }
    found
}

/// The certificates in a file: any number of them in PEM, or one in DER.
fn parse(bytes: &[u8], path: &Path) -> Vec<Certificate> {
    // Both begin so: a SEQUENCE with a length of two bytes, or a line of dashes.
    if bytes.starts_with(&[0x30, 0x82]) {
        return X509Certificate::from_der(bytes)
            .ok()
            .map(|(_, one)| describe(&one, path))
            .into_iter()
            .collect();
    }
    if !bytes.windows(27).any(|window| window == b"-----BEGIN CERTIFICATE-----") {
        return Vec::new();
    }
    let blocks = Pem::iter_from_buffer(bytes).filter_map(Result::ok);
    let certificates = blocks.filter(|block| block.label == "CERTIFICATE");
    certificates.filter_map(|block| Some(describe(&block.parse_x509().ok()?, path))).collect()
}

fn describe(certificate: &X509Certificate<'_>, path: &Path) -> Certificate {
    /// Some have hundreds.
    const MOST_NAMES: usize = 50;
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
            Some((*name).to_owned())
        }
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    };
    let names = alternatives.into_iter().flat_map(|names| &names.value.general_names).filter_map(name);
    let validity = certificate.validity();
    let (from, until) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let now = jiff::Timestamp::now().as_second();
    Certificate {
        path: path.display().to_string(),
        subject: certificate.subject().to_string(),
        names: names.take(MOST_NAMES).collect(),
        issuer: certificate.issuer().to_string(),
        not_before: timestamp(from),
        not_after: timestamp(until),
        days_left: (until - now).div_euclid(24 * 60 * 60),
        is_self_signed: certificate.subject() == certificate.issuer(),
        is_authority: certificate.is_ca(),
        used_by: Vec::new(),
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| std::net::Ipv4Addr::from(bytes).to_string());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| std::net::Ipv6Addr::from(bytes).to_string())).ok()
}

/// A path that a tool was given.
pub(crate) fn absolute(path: &str) -> Result<&Path> {
    let path = Path::new(path);
    let is_plain = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    let is_kernels = ["/proc", "/sys", "/dev"].iter().any(|place| path.starts_with(place));
    if path.is_absolute() && is_plain && !is_kernels {
        Ok(path)
    } else {
        Err(Error::invalid_input(format!(
            "`{}` is no absolute path of a file or directory on a disk, without `..`, such as `/etc/nginx`",
            path.display()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_name_certificates() {
        for (line, expected) in [
            ("  ssl_certificate /etc/a.pem;", &["/etc/a.pem"][..]),
            ("ssl_certificate_key /etc/a.key;", &[]),
            ("SSLCertificateFile \"/etc/b.pem\" # as before", &["/etc/b.pem"]),
            ("bind :443 ssl crt /etc/c.pem alpn h2", &["/etc/c.pem"]),
            ("smtpd_tls_cert_file=/etc/d.pem", &["/etc/d.pem"]),
            ("ssl_cert = </etc/e.pem", &["/etc/e.pem"]),
            ("# ssl_certificate /etc/f.pem", &[]),
            ("ssl_certificate relative.pem;", &[]),
        ] {
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(named_by(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        let begin = "-----BEGIN CERTIFICATE-----";
        let end = "-----END CERTIFICATE-----\n";
        for text in [
            "",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            begin,
            &format!("{begin}\nAAAA\n{end}"),
        ] {
            assert!(parse(text.as_bytes(), Path::new("x")).is_empty(), "{text}");
        }
        assert!(parse(&[0x30, 0x82, 0xff, 0xff, 1], Path::new("x")).is_empty());
    }
}
