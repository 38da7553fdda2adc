//! Which hosts of a command get headers, and what it takes to be such a host to the command. Values are asked for with each request,
//! when there is a connection to send it by: a secret that is deleted is added to no request after that, and one that is rotated with its
//! new value.

use crate::{
    authority::{Authority, PROTOCOL, Roots, Unusable},
    grant::Grant,
    header::{Header, Template},
};
use async_trait::async_trait;
use hyper::header::{HeaderName, HeaderValue};
use rustls::{ClientConfig, ServerConfig, crypto::ring, pki_types::ServerName};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zeroize::Zeroizing;

/// Values that a host was sent and that must not come back: more than the headers of a command have at once.
const MOST_SENT: usize = 64;

/// Where the value of a secret comes from.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// The value as it is now.
    ///
    /// # Errors
    /// Why there is none.
    async fn value(&self) -> Result<Vec<u8>, Missing>;
}

/// Why a secret has no value. The command reads the message, which holds none.
#[derive(Debug, PartialEq, Eq)]
pub enum Missing {
    /// There is none any more, or not for this host.
    Gone(String),
    /// Nobody can say it at this moment.
    Away(String),
}

impl Missing {
    /// The same, with where it is missed.
    fn at(self, template: &Template) -> Self {
        let (place, secret) = (template.place(), template.secret());
        let said = |why: String| {
            format!(
                "`{place}` gets a header of `network` with the secret `{secret}`, which is not given out: {why}"
            )
        };
        match self {
            Self::Gone(why) => Self::Gone(said(why)),
            Self::Away(why) => Self::Away(said(why)),
        }
    }
}

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
    added: Vec<(Template, Arc<dyn Source>)>,
    /// What must not come back, the newest last: also what a secret was before it was rotated.
    sent: Mutex<Vec<Zeroizing<Vec<u8>>>>,
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

impl Ended {
    /// The headers, with the values that their secrets have now.
    ///
    /// # Errors
    /// Why one of them has none. Then nothing is to be sent.
    pub(crate) async fn headers(&self) -> Result<Vec<(HeaderName, HeaderValue)>, Missing> {
        let mut headers = Vec::with_capacity(self.added.len());
        for (template, source) in &self.added {
            let value = source.value().await.map_err(|missing| missing.at(template))?;
            let filled = template.fill(value).map_err(|why| Missing::Gone(why).at(template))?;
            let Header { name, value, hidden } = filled;
            self.remember(hidden);
            headers.push((name, value));
        }
        Ok(headers)
    }

    fn remember(&self, hidden: Vec<Zeroizing<Vec<u8>>>) {
        let mut sent = self.sent();
        for value in hidden {
            sent.retain(|known| *known != value);
            sent.push(value);
        }
        let surplus = sent.len().saturating_sub(MOST_SENT);
        sent.drain(..surplus);
    }

    /// What the host was sent.
    pub(crate) fn sent(&self) -> MutexGuard<'_, Vec<Zeroizing<Vec<u8>>>> {
        // Each change leaves a list of whole values.
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Adding {
    /// These headers, each with where its value comes from, to hosts that `roots` vouch for.
    ///
    /// # Errors
    /// Why TLS cannot be ended.
    pub fn new(headers: Vec<(Template, Arc<dyn Source>)>, roots: &Roots) -> Result<Self, Unusable> {
        let provider = Arc::new(ring::default_provider());
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots.store())
            .with_no_client_auth();
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        let client = Arc::new(client);
        let authority = Authority::new()?;
        let mut known: Vec<Ended> = Vec::new();
        for (template, source) in headers {
            let place = template.place().clone();
            if let Some(ended) = known.iter_mut().find(|ended| ended.place == place) {
                ended.added.push((template, source));
                continue;
            }
            let server = Arc::new(authority.server(&place, &provider)?);
            let name = ServerName::try_from(place.host())
                .map_err(|_| rustls::Error::General(format!("`{}` is no name of a host", place.host())))?;
            let added = vec![(template, source)];
            known.push(Ended { place, added, sent: Mutex::default(), server, client: client.clone(), name });
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
