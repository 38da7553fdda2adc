//! Who says to one command that the proxy is a host. The key is made here, signs for the hosts of that command, and is forgotten: it
//! is in no file and no message.

use crate::grant::Grant;
use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use skynet_web::{Authorities, Error as Nobody};
use std::{fmt, sync::Arc};

/// The one version of HTTP that is spoken where TLS is ended (RFC 7301, section 6).
pub(crate) const PROTOCOL: &[u8] = b"http/1.1";

/// Why TLS cannot be ended here.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Nothing would be believed.
    #[error("this host has no certificates of authorities; install its package `ca-certificates`")]
    NoRoots,
    /// No certificate can be made.
    #[error("no certificate can be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// What was made does not fit.
    #[error("TLS cannot be ended: {0}")]
    Tls(#[from] rustls::Error),
}

/// The authorities that hosts are believed by.
pub struct Roots(Vec<CertificateDer<'static>>);

impl Roots {
    /// Those that this host trusts, or those of `SSL_CERT_FILE`. Takes its time.
    ///
    /// # Errors
    /// `NoRoots`.
    pub fn of_system() -> Result<Self, Unusable> {
        match Authorities::of_host() {
            Ok(trusted) => Self::new(trusted.into_certificates()),
            Err(Nobody::Nobody | Nobody::File { .. }) => Err(Unusable::NoRoots),
        }
    }

    pub(crate) fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, Unusable> {
        if certificates.is_empty() { Err(Unusable::NoRoots) } else { Ok(Self(certificates)) }
    }

    pub(crate) fn store(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        // Old ones that cannot be read are passed over, as by others.
        store.add_parsable_certificates(self.0.iter().cloned());
        store
    }

    /// All of them as text (RFC 7468).
    pub(crate) fn pem(&self) -> String {
        let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
        let all = self.0.iter().map(|one| pem::encode_config(&Pem::new("CERTIFICATE", one.as_ref()), config));
        all.collect()
    }
}

/// One, of one command.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

impl Authority {
    pub(crate) fn new() -> Result<Self, Unusable> {
        let mut parameters = named("Skynet, for one command");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = parameters.self_signed(&key)?;
        Ok(Self { issuer: Issuer::new(parameters, key), certificate })
    }

    /// As text (RFC 7468).
    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// How to be that host, to whoever asks for it by its name.
    pub(crate) fn server(
        &self,
        place: &Grant,
        provider: &Arc<CryptoProvider>,
    ) -> Result<ServerConfig, Unusable> {
        let host = place.host();
        let mut parameters = named("Skynet");
        parameters.subject_alt_names = CertificateParams::new(vec![host])?.subject_alt_names;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Python asks for it (`VERIFY_X509_STRICT`).
        parameters.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer)?.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = ring::sign::any_supported_type(&key)?;
        let identity = Arc::new(CertifiedKey::new(vec![certificate], key));
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(OneHost { name: place.name(), identity }));
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(server)
    }
}

fn named(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}

/// Is nobody to who asks for another host.
struct OneHost {
    /// `None` for an address, which is not asked for (RFC 6066, section 3).
    name: Option<String>,
    identity: Arc<CertifiedKey>,
}

impl ResolvesServerCert for OneHost {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().map(str::to_ascii_lowercase);
        (asked == self.name).then(|| self.identity.clone())
    }
}

impl fmt::Debug for OneHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneHost").field("name", &self.name).finish_non_exhaustive()
    }
}
