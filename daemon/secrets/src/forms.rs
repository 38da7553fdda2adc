//! In which forms a value may stand in a text: as it is, encoded, and either of them within strings of JSON.
//!
//! A form is a recipe and not its result, so that of a long value only the beginning of each form has to be kept.

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use std::fmt::Write as _;
use zeroize::Zeroizing;

/// Strings of JSON in strings of JSON, as deep as they are looked through: what a program printed as JSON, in the answer
/// of a tool, in the text of a message.
const MOST_NESTED: u8 = 3;

/// RFC 3986, section 2.3: all but the unreserved characters.
const COMPONENT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// ECMA-262, `encodeURIComponent`.
const SCRIPT: AsciiSet = COMPONENT.remove(b'!').remove(b'*').remove(b'\'').remove(b'(').remove(b')');

/// ECMA-262, `encodeURI`: keeps what separates the parts of a URL.
const WHOLE_URL: AsciiSet = SCRIPT
    .remove(b';')
    .remove(b'/')
    .remove(b'?')
    .remove(b':')
    .remove(b'@')
    .remove(b'&')
    .remove(b'=')
    .remove(b'+')
    .remove(b'$')
    .remove(b',')
    .remove(b'#');

/// WHATWG URL, "application/x-www-form-urlencoded percent-encode set"; a space becomes `+`.
const FORM: AsciiSet = NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_').remove(b' ');

/// What a program leaves as it is, and what it writes for a space that is left.
const PERCENT: [(&AsciiSet, u8); 4] =
    [(&COMPONENT, b' '), (&SCRIPT, b' '), (&WHOLE_URL, b' '), (&FORM, b'+')];

/// How a program writes the strings of JSON, beyond what RFC 8259, section 7, asks for.
struct Dialect {
    /// Characters of ASCII that it writes as `\u00XX`.
    as_unicode: &'static [u8],
    /// Whether `/` becomes `\/`.
    escapes_slash: bool,
    /// Whether everything outside of printable ASCII is written as `\uXXXX`.
    is_ascii: bool,
    /// Of the digits behind `\u`.
    case: Case,
}

/// The first is that of the daemon itself.
const DIALECTS: [Dialect; 6] = [
    // serde_json; also `JSON.stringify` of ECMA-262.
    Dialect { as_unicode: b"", escapes_slash: false, is_ascii: false, case: Case::Lower },
    // Go, encoding/json: `HTMLEscape` is on unless asked not to.
    Dialect { as_unicode: b"<>&", escapes_slash: false, is_ascii: false, case: Case::Lower },
    // Python, json.dumps: `ensure_ascii` is on unless asked not to. So does `jq -a`.
    Dialect { as_unicode: b"", escapes_slash: false, is_ascii: true, case: Case::Lower },
    // PHP, json_encode without flags.
    Dialect { as_unicode: b"", escapes_slash: true, is_ascii: true, case: Case::Lower },
    // PHP with JSON_UNESCAPED_UNICODE.
    Dialect { as_unicode: b"", escapes_slash: true, is_ascii: false, case: Case::Lower },
    // .NET, System.Text.Json: JavaScriptEncoder.Default.
    Dialect { as_unicode: b"\"&'+<>`", escapes_slash: false, is_ascii: true, case: Case::Upper },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Case {
    Lower,
    Upper,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Alphabet {
    Standard,
    UrlSafe,
}

/// What follows a value in a text that is encoded as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    /// More: the last character that the value shares with it is unknown.
    More,
    /// Nothing.
    Bare,
    /// Nothing but `=` up to a multiple of four.
    Padded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Encoding {
    Raw,
    Reversed,
    /// RFC 4648, sections 4 and 5, with so many bytes before the value modulo three.
    Base64(Alphabet, usize, End),
    /// RFC 4648, section 8.
    Hex(Case),
    /// By the index of the set.
    Percent(usize, Case),
    Quoted(Quotes),
}

/// How a program shows a string to people, or to a shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Quotes {
    /// Backslashes are doubled, quotes stay: `repr` of Python where a value has quotes of one kind.
    Repr,
    /// `'` becomes `'\''`: between single quotes of a shell (POSIX, Shell Command Language, 2.2.2).
    Single,
    /// A backslash before all that means something to a shell: `printf %q` of bash.
    Backslashes,
    /// HTML, "Named character references", and a number for the apostrophe.
    Html,
}

/// One way to write a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Form {
    encoding: Encoding,
    /// How often it is within a string of JSON.
    nested: u8,
    /// Who wrote the innermost of these strings: an index.
    dialect: usize,
}

impl Form {
    /// Those of a value that differ, the plainest first, and the longer of two that begin alike. Some may still be alike.
    pub(crate) fn all(value: &[u8]) -> impl Iterator<Item = Self> {
        let nestings = |is_inert| {
            let deepest = if is_inert { 0 } else { MOST_NESTED };
            let within =
                (1..=deepest).flat_map(|nested| (0..DIALECTS.len()).map(move |dialect| (nested, dialect)));
            std::iter::once((0, 0)).chain(within)
        };
        let is_raw = value.iter().all(u8::is_ascii_alphanumeric);
        encodings()
            .filter(move |encoding| {
                !is_raw || !matches!(encoding, Encoding::Percent(..) | Encoding::Quoted(_))
            })
            .flat_map(move |encoding| {
                let is_inert = Zeroizing::new(encoding.apply(value)).iter().all(|byte| is_inert(*byte));
                nestings(is_inert).map(move |(nested, dialect)| Self { encoding, nested, dialect })
            })
    }

    /// The value in this form.
    pub(crate) fn render(self, value: &[u8]) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(self.encoding.apply(value));
        for depth in 0..self.nested {
            let dialect = if depth == 0 { self.dialect } else { 0 };
            if let Some(dialect) = DIALECTS.get(dialect) {
                bytes = Zeroizing::new(escape(&bytes, dialect));
            }
        }
        bytes
    }

    /// The first bytes of the value in this form, as many as can be told from `length` bytes of the value.
    pub(crate) fn render_start(self, value: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
        let start = match self.encoding {
            Encoding::Reversed => value.get(value.len().saturating_sub(length)..),
            Encoding::Raw
            | Encoding::Base64(..)
            | Encoding::Hex(_)
            | Encoding::Percent(..)
            | Encoding::Quoted(_) => value.get(..length),
        };
        self.render(start.unwrap_or(value))
    }
}

fn encodings() -> impl Iterator<Item = Encoding> {
    let base64 = [Alphabet::Standard, Alphabet::UrlSafe].into_iter().flat_map(|alphabet| {
        (0..3).flat_map(move |before| {
            [End::Padded, End::Bare, End::More].map(|end| Encoding::Base64(alphabet, before, end))
        })
    });
    let cases = [Case::Lower, Case::Upper];
    let percent = (0..PERCENT.len()).flat_map(move |set| cases.map(|case| Encoding::Percent(set, case)));
    [Encoding::Raw, Encoding::Reversed]
        .into_iter()
        .chain(base64)
        .chain(cases.map(Encoding::Hex))
        .chain(percent)
        .chain([Quotes::Repr, Quotes::Single, Quotes::Backslashes, Quotes::Html].map(Encoding::Quoted))
}

impl Encoding {
    fn apply(self, value: &[u8]) -> Vec<u8> {
        match self {
            Self::Raw => value.to_vec(),
            Self::Reversed => value.iter().rev().copied().collect(),
            Self::Base64(alphabet, before, end) => base64(value, alphabet, before, end),
            Self::Hex(case) => {
                let mut text = String::with_capacity(value.len() * 2);
                for byte in value {
                    push_hex(&mut text, u32::from(*byte), 2, case);
                }
                text.into_bytes()
            }
            Self::Percent(set, case) => percent(value, set, case),
            Self::Quoted(quotes) => value.iter().flat_map(|byte| quoted(*byte, quotes)).collect(),
        }
    }
}

fn quoted(byte: u8, quotes: Quotes) -> Vec<u8> {
    let is_plain = byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte) || !byte.is_ascii();
    let instead: &[u8] = match (quotes, byte) {
        (Quotes::Repr, b'\\') => br"\\",
        (Quotes::Single, b'\'') => br"'\''",
        (Quotes::Backslashes, _) if !is_plain => return vec![b'\\', byte],
        (Quotes::Html, b'&') => b"&amp;",
        (Quotes::Html, b'<') => b"&lt;",
        (Quotes::Html, b'>') => b"&gt;",
        (Quotes::Html, b'"') => b"&quot;",
        (Quotes::Html, b'\'') => b"&#x27;",
        _ => return vec![byte],
    };
    instead.to_vec()
}

fn base64(value: &[u8], alphabet: Alphabet, before: usize, end: End) -> Vec<u8> {
    let engine = match alphabet {
        Alphabet::Standard => BASE64_STANDARD_NO_PAD,
        Alphabet::UrlSafe => BASE64_URL_SAFE_NO_PAD,
    };
    let whole = Zeroizing::new([&vec![0; before], value].concat());
    let mut text = engine.encode(&*whole).into_bytes();
    // Six bits a character: of `before` bytes, so many characters have at least one bit.
    text.drain(..(before * 8).div_ceil(6));
    match end {
        End::Bare => {}
        End::More if whole.len().is_multiple_of(3) => {}
        End::More => {
            text.pop();
        }
        End::Padded => text.extend(std::iter::repeat_n(b'=', (3 - whole.len() % 3) % 3)),
    }
    text
}

fn percent(value: &[u8], set: usize, case: Case) -> Vec<u8> {
    let Some((set, space)) = PERCENT.get(set) else { return value.to_vec() };
    let mut text = percent_encode(value, set).to_string().into_bytes();
    text.iter_mut().filter(|byte| **byte == b' ').for_each(|byte| *byte = *space);
    if case == Case::Lower {
        let mut digits = 0;
        for byte in &mut text {
            if *byte == b'%' {
                digits = 2;
            } else if digits > 0 {
                byte.make_ascii_lowercase();
                digits -= 1;
            }
        }
    }
    text
}

/// Whether no dialect escapes it.
fn is_inert(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte)
        && !b"\"\\/".contains(&byte)
        && !DIALECTS.iter().any(|dialect| dialect.as_unicode.contains(&byte))
}

/// The content of a string of JSON. Bytes that are no UTF-8 stay as they are.
fn escape(bytes: &[u8], dialect: &Dialect) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(bytes.len() + bytes.len() / 8);
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.clear();
        for character in chunk.valid().chars() {
            push_escaped(&mut text, character, dialect);
        }
        escaped.extend_from_slice(text.as_bytes());
        escaped.extend_from_slice(chunk.invalid());
    }
    escaped
}

fn push_escaped(text: &mut String, character: char, dialect: &Dialect) {
    let is_listed = u8::try_from(character).is_ok_and(|byte| dialect.as_unicode.contains(&byte));
    let short = match character {
        '"' => Some('"'),
        '\\' => Some('\\'),
        '\n' => Some('n'),
        '\r' => Some('r'),
        '\t' => Some('t'),
        '\u{8}' => Some('b'),
        '\u{c}' => Some('f'),
        '/' if dialect.escapes_slash => Some('/'),
        _ => None,
    };
    let is_far = dialect.is_ascii && !(' '..='~').contains(&character);
    if let Some(short) = short.filter(|_| !is_listed) {
        text.extend(['\\', short]);
    } else if is_listed || is_far || character < ' ' {
        for unit in character.encode_utf16(&mut [0; 2]) {
            text.push_str("\\u");
            push_hex(text, u32::from(*unit), 4, dialect.case);
        }
    } else {
        text.push(character);
    }
}

fn push_hex(text: &mut String, number: u32, digits: usize, case: Case) {
    // A `String` takes whatever is written to it.
    let _ = match case {
        Case::Lower => write!(text, "{number:0digits$x}"),
        Case::Upper => write!(text, "{number:0digits$X}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn forms(value: &[u8]) -> BTreeSet<Vec<u8>> {
        Form::all(value).map(|form| form.render(value).to_vec()).collect()
    }

    #[test]
    fn a_plain_word_has_few_forms() {
        let all: BTreeSet<String> =
            forms(b"hunter2!").into_iter().map(|form| String::from_utf8(form).unwrap()).collect();
        for form in ["hunter2!", "!2retnuh", "68756e7465723221", "hunter2%21", "aHVudGVyMiE=", "aHVudGVyMiE"]
        {
            assert!(all.contains(form), "{form}: {all:?}");
        }
        assert!(all.len() < 20, "{all:?}");
    }

    #[test]
    fn programs_that_write_json_are_known() {
        let all = forms("a/b<c>\"é+😀".as_bytes());
        for form in [
            r#"a/b<c>\"é+😀"#,
            r#"a/b\u003cc\u003e\"é+😀"#,
            r#"a/b<c>\"\u00e9+\ud83d\ude00"#,
            r#"a\/b<c>\"\u00e9+\ud83d\ude00"#,
            r#"a\/b<c>\"é+😀"#,
            r"a/b\u003Cc\u003E\u0022\u00E9\u002B\uD83D\uDE00",
            r#"a/b<c>\\\"é+😀"#,
            r"a%2fb%3cc%3e%22%c3%a9%2b%f0%9f%98%80",
        ] {
            assert!(all.contains(form.as_bytes()), "{form}");
        }
    }

    proptest! {
        // Each case looks at hundreds of forms.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn wherever_it_is_in_base64_it_is_found(
            before in prop::collection::vec(any::<u8>(), 0..8),
            value in prop::collection::vec(any::<u8>(), 6..40),
            after in prop::collection::vec(any::<u8>(), 0..8),
        ) {
            let whole = [&before[..], &value, &after].concat();
            let all = forms(&value);
            for text in [
                base64::prelude::BASE64_STANDARD.encode(&whole),
                base64::prelude::BASE64_URL_SAFE.encode(&whole),
                BASE64_STANDARD_NO_PAD.encode(&whole),
            ] {
                let found = all.iter().any(|form| text.as_bytes().windows(form.len()).any(|part| part == form));
                prop_assert!(found, "{text}");
            }
        }

        #[test]
        fn strings_are_escaped_as_serde_does(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            let escaped = escape(text.as_bytes(), &DIALECTS[0]);
            prop_assert_eq!(&json.as_bytes()[1..json.len() - 1], &escaped[..]);
            for dialect in &DIALECTS {
                let json = [b"\"", &escape(text.as_bytes(), dialect)[..], b"\""].concat();
                prop_assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text.clone());
            }
        }

        #[test]
        fn the_start_of_a_form_is_that_of_the_whole(value in prop::collection::vec(any::<u8>(), 400..700)) {
            for form in Form::all(&value) {
                let (start, whole) = (form.render_start(&value, 400), form.render(&value));
                prop_assert_eq!(&start[..256], &whole[..256], "{:?}", form);
            }
        }

        #[test]
        fn no_form_is_left_out(value in "[a-z0-9\"/+ é]{6,9}") {
            let all = forms(value.as_bytes());
            for encoding in encodings() {
                for (nested, dialect) in [(0, 0), (1, 0), (1, 3), (2, 5), (3, 2)] {
                    let form = Form { encoding, nested, dialect };
                    prop_assert!(all.contains(&**form.render(value.as_bytes())), "{:?}", form);
                }
            }
        }

        #[test]
        fn no_form_is_shorter_than_the_value(value in prop::collection::vec(any::<u8>(), 6..40)) {
            for form in forms(&value) {
                prop_assert!(form.len() >= value.len());
            }
        }
    }
}
