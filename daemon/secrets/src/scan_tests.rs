//! What is taken out, what is left, and that JSON stays JSON.

use super::*;
use base64::{Engine as _, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};

fn scanner(values: &[(&str, &[u8])]) -> Scanner {
    Scanner::new(values.iter().copied()).unwrap()
}

fn redacted(scanner: &Scanner, text: &str) -> String {
    String::from_utf8(scanner.redact(text.as_bytes()).bytes.into_owned()).unwrap()
}

#[test]
fn a_text_without_secrets_is_not_copied() {
    let scanner = scanner(&[("token", b"hunter2-hunter2")]);
    let redacted = scanner.redact(b"{\"a\":\"hunter\",\"b\":\"-hunter2\"}");
    assert!(matches!(redacted.bytes, Cow::Borrowed(_)) && redacted.found.is_empty());
    assert!(matches!(Scanner::new::<&str, &str>([]).unwrap().redact(b"anything").bytes, Cow::Borrowed(_)));
}

#[test]
fn each_encoding_of_a_value_is_marked() {
    let value = "pa/ss\"wörd\n+42";
    let scanner = scanner(&[("token", value.as_bytes())]);
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let url = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC).to_string();
    let reversed: Vec<u8> = value.bytes().rev().collect();
    for (form, left) in [
        (value.to_owned(), ""),
        (json!(value).to_string(), "\"\""),
        (json!(json!(value).to_string()).to_string(), r#""\"\"""#),
        (json!(json!(json!(value).to_string()).to_string()).to_string(), r#""\"\\\"\\\"\"""#),
        (hex.clone(), ""),
        (hex.to_uppercase(), ""),
        (url.to_lowercase(), ""),
        (url, ""),
        (BASE64_STANDARD.encode(value), ""),
        (BASE64_URL_SAFE_NO_PAD.encode(value), ""),
    ] {
        let expected = left.split_at(left.len() / 2);
        let expected = format!("a {}[redacted:token]{} b", expected.0, expected.1);
        assert_eq!(redacted(&scanner, &format!("a {form} b")), expected, "{form}");
    }
    let found = scanner.redact(&reversed);
    assert_eq!(&*found.bytes, b"[redacted:token]");
    assert_eq!(found.found, BTreeSet::from(["token".to_owned()]));
}

#[test]
fn a_basic_authorization_is_marked() {
    let scanner = scanner(&[("token", b"correct horse battery")]);
    for user in ["a", "ab", "abc", "somebody"] {
        let header = BASE64_STANDARD.encode(format!("{user}:correct horse battery"));
        let text = redacted(&scanner, &format!("Authorization: Basic {header}"));
        assert!(text.contains("[redacted:token]"), "{text}");
        assert!(text.ends_with(']'), "{text}");
    }
}

#[test]
fn short_and_empty_values_are_not_looked_for() {
    let scanner =
        scanner(&[("a", b"12345"), ("b", b""), ("c", b" \n      \n"), ("d", b"123 \n"), ("e", b"abcdef\n")]);
    assert_eq!(redacted(&scanner, "12345  \n      \n 123 5"), "12345  \n      \n 123 5");
    assert_eq!(redacted(&scanner, "<abcdef>"), "<[redacted:e]>");
}

#[test]
fn the_longest_of_two_values_is_marked() {
    let scanner = scanner(&[("short", b"secret"), ("long", b"secret-and-more"), ("again", b"secret")]);
    assert_eq!(redacted(&scanner, "secret-and-more secret"), "[redacted:long] [redacted:short]");
}

#[test]
fn long_values_are_found_by_their_head() {
    let mut long = b"0123456789abcdef".repeat(40);
    long.extend_from_slice(b"\"first");
    let mut other = long.clone();
    other.extend_from_slice(&b"second-".repeat(9000));
    let scanner = scanner(&[("first", &long), ("second", &other)]);
    let both = [&b"<"[..], &long, b"> <", &other, b"> <", &long[..300], b">"].concat();
    let text = String::from_utf8(scanner.redact(&both).bytes.into_owned()).unwrap();
    assert_eq!(text, "<[redacted:first]> <[redacted:second]> <[redacted:first]>");
    for encoded in [BASE64_STANDARD.encode(&other), BASE64_STANDARD.encode([b"u:", &other[..]].concat())] {
        let text = redacted(&scanner, &json!({ "a": encoded }).to_string());
        assert!(text.ends_with("[redacted:second]\"}") && text.len() < 40, "{text}");
    }
    let text = json!({ "a": String::from_utf8(other).unwrap() }).to_string();
    assert_eq!(redacted(&scanner, &text), r#"{"a":"[redacted:second]"}"#);
    assert_eq!(redacted(&scanner, "0123456789abcdef"), "0123456789abcdef");
}

#[test]
fn escapes_and_characters_stay_whole() {
    let scanner = scanner(&[
        ("letter", b"nabcdef"),
        ("back", b"abcdeg\\"),
        ("half", b"\xa9half-of-it"),
        ("digits", b"00e9xy"),
    ]);
    for (text, expected) in [
        ("x\nabcdef", "x[redacted:letter]"),
        ("x\\nabcdef", "x\\[redacted:letter]"),
        ("abcdeg\\x", "[redacted:back]x"),
        ("abcdeg\ny", "abcdeg\ny"),
        ("cléhalf-of-it", "clé[redacted:no]"),
    ] {
        let json = json!([text]).to_string();
        let result: Vec<String> = serde_json::from_slice(&scanner.redact(json.as_bytes()).bytes).unwrap();
        if expected.contains("redacted:no") {
            // The value begins with the second byte of the character.
            assert_eq!(result, ["cl[redacted:half]"]);
        } else if text == "abcdeg\ny" {
            // In JSON this looks like the value that ends with a backslash.
            assert_eq!(result, ["[redacted:back]y"]);
        } else {
            assert_eq!(result, [expected]);
        }
    }
    let parsed: Value = serde_json::from_slice(&scanner.redact(br#"["\u00e9xy"]"#).bytes).unwrap();
    assert_eq!(parsed, json!(["[redacted:digits]"]));
    // The same in a line that is cut off, and so no JSON.
    assert_eq!(redacted(&scanner, r#"data: ["\nabcdef"#), r#"data: ["[redacted:letter]"#);
}

#[test]
fn what_is_no_string_becomes_one() {
    let scanner = scanner(&[("pin", b"12345678"), ("pair", b"user\":\"pass"), ("whole", br#"{"k":"v"}"#)]);
    for (text, expected) in [
        (r#"{"a":[1,12345678],"b":"12345678"}"#, r#"{"a":[1,"[redacted:pin]"],"b":"[redacted:pin]"}"#),
        ("[-0.12345678e3]", r#"["[redacted:pin]"]"#),
        (r#"[{"user":"password","x":"12345678"},2]"#, r#"["[redacted:pair]",2]"#),
        (r#"{"k":"v"}"#, r#""[redacted:whole]""#),
        (r#"{"x":{"k":"v"}}"#, r#"{"x":"[redacted:whole]"}"#),
        ("pin 12345678", "pin [redacted:pin]"),
    ] {
        assert_eq!(redacted(&scanner, text), expected);
    }
    let all = scanner.redact(br#"[{"x":"12345678","user":"password"}]"#).found;
    assert_eq!(all, BTreeSet::from(["pair".to_owned(), "pin".to_owned()]));
}

#[test]
fn a_known_value_within_a_credential_names_it() {
    let token = format!("ghp_{}", "aB3d".repeat(9));
    let unknown = redacted(&scanner(&[]), &format!("\\n{token}\\n"));
    assert_eq!(unknown, "\\n[redacted:pattern:github-token]\\n");
    let scanner = scanner(&[("mine", &token.as_bytes()[10..30])]);
    let known = scanner.redact(token.as_bytes());
    assert_eq!(&*known.bytes, b"[redacted:mine]");
    assert_eq!(known.found.len(), 2);
}

#[test]
fn marks_are_known_and_inert() {
    let scanner = scanner(&[("we\"ird]\\n", b"secret")]);
    let text = redacted(&scanner, "a secret");
    assert_eq!(text, "a [redacted:we_ird__n]");
    assert!(has_mark(text.as_bytes()) && has_mark(b"x[redacted:[redacted:pattern:jwt]"));
    for text in ["", "[redacted:]", "[redacted:a", "[redacted:a b]", "redacted:a]", "[redacted: a]"] {
        assert!(!has_mark(text.as_bytes()), "{text}");
    }
    for before in ["", "a", "ab", "abc\n"] {
        let encoded = BASE64_STANDARD.encode(format!("{before}{text} and more"));
        assert!(has_mark(encoded.as_bytes()), "{encoded}");
        assert!(!has_mark(BASE64_STANDARD.encode(format!("{before}[redact:a]")).as_bytes()));
    }
}

#[test]
fn nothing_of_a_value_is_shown_for_debugging() {
    let scanner = scanner(&[("a", b"secret-value")]);
    assert_eq!(format!("{scanner:?}"), "Scanner { values: 1, .. }");
}

/// Values of what makes trouble: quotes, backslashes, letters of escapes, digits, structure.
fn value() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-c]{1,3}",
        Just("\"".to_owned()),
        Just("\\".to_owned()),
        Just("n".to_owned()),
        Just("u00e9".to_owned()),
        Just("\n".to_owned()),
        Just("/".to_owned()),
        Just("é".to_owned()),
        Just("😀".to_owned()),
        Just(":".to_owned()),
        Just(",".to_owned()),
        Just("{".to_owned()),
        Just("[1,".to_owned()),
        Just("7".to_owned()),
        Just("\u{1}".to_owned()),
    ];
    let first = prop::sample::select(vec!["", "n", "01f", "f"]);
    let last = prop::sample::select(vec!["", "", "\\"]);
    (first, prop::collection::vec(piece, 3..9), last)
        .prop_map(|(first, pieces, last)| format!("{first}{}{last}", pieces.concat()))
}

/// Texts without the value, whose JSON has its bytes in it: they begin or end within an escape.
fn resembling(value: &str) -> Vec<String> {
    let starts = [("n", "\n"), ("01f", "\u{1f}"), ("f", "\u{1f}")];
    let started =
        starts.iter().filter_map(|(bytes, escape)| Some(format!("{escape}{}", value.strip_prefix(bytes)?)));
    let ended = value.strip_suffix('\\').map(|rest| format!("{rest}\n"));
    started.chain(ended).collect()
}

/// A document whose strings hold the values, parts of them and encodings of them.
fn document(values: &[String]) -> impl Strategy<Value = Value> + use<> {
    let encoded = |text: &String| {
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        [text.clone(), json!(text).to_string(), BASE64_STANDARD.encode(text), hex]
    };
    let mut pieces: Vec<String> = values.iter().flat_map(encoded).collect();
    pieces.extend(values.iter().map(|text| text.chars().skip(1).collect()));
    pieces.extend(values.iter().flat_map(|value| resembling(value)));
    pieces.extend(["\\", "\"", "\n", "u", "é", "x", " ", "\u{1f}"].map(str::to_owned));
    let text = prop::collection::vec(prop::sample::select(pieces), 0..5).prop_map(|pieces| pieces.concat());
    let leaf = prop_oneof![
        text.clone().prop_map(Value::String),
        any::<u64>().prop_map(Value::from),
        Just(json!(7777777))
    ];
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((text.clone(), inner), 0..4)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

/// All strings, cut where marks are: what is left of the text.
fn remains(value: &Value, into: &mut Vec<String>) {
    let mut keep = |text: &str| {
        let mark = regex::Regex::new(r"\[redacted:[a-z0-9]+\]").unwrap();
        into.extend(mark.split(text).map(str::to_owned));
    };
    match value {
        Value::String(text) => keep(text),
        Value::Array(items) => items.iter().for_each(|item| remains(item, into)),
        Value::Object(members) => {
            members.keys().for_each(|key| keep(key));
            members.values().for_each(|member| remains(member, into));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn json_stays_json_and_no_value_remains(
        (values, document) in prop::collection::vec(value(), 1..4)
            .prop_flat_map(|values| {
                let document = document(&values);
                (Just(values), document)
            }),
    ) {
        let scanner = Scanner::new(values.iter().enumerate().map(|(index, value)| (format!("s{index}"), value)));
        let line = serde_json::to_string(&document).unwrap();
        let redacted = scanner.unwrap().redact(line.as_bytes());
        let parsed: Value = serde_json::from_slice(&redacted.bytes)
            .map_err(|err| TestCaseError::fail(format!("{err}: {line} {:?}", redacted.bytes)))?;
        let mut left = Vec::new();
        remains(&parsed, &mut left);
        for value in values.iter().filter(|value| value.len() >= SHORTEST_VALUE && !value.trim().is_empty()) {
            let quoted = json!(value).to_string();
            for form in [value, &quoted[1..quoted.len() - 1], &BASE64_STANDARD.encode(value)] {
                prop_assert!(!left.iter().any(|text| text.contains(form)), "{form} in {parsed}");
            }
        }
        prop_assert_eq!(redacted.found.is_empty(), matches!(redacted.bytes, Cow::Borrowed(_)));
    }

    #[test]
    fn any_bytes_are_taken(
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..3),
        pieces in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..5)), 0..6),
    ) {
        let scanner = Scanner::new(values.iter().map(|value| ("s", value))).unwrap();
        let mut text = Vec::new();
        for (which, between) in pieces {
            text.extend_from_slice(&between);
            if !values.is_empty() {
                text.extend_from_slice(&values[which.index(values.len())]);
            }
        }
        let redacted = scanner.redact(&text).bytes.into_owned();
        for value in values.iter().filter_map(|value| worth_finding(value)) {
            let parts = redacted.split(|byte| *byte == b'[');
            prop_assert!(!parts.into_iter().any(|part| part.windows(value.len()).any(|window| window == value))
                || value.contains(&b'['));
        }
    }
}

#[test]
fn a_value_in_lines_and_columns_is_marked() {
    let value = "Tr0ub4dor&3-and-more-of-it";
    let scanner = scanner(&[("token", value.as_bytes()), ("short", b"7391824")]);
    let in_pieces = |text: &str, size: usize, between: &str| {
        let pieces: Vec<String> =
            text.as_bytes().chunks(size).map(|piece| String::from_utf8_lossy(piece).into()).collect();
        pieces.join(between)
    };
    let hex: String = value.bytes().map(|byte| format!("{byte:02x}")).collect();
    for form in [value.to_owned(), hex, BASE64_STANDARD.encode(value)] {
        for (size, between) in [(1, "\n"), (2, " "), (8, "\r\n"), (10, "\n\t")] {
            let text = in_pieces(&form, size, between);
            assert_eq!(redacted(&scanner, &format!("a {text} b")), "a [redacted:token] b", "{text}");
            let document = json!({ "stdout": format!("a {text} b\n") }).to_string();
            assert_eq!(redacted(&scanner, &document), r#"{"stdout":"a [redacted:token] b\n"}"#, "{text}");
            let nested = json!({ "text": document }).to_string();
            let read: Value = serde_json::from_str(&redacted(&scanner, &nested)).unwrap();
            assert_eq!(read["text"], r#"{"stdout":"a [redacted:token] b\n"}"#, "{text}");
        }
    }
    let phrase = "correct horse battery staple\nand a second line";
    let scanner = Scanner::new([("phrase", phrase), ("short", "7391824")]).unwrap();
    for text in [phrase.replace(' ', "\n"), phrase.replace('\n', "\r\n  "), in_pieces(phrase, 3, "\n")] {
        assert_eq!(redacted(&scanner, &format!("a {text} b")), "a [redacted:phrase] b", "{text}");
    }
    // A short one is whole or not at all: numbers stand beside each other in every table.
    assert_eq!(redacted(&scanner, "73 918 24 and 7391824"), "73 918 24 and [redacted:short]");
}
