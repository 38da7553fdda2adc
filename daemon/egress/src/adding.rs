//! Which hosts of a command get headers, and what it takes to be such a host to the command.

use crate::{
    authority::{Authority, PROTOCOL, Roots, Unusable},
    grant::Grant,
    header::{Header, Template},
};
use hyper::header::{HeaderName, HeaderValue};
use rustls::{ClientConfig, ServerConfig, crypto::ring, pki_types::ServerName};
use std::sync::Arc;
use zeroize::Zeroizing;

/// What is added to requests of one command, and where.
pub struct Adding {
    places: Vec<Place>,
    certificates: String,
}

/// A host that gets something.
enum Place {
    Known(Arc<Ended>),
    Lost(Grant),
}

/// A host at which TLS is ended for a command.
pub(crate) struct Ended {
    pub(crate) place: Grant,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// What must not come back.
    pub(crate) hidden: Vec<Zeroizing<Vec<u8>>>,
    /// How to be that host.
    pub(crate) server: Arc<ServerConfig>,
    /// How to know it.
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) name: ServerName<'static>,
}

/// What is known about a place.
pub(crate) enum Found {
    /// Nothing is added there.
    Nothing,
    /// Something is.
    Ended(Arc<Ended>),
    /// Something should be, and nobody has it any more.
    Lost,
}

impl Adding {
    /// These headers, to hosts that `roots` vouch for.
    ///
    /// # Errors
    /// Why TLS cannot be ended.
    pub fn new(headers: Vec<Header>, roots: &Roots) -> Result<Self, Unusable> {
        let provider = Arc::new(ring::default_provider());
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots.store())
            .with_no_client_auth();
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        let client = Arc::new(client);
        let authority = Authority::new()?;
        let mut known: Vec<Ended> = Vec::new();
        for Header { place, name, value, hidden } in headers {
            if let Some(ended) = known.iter_mut().find(|ended| ended.place == place) {
                ended.headers.push((name, value));
                ended.hidden.extend(hidden);
                continue;
            }
            let server = Arc::new(authority.server(&place, &provider)?);
            let host = ServerName::try_from(place.host())
                .map_err(|_| rustls::Error::General(format!("`{}` is no name of a host", place.host())))?;
            let headers = vec![(name, value)];
            known.push(Ended { place, headers, hidden, server, client: client.clone(), name: host });
        }
        // The longest first: one may be the beginning of another.
        for ended in &mut known {
            ended.hidden.sort_by_key(|hidden| std::cmp::Reverse(hidden.len()));
        }
        let places = known.into_iter().map(|ended| Place::Known(Arc::new(ended))).collect();
        Ok(Self { places, certificates: roots.pem() + &authority.pem() })
    }

    /// Headers whose secrets are gone: what should get one is not reached.
    #[must_use]
    pub fn lost(templates: &[Template]) -> Self {
        let places = templates.iter().map(|template| Place::Lost(template.place().clone())).collect();
        Self { places, certificates: String::new() }
    }

    /// What the command is to trust, as text (RFC 7468): what this host does, and the authority that signs for the proxy.
    #[must_use]
    pub fn certificates(&self) -> &str {
        &self.certificates
    }

    /// `host` is a name as [`crate::grant::plain`] leaves it, or an address.
    pub(crate) fn find(&self, host: &str, port: u16) -> Found {
        let found = self.places.iter().find(|place| match place {
            Place::Known(ended) => ended.place.covers(host, port),
            Place::Lost(place) => place.covers(host, port),
        });
        match found {
            None => Found::Nothing,
            Some(Place::Known(ended)) => Found::Ended(ended.clone()),
            Some(Place::Lost(_)) => Found::Lost,
        }
    }
}
