//! What is asked, and what becomes of answers that no good server gives. A real server is in the tests of the programs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    thread::{self, JoinHandle},
};

const FOUND: &str = r#"{"data":{"data":{"password":"of-ann","port":5432,"deep":{"a":1}},"metadata":{}}}"#;

/// A server that answers these, one after the other, and returns the heads of the requests.
fn server(answers: Vec<(u16, &'static str, &'static str)>) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let served = thread::spawn(move || {
        let mut heads = Vec::new();
        for (status, header, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(reader.read_line(&mut head).unwrap() > 0);
            }
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            reader.read_exact(&mut vec![0; length.unwrap_or(0)]).unwrap();
            let size = body.len();
            let answer = format!(
                "HTTP/1.1 {status} x\r\n{header}content-length: {size}\r\nconnection: close\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).unwrap();
            heads.push(head);
        }
        heads
    });
    (address, served)
}

fn vault(address: &str, directory: &Path) -> Vault {
    let file = directory.join("token");
    fs::write(&file, "s.token").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let settings = Settings {
        address: address.to_owned(),
        mount: "kv/team".into(),
        path: "users/{uid}".into(),
        ca_file: None,
        namespace: Some("east".into()),
        token_file: Some(file),
        approle: None,
    };
    settings.check(crate::settings::Users::All).unwrap();
    Vault::open(settings).unwrap()
}

const ENDLESS: (u16, &str, &str) = (200, "", r#"{"data":{"ttl":0,"renewable":false}}"#);

fn read(vault: &Vault, place: &str) -> Result<Zeroizing<Vec<u8>>> {
    vault.read(&Owner { uid: 1001, user: "ann" }, &Place::parse(place).unwrap())
}

#[test]
fn requests_name_the_namespace_and_the_path_of_the_user() {
    let directory = tempfile::tempdir().unwrap();
    let (address, served) = server(vec![ENDLESS, (200, "", FOUND), (200, "", FOUND)]);
    let vault = vault(&address, directory.path());
    assert_eq!(read(&vault, "db/main#password").unwrap().as_slice(), b"of-ann");
    assert_eq!(read(&vault, "db/main#port").unwrap().as_slice(), b"5432");
    let heads = served.join().unwrap();
    assert!(heads[0].starts_with("GET /v1/auth/token/lookup-self HTTP/1.1\r\n"), "{}", heads[0]);
    assert!(heads[1].starts_with("GET /v1/kv/team/data/users/1001/db/main HTTP/1.1\r\n"), "{}", heads[1]);
    for head in heads.iter().map(|head| head.to_lowercase()) {
        for header in
            ["x-vault-namespace: east\r\n", "x-vault-token: s.token\r\n", "x-vault-request: true\r\n"]
        {
            assert!(head.contains(header), "{head}");
        }
    }
}

#[test]
fn answers_that_make_no_sense_are_told_from_values() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let location: &'static str = format!("location: http://{}/x\r\n", elsewhere.local_addr().unwrap()).leak();
    for (status, header, body, place, words) in [
        (307, location, "", "db#password", "sends elsewhere (307)"),
        (200, "", "<html>", "db#password", "has no field"),
        (200, "", r#"{"data":{"data":null}}"#, "db#password", "has no field"),
        (200, "", FOUND, "db#deep", "is no text"),
        (500, "", r#"{"errors":["a","b"]}"#, "db#password", "fails with 500: a; b"),
        (
            503,
            "",
            r#"{"errors":["Vault is sealed"]}"#,
            "db#password",
            "is sealed; nothing of it is given out",
        ),
        (503, "", r#"{"errors":["no leader"]}"#, "db#password", "fails with 503: no leader"),
        (429, "", "", "db#password", "fails with 429: it gives no reason"),
        (404, "", r#"{"errors":[]}"#, "db#password", "there is nothing at `kv/team/users/1001/db`"),
    ] {
        let (address, served) = server(vec![ENDLESS, (status, header, body)]);
        let err = read(&vault(&address, directory.path()), place).unwrap_err().to_string();
        assert!(err.contains(words) && err.contains(&address), "{err}");
        served.join().unwrap();
    }
    // Nobody came to where the redirect led.
    elsewhere.set_nonblocking(true).unwrap();
    assert!(elsewhere.accept().is_err());
}

#[test]
fn a_refusal_for_a_path_costs_no_login() {
    let directory = tempfile::tempdir().unwrap();
    let refused = (403, "", r#"{"errors":["1 error occurred: permission denied"]}"#);
    let (address, served) = server(vec![ENDLESS, refused, ENDLESS]);
    let err = read(&vault(&address, directory.path()), "db#password").unwrap_err();
    assert!(matches!(err, Error::Denied(_)) && err.to_string().contains("its policy needs `read`"), "{err}");
    assert_eq!(served.join().unwrap().len(), 3);
}

#[test]
fn a_daemon_that_may_not_log_in_says_nothing_of_the_secret() {
    let directory = tempfile::tempdir().unwrap();
    let by_file = vault("http://127.0.0.1:1", directory.path()).settings;
    let role = AppRole {
        role_id: "role".into(),
        secret_id_file: by_file.token_file.clone().unwrap(),
        mount: "approle".into(),
    };
    let by_role = Settings { token_file: None, approle: Some(role), ..by_file.clone() };
    for (settings, status, words) in [
        (by_role.clone(), 400, "does not let Skynet log in by AppRole: invalid"),
        (by_role, 403, "does not let Skynet log in by AppRole: invalid"),
        (by_file, 403, "refuses the token in `"),
    ] {
        let (address, served) = server(vec![(status, "", r#"{"errors":["invalid"]}"#)]);
        let err = read(&Vault::open(Settings { address, ..settings }).unwrap(), "db#password").unwrap_err();
        assert!(matches!(err, Error::Unavailable(_)) && err.to_string().contains(words), "{err}");
        served.join().unwrap();
    }
}

#[test]
fn certificates_are_read_before_anything_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    fs::write(&file, "").unwrap();
    let plain = vault("http://127.0.0.1:1", directory.path()).settings;
    let secure = Settings { address: "https://127.0.0.1:1".into(), ca_file: Some(file), ..plain };
    let err = Vault::open(secure).unwrap_err();
    assert!(matches!(err, Error::Settings(_)) && err.to_string().contains("there are none"), "{err}");
}
