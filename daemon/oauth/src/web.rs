//! Requests to providers. They go to the address that is named and nowhere else, and wait.

use crate::{Error, Result};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use skynet_web::{Authorities, tls};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use ureq::{
    Agent, Body,
    http::{Response, Uri},
};
use zeroize::Zeroizing;

/// A command that waits for its token is not kept longer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Of an answer: tokens and metadata are far shorter.
const MOST_ANSWER_BYTES: u64 = 256 << 10;

/// Of a URL of a provider, in bytes.
const LONGEST_URL: usize = 2048;

/// What of a form nobody else is to see.
const HIDDEN: [&str; 6] = ["refresh_token", "token", "client_secret", "code", "code_verifier", "device_code"];

/// A shorter value is in too much that is none.
const SHORTEST_HIDDEN: usize = 6;

/// Stands for one of them.
const MARK: &str = "[redacted]";

/// What needs no encoding in a query or a form (RFC 3986, section 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where requests go out. Nothing is opened before the first one.
#[derive(Default)]
pub(crate) struct Web {
    /// One that trusts whom the host trusts; the list is read when it is needed.
    agent: Mutex<Option<Agent>>,
}

/// What a provider says.
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// As it came. What is shown or logged of it goes through [`Reply::without_hidden`] first.
    pub(crate) body: Zeroizing<Vec<u8>>,
    /// What it was sent and nobody else is to see.
    pub(crate) hidden: Vec<Zeroizing<String>>,
}

impl Reply {
    /// A text of it as it is shown and logged: some providers say what they were sent. It is one that was decoded, because JSON spells a
    /// character in many ways.
    pub(crate) fn without_hidden(&self, text: &str) -> String {
        let mut clean = String::with_capacity(text.len());
        let mut rest = text;
        let mut letters = rest.chars();
        while let Some(letter) = letters.next() {
            let found = self.hidden.iter().filter_map(|value| length_spelled(rest, value)).max();
            // The longest: one may be the beginning of another.
            if let Some(after) = found.and_then(|length| rest.get(length..)) {
                clean.push_str(MARK);
                letters = after.chars();
            } else {
                clean.push(letter);
            }
            rest = letters.as_str();
        }
        clean
    }
}

impl Web {
    /// # Errors
    /// `Unavailable`.
    pub(crate) fn get(&self, url: &str) -> Result<Reply> {
        let agent = self.agent(url)?;
        read(url, agent.get(url).header("accept", "application/json").call())
    }

    /// Posts a form; `basic` is a user name and a password.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(crate) fn post(
        &self,
        url: &str,
        form: &[(&str, &str)],
        basic: Option<(&str, &str)>,
    ) -> Result<Reply> {
        let agent = self.agent(url)?;
        let text = Zeroizing::new(encode_form(form));
        let mut request = agent
            .post(url)
            .header("accept", "application/json")
            .content_type("application/x-www-form-urlencoded");
        if let Some((user, password)) = basic {
            // RFC 6749, section 2.3.1: both are encoded as in a form first.
            let pair = pair(&encode(user), &encode(password));
            let header = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
            request = request.header("authorization", header.as_str());
        }
        let reply = read(url, request.send(text.as_str()))?;
        Ok(Reply { hidden: hidden(form, basic), ..reply })
    }

    fn agent(&self, url: &str) -> Result<Agent> {
        if is_here(url) {
            return Ok(agent(None));
        }
        let mut kept = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = kept.as_ref() {
            return Ok(agent.clone());
        }
        let trusted = Authorities::of_host().map_err(|err| Error::Unavailable(err.to_string()))?;
        Ok(kept.insert(agent(Some(&trusted))).clone())
    }
}

/// A user name and a password as they are encoded for a header.
fn pair(user: &str, password: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("{user}:{password}"))
}

/// What of a request nobody else than the provider is to see.
fn hidden(form: &[(&str, &str)], basic: Option<(&str, &str)>) -> Vec<Zeroizing<String>> {
    let named = form.iter().filter(|(name, _)| HIDDEN.contains(name));
    let mut hidden: Vec<_> = named.map(|(_, value)| Zeroizing::new((*value).to_owned())).collect();
    if let Some((user, password)) = basic {
        hidden.push(Zeroizing::new(password.to_owned()));
        // As it is sent, and as those read it who know no encoding of a form there. Whether it is padded makes no difference then.
        for pair in [pair(&encode(user), &encode(password)), pair(user, password)] {
            hidden.push(Zeroizing::new(STANDARD_NO_PAD.encode(pair.as_bytes())));
        }
    }
    hidden.retain(|value| value.len() >= SHORTEST_HIDDEN);
    hidden
}

/// How many bytes at the beginning of `text` are `value`, as it is or with any of its bytes as in a query or a form; `None` if it begins
/// with something else. What was encoded ends where a character does, as both are whole text.
fn length_spelled(text: &str, value: &str) -> Option<usize> {
    if text.starts_with(value) {
        return Some(value.len());
    }
    let mut rest = text.as_bytes();
    for byte in value.bytes() {
        rest = match rest {
            [b'%', high, low, after @ ..] if of_hex(*high, *low) == Some(byte) => after,
            [b'+', after @ ..] if byte == b' ' => after,
            [first, after @ ..] if *first == byte => after,
            _ => return None,
        };
    }
    Some(text.len() - rest.len())
}

/// The byte that two digits spell, in letters of either case (RFC 3986, section 2.1).
fn of_hex(high: u8, low: u8) -> Option<u8> {
    let digit = |letter: u8| char::from(letter).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn agent(trusted: Option<&Authorities>) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(TIMEOUT))
        // A token goes nowhere else than to the address that was named.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .tls_config(tls(trusted));
    config.build().new_agent()
}

fn read(url: &str, sent: Result<Response<Body>, ureq::Error>) -> Result<Reply> {
    let read = sent.and_then(|mut response| {
        let status = response.status().as_u16();
        let bytes = response.body_mut().with_config().limit(MOST_ANSWER_BYTES).read_to_vec()?;
        Ok(Reply { status, body: Zeroizing::new(bytes), hidden: Vec::new() })
    });
    read.map_err(|err| Error::Unavailable(format!("`{url}` does not answer: {err}")))
}

/// `https`, or `http` to a loopback address where the one who named it is there as well; no user, no fragment (RFC 6749,
/// sections 3.1 and 3.2).
///
/// # Errors
/// `Invalid`.
pub(crate) fn check_url(url: &str, may_be_here: bool) -> Result<()> {
    let wrong = |reason: &str| {
        Err(Error::Invalid(format!("`{}` is no address of a provider: {reason}", url.escape_debug())))
    };
    if url.len() > LONGEST_URL || !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return wrong("it is too long, or has other characters than a URL has");
    }
    let Ok(uri) = url.parse::<Uri>() else { return wrong("it is no URL") };
    let Some(authority) = uri.authority().filter(|authority| !authority.as_str().contains('@')) else {
        return wrong("it names no host, or a user");
    };
    if url.contains('#') {
        return wrong("it has a fragment");
    }
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if may_be_here && is_loopback(authority.host()) => Ok(()),
        _ => wrong(
            "tokens go over `https`, or to a loopback address like `http://127.0.0.1:8080` of a provider that is there",
        ),
    }
}

/// Whether it is an address of this host; a name may lead anywhere.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    address.is_ok_and(|address| address.is_loopback())
}

/// Whether a URL that was checked is one of this host.
pub(crate) fn is_here(url: &str) -> bool {
    url.starts_with("http:")
}

/// As in a query or a form.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

pub(crate) fn encode_form(form: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        form.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_over_https_or_stay_here() {
        for (url, may_be_here) in [
            ("https://id.example.org", false),
            ("https://id.example.org:8443/realms/one?x=y", false),
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080/a", true),
        ] {
            check_url(url, may_be_here).unwrap();
        }
        for (url, may_be_here, words) in [
            ("http://id.example.org", true, "over `https`"),
            ("http://127.0.0.1:8080", false, "over `https`"),
            ("http://localhost:8080", true, "over `https`"),
            ("http://127.0.0.1.example.org", true, "over `https`"),
            ("ftp://id.example.org", true, "over `https`"),
            ("https://user@id.example.org", true, "or a user"),
            ("https://id.example.org/#a", true, "fragment"),
            ("id.example.org", true, "no address"),
            ("https://id.example.org/a b", true, "other characters"),
            ("", true, "no URL"),
        ] {
            let err = check_url(url, may_be_here).unwrap_err().to_string();
            assert!(err.contains(words), "{url}: {err}");
        }
    }

    #[test]
    fn what_was_sent_is_not_in_what_is_said_of_a_refusal() {
        let form = [("grant_type", "refresh_token"), ("refresh_token", "to\"ken/1"), ("token", "short")];
        let hidden = hidden(&form, Some(("the client", "pass +wörd%2f")));
        let reply = Reply { status: 400, body: Zeroizing::default(), hidden };
        let said = |text: &str| reply.without_hidden(text);
        assert_eq!(said("no to\"ken/1, short, refresh_token"), "no [redacted], short, refresh_token");
        for spelled in [
            "to\"ken/1",
            "to%22ken%2F1",
            "to%22ken%2f1",
            "%74o%22ken/1",
            "pass +wörd%2f",
            "pass%20%2Bw%C3%B6rd%252f",
            "pass+%2bw%c3%b6rd%252f",
            // `the client:pass +wörd%2f`, and as in a form.
            "dGhlIGNsaWVudDpwYXNzICt3w7ZyZCUyZg",
            "dGhlJTIwY2xpZW50OnBhc3MlMjAlMkJ3JUMzJUI2cmQlMjUyZg",
        ] {
            assert_eq!(said(spelled), MARK, "{spelled}");
            assert_eq!(said(&format!("é{spelled}{spelled}=é")), format!("é{MARK}{MARK}=é"), "{spelled}");
        }
        for other in ["nothing", "to\"ken/", "to%22ken%2", "to%22ken%", "%", "é%C3%B6", ""] {
            assert_eq!(said(other), other);
        }
    }

    #[test]
    fn of_two_hidden_values_that_begin_alike_the_longer_is_taken_out() {
        let hidden = hidden(&[("code", "abcdef"), ("token", "abcdef-ghi")], None);
        let reply = Reply { status: 400, body: Zeroizing::default(), hidden };
        assert_eq!(reply.without_hidden("abcdef abcdef-ghi"), "[redacted] [redacted]");
    }

    #[test]
    fn forms_are_encoded_whole() {
        let form = encode_form(&[("scope", "a b"), ("redirect_uri", "http://127.0.0.1:1/c?x=é&y")]);
        assert_eq!(form, "scope=a%20b&redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fc%3Fx%3D%C3%A9%26y");
    }
}
