//! What credentials of well-known services look like. Only shapes that hardly anything else has are listed: a text that
//! is marked by mistake costs an agent more than it protects anybody.

use crate::{Error, Result};
use aho_corasick::packed::Searcher;
use regex::bytes::{Regex, RegexSet};
use std::{ops::Range, sync::LazyLock};

/// What is in each of the shapes below. A text without any of these, as most are, is passed over at the speed of memory.
const HALLMARKS: [&str; 28] = [
    "PRIVATE KEY",
    "AKIA",
    "ASIA",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "gloas-",
    "gldt-",
    "glrt",
    "glcbt-",
    "glptt-",
    "glft-",
    "glimt-",
    "glagent-",
    "glsoat-",
    "xox",
    "xapp-",
    "AIza",
    "k_live_",
    "npm_",
    "pypi-AgE",
    "eyJ",
    "sk-",
    "skynet_",
];

/// Names, as in marks, and shapes. Each is found at the border of a word only.
const TABLE: [(&str, &str); 16] = [
    // RFC 7468, sections 10 and 11, and RFC 1421 and OpenPGP armor (RFC 9580, section 6.2) for what comes before the
    // base64. Line breaks may be escaped, as in JSON. At least 64 bytes, or else it is an ellipsis in a manual. What
    // has no end is taken as far as it looks like base64.
    (
        "pattern:private-key",
        r"-----BEGIN (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----(?:(?:[A-Za-z0-9+/=:,.()_\s]|-[A-Za-z0-9]|\\+[nrt]){64,}?-----END (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----|(?:[A-Za-z0-9+/=\s]|\\+[nr]){64,})",
    ),
    // Our own, of clients that come by HTTP: an id and 256 bits.
    ("pattern:skynet-token", r"skynet_[0-9a-f]{8}_[0-9a-f]{64}"),
    // AWS IAM User Guide, "IAM identifiers", "Understanding unique ID prefixes": of users, and temporary ones of STS.
    ("pattern:aws-access-key", r"(?:AKIA|ASIA)[A-Z2-7]{16}"),
    // GitHub blog, "Behind GitHub's new authentication token formats" (2021); a checksum ends each.
    ("pattern:github-token", r"gh[pousr]_[A-Za-z0-9]{36,255}"),
    // GitHub Docs, "About authentication to GitHub", "GitHub's token formats".
    ("pattern:github-token", r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    // GitLab Docs, "Token overview", "Token prefixes"; routable ones end in a dot, the length and a checksum.
    (
        "pattern:gitlab-token",
        r"gl(?:pat|oas|dt|rt|rtr|cbt|ptt|ft|imt|agent|soat)-[A-Za-z0-9_-]{20,300}(?:\.[0-9a-z]{2}\.?[0-9a-z]{7,9})?",
    ),
    // Slack API, "Token types": team and user are numbers.
    ("pattern:slack-token", r"xox[abeoprs](?:\.xox[bp])?-[0-9]{1,16}-[A-Za-z0-9-]{16,255}"),
    ("pattern:slack-token", r"xapp-[0-9]-[A-Z0-9]{8,16}-[0-9]{8,16}-[0-9a-f]{64}"),
    // Google Cloud, "Manage API keys"; the length is that of all keys that are given out.
    ("pattern:google-api-key", r"AIza[A-Za-z0-9_-]{35}"),
    // Stripe Docs, "API keys": secret and restricted keys of live mode.
    ("pattern:stripe-key", r"(?:sk|rk)_live_[A-Za-z0-9]{16,255}"),
    // GitHub blog, "Announcing npm's new access token format" (2021).
    ("pattern:npm-token", r"npm_[A-Za-z0-9]{36}"),
    // PyPI help, "What are API tokens": a macaroon for `pypi.org` or `test.pypi.org`, base64.
    ("pattern:pypi-token", r"pypi-AgE(?:IcHlwaS5vcmc|NdGVzdC5weXBpLm9yZw)[A-Za-z0-9_-]{50,1000}"),
    // RFC 7519 and RFC 7515, section 3.1: two objects that begin with `{"`, and a signature, which has 43 characters
    // or more (RFC 7518, section 3.1: HS256 is the shortest).
    ("pattern:jwt", r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{43,}"),
    // Anthropic API documentation, "API overview"; kind and number, then random characters.
    ("pattern:anthropic-key", r"sk-ant-[a-z]{2,12}[0-9]{2}-[A-Za-z0-9_-]{80,255}"),
    // OpenAI, "API keys" of projects, service accounts and administrators.
    ("pattern:openai-key", r"sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{40,255}"),
    // Keys of OpenAI from before there were projects: `OpenAI` in base64 is in the middle.
    ("pattern:openai-key", r"sk-[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}"),
];

/// Made once: compiling them takes longer than looking for them.
static PATTERNS: LazyLock<Result<Patterns, regex::Error>> = LazyLock::new(Patterns::compile);

/// The table, compiled.
pub(crate) struct Patterns {
    /// By the vector instructions of the processor: thirty times as fast as an automaton. `None` looks at every text.
    hallmarks: Option<Searcher>,
    /// Tells in one pass whether there is anything to look for.
    set: RegexSet,
    each: Vec<(&'static str, Regex)>,
}

impl Patterns {
    /// # Errors
    /// `Scanner` if one does not compile, which a test rules out.
    pub(crate) fn get() -> Result<&'static Self> {
        PATTERNS.as_ref().map_err(|err| Error::Scanner(err.to_string()))
    }

    fn compile() -> Result<Self, regex::Error> {
        let shapes = || TABLE.iter().map(|(name, shape)| (*name, format!("(?-u){shape}")));
        let each = shapes().map(|(name, shape)| Ok((name, Regex::new(&shape)?)));
        Ok(Self {
            hallmarks: Searcher::new(HALLMARKS),
            set: RegexSet::new(shapes().map(|(_, shape)| shape))?,
            each: each.collect::<Result<_, _>>()?,
        })
    }

    /// Calls `take` with name and range of each credential. Without a hallmark it takes one fast pass over the text, with
    /// one another pass, and one more for each kind that is there.
    pub(crate) fn find(&self, text: &[u8], mut take: impl FnMut(&'static str, Range<usize>)) {
        if self.hallmarks.as_ref().is_some_and(|hallmarks| hallmarks.find(text).is_none()) {
            return;
        }
        for index in self.set.matches(text) {
            let Some((name, shape)) = self.each.get(index) else { continue };
            let mut from = 0;
            while let Some(found) = shape.find_at(text, from) {
                if is_bordered(text, &found.range()) {
                    take(name, found.range());
                    from = found.end();
                } else {
                    // Within the same word none begins at a border.
                    let word = text.get(found.start()..).unwrap_or_default();
                    from = found.start() + word.iter().take_while(|byte| is_word(**byte)).count().max(1);
                }
            }
        }
    }
}

/// Whether the range is no part of a longer word.
fn is_bordered(text: &[u8], range: &Range<usize>) -> bool {
    let is_word = |at: usize| text.get(at).is_some_and(|byte| is_word(*byte));
    let is_end = !is_word(range.end) || !is_word(range.end.saturating_sub(1));
    let Some(before) = range.start.checked_sub(1) else { return is_end };
    is_end && (!is_word(before) || !is_word(range.start) || ends_escape(text, before))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Whether the byte at `at` ends an escape of JSON, at any depth of strings within strings: the letter of `\n` is no
/// part of the word behind it, though the bytes look like one.
fn ends_escape(text: &[u8], at: usize) -> bool {
    let ends = |letters: &[u8], letter: usize| {
        letter.checked_sub(1).is_some_and(|before| text.get(before) == Some(&b'\\'))
            && text.get(letter).is_some_and(|byte| letters.contains(byte))
    };
    ends(b"nrtbf", at) || at.checked_sub(4).is_some_and(|letter| ends(b"u", letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let patterns = Patterns::get().map_err(|err| err.to_string()).unwrap();
        patterns.find(text.as_bytes(), |name, range| found.push((name, text[range].to_owned())));
        found
    }

    /// Put together here, so that no scanner of sources takes them for real.
    fn samples() -> Vec<(&'static str, String)> {
        let random =
            |length: usize| "aB3dE5gH7jK9mN1pQ2sT4vW6yZ8".chars().cycle().take(length).collect::<String>();
        let digits = |length: usize| "0123456789".chars().cycle().take(length).collect::<String>();
        let pem = |kind: &str| {
            let body = [random(64), random(64), random(20)].join("\n");
            format!("-----BEGIN {kind}-----\n{body}==\n-----END {kind}-----")
        };
        vec![
            ("pattern:private-key", pem("PRIVATE KEY")),
            ("pattern:private-key", pem("RSA PRIVATE KEY")),
            ("pattern:private-key", pem("OPENSSH PRIVATE KEY")),
            ("pattern:private-key", pem("ENCRYPTED PRIVATE KEY").replace('\n', "\\n")),
            ("pattern:private-key", pem("PGP PRIVATE KEY BLOCK").replace('\n', "\\\\r\\\\n")),
            ("pattern:skynet-token", format!("skynet_{}_{}", digits(8), digits(64))),
            ("pattern:aws-access-key", format!("AKIA{}", "ABCDEFGH234567QZ")),
            ("pattern:aws-access-key", format!("ASIA{}", "ABCDEFGH234567QZ")),
            ("pattern:github-token", format!("ghp_{}", random(36))),
            ("pattern:github-token", format!("ghs_{}", random(40))),
            ("pattern:github-token", format!("github_pat_{}_{}", random(22), random(59))),
            ("pattern:gitlab-token", format!("glpat-{}", random(20))),
            ("pattern:gitlab-token", format!("glpat-{}.01.{}", random(27), "0z1y2x3w4")),
            ("pattern:slack-token", format!("xoxb-{}-{}-{}", digits(12), digits(12), random(24))),
            ("pattern:slack-token", format!("xapp-1-A0123456789-{}-{}", digits(13), digits(64))),
            ("pattern:google-api-key", format!("AIza{}", random(35))),
            ("pattern:stripe-key", format!("sk_live_{}", random(24))),
            ("pattern:npm-token", format!("npm_{}", random(36))),
            ("pattern:pypi-token", format!("pypi-AgEIcHlwaS5vcmc{}", random(120))),
            ("pattern:jwt", format!("eyJ{}.eyJ{}.{}", random(33), random(50), random(43))),
            ("pattern:anthropic-key", format!("sk-ant-api03-{}", random(95))),
            ("pattern:openai-key", format!("sk-proj-{}", random(48))),
            ("pattern:openai-key", format!("sk-{}T3BlbkFJ{}", random(20), random(20))),
        ]
    }

    /// Nothing is measured: with time in proportion to the square these would take minutes.
    #[test]
    fn a_text_made_to_be_slow_is_not() {
        let key = format!("-----BEGIN PRIVATE KEY-----{}", "A".repeat(64));
        let token = format!("x{}.eyJaaaaaaaa.{}", "eyJaaaaaaaa".repeat(200_000), "b".repeat(43));
        for text in [key.repeat(40_000), token, "AKIA".repeat(500_000), "-eyJaaaaaaaa".repeat(200_000)] {
            names(&text);
        }
    }

    #[test]
    fn each_shape_has_a_hallmark() {
        // So that no text with a credential is passed over.
        let patterns = Patterns::get().map_err(|err| err.to_string()).unwrap();
        for (name, shape) in TABLE {
            let has = HALLMARKS.iter().any(|hallmark| {
                let shape = shape.replace("(?:AKIA|ASIA)", "AKIA").replace("gh[pousr]_", "ghp_");
                let shape = shape.replace("gl(?:pat", "glpat-").replace("xox[abeoprs]", "xox");
                let shape = shape.replace("(?:sk|rk)_live_", "sk_live_");
                shape.contains(hallmark)
            });
            assert!(has, "{name}: {shape}");
        }
        assert!(patterns.hallmarks.is_some());
    }

    #[test]
    fn credentials_are_found_whole() {
        for (name, sample) in samples() {
            for (before, after) in
                [("", ""), ("key: ", "\n"), ("\\n", "\\n"), ("\\\\u001b", "\""), ("=", ",")]
            {
                let text = format!("{before}{sample}{after}");
                assert_eq!(names(&text), [(name, sample.clone())], "{text}");
            }
        }
    }

    #[test]
    fn every_row_has_a_sample() {
        let patterns = Patterns::get().map_err(|err| err.to_string()).unwrap();
        for (name, shape) in &patterns.each {
            assert!(samples().iter().any(|(_, sample)| shape.is_match(sample.as_bytes())), "{name} {shape}");
            assert!(name.starts_with("pattern:"));
        }
    }

    #[test]
    fn a_key_that_is_cut_off_is_found() {
        let start = format!("-----BEGIN RSA PRIVATE KEY-----\n{}", "Ab3+".repeat(40));
        assert_eq!(names(&format!("{start}[...]")), [("pattern:private-key", start)]);
    }

    #[test]
    fn what_only_resembles_one_is_left() {
        for text in [
            "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
            "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBaMQswCQYDVQQGEwJJ\n-----END CERTIFICATE-----",
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----",
            "task-ant-api03-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "XAKIAABCDEFGH234567QZ",
            "AKIAABCDEFGH234567QZA",
            "ghp_short",
            "sk-learn and sk-ssh-ed25519@openssh.com",
            "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0x.",
            "npm_config_registry_of_the_whole_organization_and_more",
            "glpat-short",
            "xoxb-not-a-token",
            "pypi-server",
        ] {
            assert_eq!(names(text), [], "{text}");
        }
    }
}
