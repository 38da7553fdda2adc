//! Whom a client of HTTPS believes: those that this host trusts, or those of one file. Every client of the daemon's is made with what is in
//! here, so that a host has one answer to that question. It asks nobody, and knows no address.

use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// Why nobody would be believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host trusts nobody.
    #[error("this host has no certificates of authorities; install its package `ca-certificates`")]
    Nobody,
    /// A file that was named.
    #[error("the certificates in `{}` cannot be used: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The authorities that servers are believed by; at least one.
#[derive(Clone, Debug)]
pub struct Authorities(Vec<CertificateDer<'static>>);

impl Authorities {
    /// Those that this host trusts, wherever its distribution keeps them, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`. Takes its time.
    ///
    /// # Errors
    /// `Nobody`.
    pub fn of_host() -> Result<Self, Error> {
        let found = rustls_native_certs::load_native_certs();
        for err in &found.errors {
            tracing::warn!(error = %err, "certificates of authorities cannot be read");
        }
        if found.certs.is_empty() { Err(Error::Nobody) } else { Ok(Self(found.certs)) }
    }

    /// Those of a file (PEM, RFC 7468), all of which must be readable: whoever names one means all that is in it.
    ///
    /// # Errors
    /// `File`.
    pub fn of_file(path: &Path) -> Result<Self, Error> {
        let wrong = |reason: String| Error::File { path: path.to_owned(), reason };
        let text = fs::read(path).map_err(|err| wrong(err.to_string()))?;
        let mut found = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(&text) {
            found.push(certificate.map_err(|err| wrong(err.to_string()))?);
        }
        if found.is_empty() { Err(wrong("there are none".into())) } else { Ok(Self(found)) }
    }

    /// The certificates.
    #[must_use]
    pub fn into_certificates(self) -> Vec<CertificateDer<'static>> {
        self.0
    }
}

/// What a client does about TLS. Without authorities it believes nobody: it is for addresses without TLS then.
#[must_use]
pub fn tls(trusted: Option<&Authorities>) -> TlsConfig {
    let certificates = trusted.into_iter().flat_map(|trusted| &trusted.0);
    let roots = RootCerts::from(certificates.map(|one| Certificate::from_der(one).to_owned()));
    TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .root_certs(roots)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn a_file_is_believed_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        fs::write(&file, format!("of the house\n{}{}", certificate(), certificate())).unwrap();
        assert_eq!(Authorities::of_file(&file).unwrap().into_certificates().len(), 2);
        let broken = "-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----\n";
        for (text, words) in [
            (String::new(), "there are none"),
            ("no certificate".into(), "there are none"),
            (broken.into(), "cannot be used"),
            (certificate() + broken, "cannot be used"),
        ] {
            fs::write(&file, &text).unwrap();
            let err = Authorities::of_file(&file).unwrap_err().to_string();
            assert!(err.contains(words) && err.contains("ca.pem"), "{text}: {err}");
        }
        let err = Authorities::of_file(&directory.path().join("no.pem")).unwrap_err().to_string();
        assert!(err.contains("no.pem` cannot be used"), "{err}");
    }

    #[test]
    fn a_client_believes_those_that_it_was_given_and_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        fs::write(&file, certificate()).unwrap();
        let trusted = Authorities::of_file(&file).unwrap();
        for (trusted, count) in [(None, 0), (Some(&trusted), 1)] {
            let RootCerts::Specific(roots) = tls(trusted).root_certs().clone() else { panic!() };
            assert_eq!(roots.len(), count);
        }
    }
}
