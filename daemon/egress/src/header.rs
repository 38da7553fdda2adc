//! Headers that the proxy adds. Whoever asks for one writes where it goes and the name of a secret; the value is filled in by
//! who may read it, and is shown by nothing in here.

use crate::grant::Grant;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, fmt, str::FromStr};
use zeroize::Zeroizing;

/// Begins the name of a secret.
const SECRET: &str = "secret://";

/// The scheme whose credentials are encoded (RFC 7617, section 2), with the blank behind it.
const BASIC: &str = "basic ";

/// Of what is written.
const LONGEST: usize = 1024;

/// What a message is told by, and what two neighbours tell each other: it is the proxy's own to say.
const NOT_ADDED: [HeaderName; 8] =
    [CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// Shorter values are in too much that is none, and are not looked for anywhere.
const LEAST_HIDDEN: usize = 6;

/// Stands for a value that a host sent back.
const MARK: &[u8] = b"[redacted]";

/// `HOST NAME: VALUE` or `HOST:PORT NAME: VALUE`. In `VALUE` there is one `secret://SECRET`, up to a blank or the end. What
/// follows `Basic ` and has a colon is encoded as RFC 7617 says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template {
    place: Grant,
    name: HeaderName,
    before: String,
    secret: String,
    after: String,
}

impl Template {
    /// The secret, as it is named after `secret://`.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The host that it is for: a name or an address.
    #[must_use]
    pub fn host(&self) -> String {
        self.place.host()
    }

    /// Where it is for, as `HOST:PORT`.
    #[must_use]
    pub const fn place(&self) -> &Grant {
        &self.place
    }

    /// Whether both set the same header at the same place.
    #[must_use]
    pub fn collides(&self, other: &Self) -> bool {
        self.place == other.place && self.name == other.name
    }

    /// Puts the value of the secret in.
    ///
    /// # Errors
    /// What is wrong with a value that no header can have.
    pub fn fill(&self, value: Vec<u8>) -> Result<Header, String> {
        let value = Zeroizing::new(value);
        // At an end it would be lost on the way (RFC 9110, section 5.5), and what comes back be another text.
        if value.trim_ascii().len() != value.len() {
            return Err(format!(
                "the secret `{}` begins or ends with white space, which no header keeps",
                self.secret
            ));
        }
        let join = |parts: &[&[u8]]| {
            let mut joined = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
            parts.iter().for_each(|part| joined.extend_from_slice(part));
            joined
        };
        let (before, after) = (self.before.as_bytes(), self.after.as_bytes());
        let mut hidden = Vec::new();
        let whole = match self.user_and() {
            Some(user) => {
                let encoded = Zeroizing::new(BASE64_STANDARD.encode(join(&[user.as_bytes(), &value, after])));
                hidden.push(Zeroizing::new(encoded.as_bytes().to_vec()));
                join(&[b"Basic ", encoded.as_bytes()])
            }
            None => join(&[before, &value, after]),
        };
        hidden.push(value);
        hidden.retain(|hidden| hidden.len() >= LEAST_HIDDEN);
        // Whoever lets go of it last has it wiped.
        let mut whole = HeaderValue::from_maybe_shared(Bytes::from_owner(whole)).map_err(|_| {
            format!(
                "the secret `{}` cannot be in a header, which has one line and no control characters",
                self.secret
            )
        })?;
        whole.set_sensitive(true);
        Ok(Header { name: self.name.clone(), value: whole, hidden })
    }

    /// What stands before the secret in credentials that are to be encoded.
    fn user_and(&self) -> Option<&str> {
        let (scheme, user) = self.before.split_at_checked(BASIC.len())?;
        (scheme.eq_ignore_ascii_case(BASIC) && user.contains(':')).then_some(user)
    }
}

/// A header with its value. Is not shown, so it has no `Debug`.
pub struct Header {
    pub(crate) name: HeaderName,
    pub(crate) value: HeaderValue,
    /// What must not come back, in each spelling that the host is told.
    pub(crate) hidden: Vec<Zeroizing<Vec<u8>>>,
}

/// `text` with a mark in place of each of `hidden`; `None` if it has none of them.
pub(crate) fn without<'hidden>(
    text: &[u8],
    hidden: impl IntoIterator<Item = &'hidden Zeroizing<Vec<u8>>>,
) -> Option<Vec<u8>> {
    let mut clean: Option<Vec<u8>> = None;
    for value in hidden {
        let mut rest = clean.as_deref().unwrap_or(text);
        let mut kept = Vec::new();
        while let Some(at) = rest.windows(value.len()).position(|part| part == value.as_slice()) {
            kept.extend_from_slice(rest.get(..at).unwrap_or_default());
            kept.extend_from_slice(MARK);
            rest = rest.get(at + value.len()..).unwrap_or_default();
        }
        if !kept.is_empty() {
            kept.extend_from_slice(rest);
            clean = Some(kept);
        }
    }
    clean
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!(
                "`{}` is no header to add: {why}; write it as `api.example.com Authorization: Bearer secret://NAME`",
                text.escape_debug()
            )
        };
        if text.len() > LONGEST {
            return Err(format!("a header to add has at most {LONGEST} bytes, and this has {}", text.len()));
        }
        let (place, header) = text.split_once(' ').ok_or_else(|| wrong("it names no host"))?;
        let place: Grant = place.parse().map_err(|err: String| wrong(&err))?;
        if place.is_many() {
            return Err(wrong("the host is one name or address, without `*`"));
        }
        let (name, value) = header.split_once(':').ok_or_else(|| wrong("it names no header"))?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong("the header has no name"))?;
        if NOT_ADDED.contains(&name) || name.as_str().starts_with("proxy-") || name == "keep-alive" {
            return Err(wrong(&format!("`{name}` is not added to requests")));
        }
        let value = value.trim();
        let Some((before, rest)) = value.split_once(SECRET).filter(|(_, rest)| !rest.contains(SECRET)) else {
            return Err(wrong("its value has one `secret://NAME`, no less and no more"));
        };
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (secret, after) = rest.split_at(end);
        if secret.is_empty() {
            return Err(wrong("`secret://` is followed by the name of a secret"));
        }
        if HeaderValue::from_str(before).is_err() || HeaderValue::from_str(after).is_err() {
            return Err(wrong("a header is one line of ASCII"));
        }
        let (before, secret, after) = (before.to_owned(), secret.to_owned(), after.to_owned());
        Ok(Self { place, name, before, secret, after })
    }
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.to_string()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, name, before, secret, after } = self;
        write!(f, "{place} {name}: {before}{SECRET}{secret}{after}")
    }
}

impl JsonSchema for Template {
    fn schema_name() -> Cow<'static, str> {
        "Template".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prop_assert_eq, proptest};

    fn filled(text: &str, value: &str) -> String {
        let header = text.parse::<Template>().unwrap().fill(value.into()).unwrap();
        assert!(header.value.is_sensitive());
        header.value.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_header_is_a_place_a_name_and_a_value_with_one_secret() {
        let template: Template =
            "API.example.com:8443 X-Key:  a secret://.env.skynet#KEY b ".parse().unwrap();
        assert_eq!(template.place().to_string(), "api.example.com:8443");
        assert_eq!((template.secret(), template.host().as_str()), (".env.skynet#KEY", "api.example.com"));
        assert_eq!(template.to_string(), "api.example.com:8443 x-key: a secret://.env.skynet#KEY b");
        assert_eq!(filled("h Authorization: Bearer secret://k", "v"), "Bearer v");
        assert_eq!(filled("h a: secret://k", "v w"), "v w");
        // RFC 7617, section 2.
        let basic = "h Authorization: basic Aladdin:secret://k";
        assert_eq!(filled(basic, "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(filled("h Authorization: Basic secret://k", "YTpi"), "Basic YTpi");
        let [one, same, other] = ["h:443 A: secret://k", "h a: x secret://l", "h b: secret://k"]
            .map(|text| text.parse::<Template>().unwrap());
        assert!(one.collides(&same) && !one.collides(&other));
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for (text, why) in [
            ("", "no host"),
            ("h", "no host"),
            ("https://h a: secret://k", "without scheme"),
            ("*.example.com a: secret://k", "without `*`"),
            ("h a secret", "no header"),
            ("h : secret://k", "no name"),
            ("h a b: secret://k", "no name"),
            ("h Host: secret://k", "not added"),
            ("h Content-Length: secret://k", "not added"),
            ("h Proxy-Authorization: secret://k", "not added"),
            ("h a: b", "one `secret://NAME`"),
            ("h a: secret://k secret://l", "one `secret://NAME`"),
            ("h a: secret://ksecret://l", "one `secret://NAME`"),
            ("h a: secret://", "name of a secret"),
            ("h a: x\r\nb: secret://k", "one line"),
            ("h a: secret://k\r\nb: c", "one line"),
        ] {
            let refused = text.parse::<Template>().unwrap_err();
            assert!(refused.contains(why), "{text:?}: {refused}");
        }
        assert!(format!("h a: {}secret://k", "x".repeat(LONGEST)).parse::<Template>().is_err());
        for value in ["a\nb", "a\r\nb: c", "\0"] {
            let template: Template = "h a: secret://k".parse().unwrap();
            assert!(template.fill(value.into()).is_err_and(|why| why.contains("`k`")), "{value:?}");
        }
    }

    #[test]
    fn what_a_host_sends_back_is_a_mark() {
        let header =
            "h a: Basic u:secret://k".parse::<Template>().unwrap().fill(b"open sesame".to_vec()).unwrap();
        let clean =
            |text: &str| without(text.as_bytes(), &header.hidden).map(|it| String::from_utf8(it).unwrap());
        assert_eq!(clean("open"), None);
        assert_eq!(clean("open sesame").unwrap(), "[redacted]");
        assert_eq!(clean("a open sesame,open sesame").unwrap(), "a [redacted],[redacted]");
        assert_eq!(clean("Basic dTpvcGVuIHNlc2FtZQ==; open sesame").unwrap(), "Basic [redacted]; [redacted]");
        let short = "h a: secret://k".parse::<Template>().unwrap().fill(b"short".to_vec()).unwrap();
        assert_eq!(without(b"short", &short.hidden), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(text in "[a-z]{1,4}(:[0-9]{1,4})? [a-z]{1,3}: ?[ -~]{0,8}secret://[ -~]{0,8}") {
            if let Ok(template) = text.parse::<Template>() {
                prop_assert_eq!(template.to_string().parse::<Template>(), Ok(template));
            }
        }
    }
}
