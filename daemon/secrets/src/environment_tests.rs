//! Encrypted files of variables: what is read back, and everything that must not be.

use super::*;
use proptest::prelude::*;

fn key(byte: u8) -> MasterKey {
    MasterKey::from_bytes([byte; 32])
}

fn from_plain(text: &str) -> Result<Environment> {
    let mut environment = Environment::default();
    environment.add_plain(text, &["api.example.org".into()], &key(1), 7).map(|()| environment)
}

fn decrypted(environment: &Environment) -> Vec<(String, String)> {
    let value = |variable: &Variable| variable.decrypt(&key(1), 7).unwrap().to_vec();
    environment
        .variables()
        .map(|variable| (variable.name.clone(), String::from_utf8(value(variable)).unwrap()))
        .collect()
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn a_plain_file_is_encrypted_with_its_comments() {
    let plain = "# database\nexport DB=\"postgres://u:p@h\"\n\n  # more\nEMPTY=\nKEY='a\nb'\n";
    let environment = from_plain(plain).unwrap();
    let text = environment.to_string();
    let shape: Vec<_> =
        text.lines().map(|line| line.split_once('=').map_or(line, |(name, _)| name)).collect();
    assert_eq!(shape, ["# database", "DB", "", "  # more", "EMPTY", "KEY"]);
    assert!(!text.contains("postgres") && text.lines().nth(1).unwrap().ends_with(" api.example.org"));
    let mut read = Environment::parse(&text).unwrap();
    assert_eq!((&read, &read.to_string()), (&environment, &text));
    assert_eq!(decrypted(&read), [pair("DB", "postgres://u:p@h"), pair("EMPTY", ""), pair("KEY", "a\nb")]);
    // Into a file that is there, variables come without comments.
    read.add_plain("# other\nDB=new\nMORE=1", &[], &key(1), 7).unwrap();
    assert_eq!(decrypted(&read)[0], pair("DB", "new"));
    assert_eq!(decrypted(&read)[3], pair("MORE", "1"));
    assert!(!read.to_string().contains("other"));
}

#[test]
fn a_variable_is_set_in_its_line_and_taken_out() {
    let mut environment = from_plain("A=1\n# c\nB=2").unwrap();
    environment.set("A", b"3", &[], &key(1), 7).unwrap();
    environment.set("C", b"4", &["*.example.org".into()], &key(1), 7).unwrap();
    assert_eq!(decrypted(&environment), [pair("A", "3"), pair("B", "2"), pair("C", "4")]);
    let hosts: Vec<_> = environment.variables().map(|variable| variable.hosts.join(" ")).collect();
    assert_eq!(hosts, ["", "api.example.org", "*.example.org"]);
    assert!(environment.remove("B") && !environment.remove("B"));
    assert_eq!(environment.variables().map(|variable| &*variable.name).collect::<Vec<_>>(), ["A", "C"]);
    for (name, value, host) in [
        ("1", &b""[..], "a"),
        ("A=B", b"", "a"),
        ("", b"", "a"),
        ("A", b"a\0b", "a"),
        ("A", &[b'x'; 65_537], "a"),
        ("A", b"a", "https://a"),
        ("A", b"a", "a b"),
    ] {
        let err = environment.set(name, value, &[host.to_owned()], &key(1), 7).unwrap_err();
        assert!(matches!(err, Error::Invalid(_)), "{err}");
    }
    assert_eq!(decrypted(&environment)[0].1, "3");
}

#[test]
fn an_address_is_written_in_one_way_and_read_in_any() {
    let mut environment = Environment::default();
    for host in ["2001:DB8::1", "2001:db8:0:0::1"] {
        let hosts = [host.to_owned()];
        let set = environment.set("A", b"1", &hosts, &key(1), 7).unwrap_err().to_string();
        let added = environment.add_plain("A=1", &hosts, &key(1), 7).unwrap_err().to_string();
        assert!(set.ends_with("as `2001:db8::1`") && added == set, "{set} {added}");
    }
    assert_eq!(environment.variables().count(), 0);
    environment.set("A", b"1", &["2001:db8::1".to_owned()], &key(1), 7).unwrap();
    // One that was written before this was checked keeps no other from being read.
    let sealed = Variable::seal("B".to_owned(), b"2", &["2001:DB8::1".to_owned()], &key(1), 7).unwrap();
    environment.put(sealed).unwrap();
    let read = Environment::parse(&environment.to_string()).unwrap();
    assert_eq!(decrypted(&read), [pair("A", "1"), pair("B", "2")]);
}

#[test]
fn a_file_has_limits() {
    let mut environment = Environment::default();
    for index in 0..MOST_VARIABLES {
        environment.set(&format!("V{index}"), b"", &[], &key(1), 7).unwrap();
    }
    let err = environment.set("MORE", b"", &[], &key(1), 7).unwrap_err().to_string();
    assert!(err.contains("at most 64 variables"), "{err}");
    environment.set("V0", b"again", &[], &key(1), 7).unwrap();
    let more = format!("{environment}MORE=\n");
    assert!(Environment::parse(&more).unwrap_err().to_string().starts_with("line 65: "));
    let mut long = Environment::default();
    for name in ["A", "B"] {
        long.set(name, &[b'x'; LONGEST_VALUE], &[], &key(1), 7).unwrap();
    }
    let err = long.set("C", &[b'x'; LONGEST_VALUE], &[], &key(1), 7).unwrap_err().to_string();
    assert!(err.contains("262144 bytes"), "{err}");
}

#[test]
fn a_line_is_bound_to_its_name_hosts_user_and_key() {
    let text = from_plain("AB=correct horse").unwrap().to_string();
    let refused = |text: &str, key_byte: u8, owner: u32| {
        let environment = Environment::parse(text).unwrap();
        let variable = environment.variables().next().unwrap();
        variable.decrypt(&key(key_byte), owner).unwrap_err().to_string()
    };
    let altered = "are not those that were encrypted";
    let value = text.trim_end().trim_end_matches(" api.example.org");
    let flipped = |place: usize| {
        let mut bytes = BASE64_STANDARD.decode(value.trim_start_matches("AB=")).unwrap();
        bytes[place] ^= 1;
        format!("AB={} api.example.org", BASE64_STANDARD.encode(bytes))
    };
    for (text, key_byte, owner, words) in [
        (text.as_str(), 2, 7, "on another host, or with a master key of before"),
        (&text, 1, 8, "for user 7, and this is user 8"),
        (&text.replace("AB=", "AC="), 1, 7, altered),
        (&text.replace("api.", "evil."), 1, 7, altered),
        (&format!("{} evil.example.org", text.trim_end()), 1, 7, altered),
        (value, 1, 7, altered),
        (&flipped(24), 1, 7, altered),
        (&flipped(60), 1, 7, altered),
        (&flipped(7), 1, 7, "another version"),
        (&flipped(0), 1, 7, "no encrypted value"),
        ("AB=plain text", 1, 7, "no encrypted value"),
        ("AB=", 1, 7, "no encrypted value"),
        (&value[..value.len() - 5], 1, 7, "ends too early"),
        (&value[..3 + 32], 1, 7, "has 0 encrypted bytes of 53"),
        (&value[..3 + 64], 1, 7, "has 24 encrypted bytes of 53"),
        (&value[..3 + 16], 1, 7, "ends too early"),
    ] {
        let err = refused(text, key_byte, owner);
        assert!(err.starts_with("`A") && err.contains(words), "{text}: {err}");
        assert!(err.contains("secret env set A") && !err.contains("plain text"), "{err}");
    }
}

#[test]
fn faults_name_their_line() {
    let good = from_plain("A=1").unwrap().to_string();
    for (text, line, words) in [
        (format!("{good}{good}"), 2, "set twice"),
        ("\nnonsense".to_owned(), 2, "neither"),
        (format!("{good}<<<<<<< HEAD\n"), 2, "merged"),
        ("1A=".to_owned(), 1, "digit"),
    ] {
        let err = Environment::parse(&text).unwrap_err();
        assert!(matches!(err, Error::Line { line: found, .. } if found == line), "{text}: {err}");
        assert!(err.to_string().contains(words), "{err}");
    }
    let long = format!("\nA={}", "x".repeat(65_537));
    for (text, words) in [("A=1\nA=2", "set twice"), (&long, "65536"), ("\nA=a\0b", "null byte")] {
        let err = from_plain(text).unwrap_err();
        assert!(matches!(err, Error::Line { line: 2, .. }) && err.to_string().contains(words), "{err}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[A-C=\"'\\\\#\n aé$]{0,40}") {
        if let Ok(environment) = from_plain(&text) {
            let again = Environment::parse(&environment.to_string()).unwrap();
            prop_assert_eq!(decrypted(&again), decrypted(&environment));
            prop_assert_eq!(again, environment);
        }
        if let Ok(environment) = Environment::parse(&text) {
            prop_assert!(environment.variables().all(|variable| variable.decrypt(&key(1), 7).is_err()));
        }
    }

    #[test]
    fn a_quoted_value_comes_back(value in any::<String>().prop_filter("", |value| !value.contains(['\0', '\r']))) {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
        let environment = from_plain(&format!("A=\"{escaped}\"")).unwrap();
        prop_assert_eq!(decrypted(&environment), [("A".to_owned(), value)]);
    }
}
