//! The hosts that files of package managers name, each in the language of its manager. Addresses are cut down to host and port: what
//! else such files hold, passwords and tokens among it, gets no further than this.

use quick_xml::{Reader, events::Event};
use std::collections::BTreeSet;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A key with its value on each line: INI, and as much of YAML as is needed.
    Lines,
    Toml,
    Xml,
}

/// Whose values are addresses of registries, in lower case and with `-` for `_`.
const KEYS: [&str; 9] = [
    "extra-index-url",
    "find-links",
    "git",
    "index",
    "index-url",
    "npmregistryserver",
    "registry",
    "repository",
    "url",
];

/// As deep as tables of TOML are followed.
const DEPTH: usize = 8;

/// The hosts in the text of a file, as `hosts` of a call takes them; what does not parse names none.
pub(crate) fn hosts(form: Form, text: &str) -> BTreeSet<String> {
    let addresses = match form {
        Form::Lines => of_lines(text),
        Form::Toml => {
            let mut found = Vec::new();
            // Such a file is not read by its manager either.
            if let Ok(table) = text.parse::<toml::Table>() {
                table.iter().for_each(|(key, value)| of_toml(key, value, DEPTH, &mut found));
            }
            found
        }
        Form::Xml => of_xml(text),
    };
    addresses.iter().filter_map(|address| host_of(address)).collect()
}

fn is_key(key: &str) -> bool {
    KEYS.contains(&key.to_ascii_lowercase().replace('_', "-").as_str())
}

/// Words behind `key = value` and `key: value`; a line that is indented and has no key goes on with the one before (pip, "Configuration
/// files"). Keys of npm may have a scope in front (npmrc(5)).
fn of_lines(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_wanted = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';', '[']) {
            continue;
        }
        let mut pairs = ["=", ": ", " "].into_iter().filter_map(|between| trimmed.split_once(between));
        let value = match pairs.find(|(key, _)| !key.contains("://")) {
            Some((key, value)) => {
                let key = key.trim().trim_matches('"');
                is_wanted = is_key(key.rsplit(':').next().unwrap_or(key));
                value
            }
            None if line.starts_with([' ', '\t']) => trimmed,
            None => {
                is_wanted = false;
                continue;
            }
        };
        if is_wanted {
            found.extend(value.split_whitespace().map(str::to_owned));
        }
    }
    found
}

fn of_toml(key: &str, value: &toml::Value, depth: usize, found: &mut Vec<String>) {
    match value {
        toml::Value::String(address) if is_key(key) => found.push(address.clone()),
        toml::Value::Array(values) if depth > 0 => {
            values.iter().for_each(|value| of_toml(key, value, depth - 1, found));
        }
        toml::Value::Table(table) if depth > 0 => {
            table.iter().for_each(|(key, value)| of_toml(key, value, depth - 1, found));
        }
        _ => {}
    }
}

/// What stands in `url` (Maven, "Settings Reference").
fn of_xml(text: &str) -> Vec<String> {
    let mut reader = Reader::from_str(text);
    let (mut is_url, mut found) = (false, Vec::new());
    loop {
        match reader.read_event() {
            Ok(Event::Start(start)) => is_url = start.name().as_ref() == "url",
            Ok(Event::End(_)) => is_url = false,
            Ok(Event::Text(text)) if is_url => found.push(text.xml10_content().trim().to_owned()),
            // What breaks off says no more.
            Ok(Event::Eof) | Err(_) => return found,
            Ok(_) => {}
        }
    }
}

/// Host and port of an address, without the port where it is that of HTTPS.
fn host_of(address: &str) -> Option<String> {
    let address = address.trim_matches(['"', '\'', ',']);
    let (scheme, rest) = address.split_once("://")?;
    // Cargo says how a registry is asked in front of that: `sparse+https`.
    let usual = match scheme.rsplit('+').next()? {
        "https" => "443",
        "http" => "80",
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let behind = rest.get(authority.len()..)?;
    // A password with a slash in it would end there, and its beginning stand where the host does.
    if behind
        .match_indices('@')
        .any(|(place, _)| !behind.get(..place).is_some_and(|text| text.ends_with('/')))
    {
        return None;
    }
    let host = authority.rsplit('@').next()?;
    let (name, port) = host.rsplit_once(':').unwrap_or((host, usual));
    let is_name = !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    port.parse::<u16>().ok().filter(|_| is_name)?;
    let name = name.to_ascii_lowercase();
    Some(if port == "443" { name } else { format!("{name}:{port}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(form: Form, text: &str) -> String {
        hosts(form, text).into_iter().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn each_manager_is_read_in_its_own_language() {
        let npm = "; ours\nregistry=https://npm.example/\n@team:registry=https://team.example:8443/npm/\nproxy=http://proxy.example:3128\n//npm.example/:_authToken=SECRET\n//npm.example/:registry-token=https://no.example\n";
        assert_eq!(named(Form::Lines, npm), "npm.example team.example:8443");
        let pip = "[global]\nindex-url = https://ann:SECRET@pypi.example/simple\nextra_index_url =\n    https://one.example/simple\n    http://two.example/simple\ntrusted-host = three.example\n";
        assert_eq!(named(Form::Lines, pip), "one.example pypi.example two.example:80");
        let yarn = "npmRegistryServer: \"https://yarn.example/a?b=c\"\nnpmAuthToken: SECRET\nnpmScopes:\n  team:\n    npmRegistryServer: 'https://scope.example'\n";
        assert_eq!(named(Form::Lines, yarn), "scope.example yarn.example");
        assert_eq!(named(Form::Lines, "registry \"https://classic.example\"\n"), "classic.example");
        let cargo = "[source.mirror]\nregistry = \"sparse+https://crates.example/index/\"\n[registries.ours]\nindex = \"https://git.example/index.git\"\ntoken = \"SECRET\"\n[http]\nproxy = \"http://proxy.example\"\n";
        assert_eq!(named(Form::Toml, cargo), "crates.example git.example");
        let uv = "extra-index-url = [\"https://a.example/simple\"]\n[[index]]\nname = \"b\"\nurl = \"https://b.example:444/simple\"\n";
        assert_eq!(named(Form::Toml, uv), "a.example b.example:444");
        let maven = "<settings><!-- <url>https://no.example</url> --><servers><server><password>SECRET</password></server></servers><mirrors><mirror><url> https://maven.example/m2 </url></mirror></mirrors></settings>";
        assert_eq!(named(Form::Xml, maven), "maven.example");
    }

    #[test]
    fn nothing_but_host_and_port_is_told() {
        for (address, expected) in [
            ("https://user:pass@x.example/simple", Some("x.example")),
            ("https://user:p@ss@x.example", Some("x.example")),
            ("https://X.example:443/", Some("x.example")),
            ("https://x.example/@scope/y", Some("x.example")),
            // Not the part of a password for a host.
            ("https://token/rest@x.example/", None),
            ("https://user:pa/ss@x.example/", None),
            ("https://${HOST}/simple", None),
            ("https://x.example:port/", None),
            ("https://user:pass@", None),
            ("file:///srv/mirror", None),
            ("ssh://git@x.example/index", None),
            ("x.example", None),
        ] {
            assert_eq!(host_of(address).as_deref(), expected, "{address}");
        }
        for (form, text) in [(Form::Toml, "registry = "), (Form::Xml, "<url>"), (Form::Lines, "registry")] {
            assert_eq!(named(form, text), "", "{text}");
        }
    }
}
