//! Which index of packages this host's pip asks. Source: pip's user guide, "Configuration", and PEP 503 for names.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where packages are if nobody says otherwise.
const USUAL: &str = "https://pypi.org/simple";

/// Sections of a file that count when something is installed, the later ones more.
const SECTIONS: [&str; 2] = ["global", "install"];

/// What pip would ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Indexes {
    /// In the order in which they are asked, without a slash at the end.
    pub(crate) urls: Vec<String>,
    /// Who vouches for them, if not whom the host trusts.
    pub(crate) certificates: Option<PathBuf>,
}

/// What a process was told.
pub(crate) struct Environment<'a> {
    pub(crate) variable: &'a dyn Fn(&str) -> Option<String>,
    /// The root of all files, for tests.
    pub(crate) root: &'a Path,
}

impl Indexes {
    /// Those of this process.
    pub(crate) fn of_this_process() -> Self {
        Self::find(&Environment { variable: &|name| std::env::var(name).ok(), root: Path::new("/") })
    }

    pub(crate) fn find(environment: &Environment<'_>) -> Self {
        let mut found = Found::default();
        for file in files(environment) {
            // One that is not there, or not ours to read, says nothing.
            if let Ok(text) = fs::read_to_string(file) {
                SECTIONS.iter().for_each(|section| found.read(&text, section));
            }
        }
        let variable = |name: &str| (environment.variable)(name).filter(|value| !value.is_empty());
        found.index = variable("PIP_INDEX_URL").or(found.index);
        found.extra = variable("PIP_EXTRA_INDEX_URL").or(found.extra);
        found.cert = variable("PIP_CERT").or(found.cert);
        let extra = found.extra.unwrap_or_default();
        let urls = std::iter::once(found.index.unwrap_or_else(|| USUAL.to_owned()))
            .chain(extra.split_whitespace().map(str::to_owned))
            .map(|url| url.trim_end_matches('/').to_owned());
        Self { urls: urls.collect(), certificates: found.cert.map(PathBuf::from) }
    }
}

/// The last word on each.
#[derive(Default)]
struct Found {
    index: Option<String>,
    extra: Option<String>,
    cert: Option<String>,
}

impl Found {
    /// Lines `key = value` of one section; a line that begins with a space goes on with the value before.
    fn read(&mut self, text: &str, wanted: &str) {
        let mut section = "";
        let mut key = String::new();
        for line in text.lines() {
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = name.trim();
                key.clear();
                continue;
            }
            if section != wanted {
                continue;
            }
            if line.starts_with([' ', '\t']) {
                if let Some(value) = self.place(&key).and_then(Option::as_mut) {
                    value.push(' ');
                    value.push_str(trimmed);
                }
            } else if let Some((name, value)) = trimmed.split_once(['=', ':']) {
                key = name.trim().to_ascii_lowercase().replace('_', "-");
                if let Some(place) = self.place(&key) {
                    *place = Some(value.trim().to_owned());
                }
            }
        }
    }

    fn place(&mut self, key: &str) -> Option<&mut Option<String>> {
        match key {
            "index-url" => Some(&mut self.index),
            "extra-index-url" => Some(&mut self.extra),
            "cert" => Some(&mut self.cert),
            _ => None,
        }
    }
}

/// From the one that counts least to the one that counts most.
fn files(environment: &Environment<'_>) -> Vec<PathBuf> {
    let variable = |name: &str| (environment.variable)(name).filter(|value| !value.is_empty());
    let named = variable("PIP_CONFIG_FILE");
    // Which says that there shall be none.
    if named.as_deref() == Some("/dev/null") {
        return Vec::new();
    }
    let at = |path: &str| environment.root.join(path.trim_start_matches('/'));
    let mut files = vec![at("/etc/xdg/pip/pip.conf"), at("/etc/pip.conf")];
    if let Some(home) = variable("HOME") {
        let home = at(&home);
        let settings = variable("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), |path| at(&path));
        files.extend([home.join(".pip/pip.conf"), settings.join("pip/pip.conf")]);
    }
    files.extend(variable("VIRTUAL_ENV").map(|path| at(&path).join("pip.conf")));
    files.extend(named.map(|path| at(&path)));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found with these files and variables.
    fn find(files: &[(&str, &str)], variables: &[(&str, &str)]) -> (Vec<String>, Option<PathBuf>) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let variable = |name: &str| {
            let known = [("HOME", "/home/ann")];
            let mut all = variables.iter().chain(&known);
            all.find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let found = Indexes::find(&Environment { variable: &variable, root: root.path() });
        (found.urls, found.certificates)
    }

    #[test]
    fn what_is_nearer_to_the_user_counts_more() {
        let of = |url: &str| vec![url.to_owned()];
        let etc = ("etc/pip.conf", "[global]\nindex-url = https://etc.example/simple/\ncert = /etc/ca.pem\n");
        let old = ("home/ann/.pip/pip.conf", "[global]\nindex_url: https://old.example/simple\n");
        let user = (
            "home/ann/.config/pip/pip.conf",
            "# mine\n[install]\nindex-url=https://user.example/simple\n[global]\nindex-url=https://none\n",
        );
        assert_eq!(find(&[], &[]), (of(USUAL), None));
        let ca = Some(PathBuf::from("/etc/ca.pem"));
        assert_eq!(find(&[etc], &[]), (of("https://etc.example/simple"), ca.clone()));
        assert_eq!(find(&[etc, old], &[]), (of("https://old.example/simple"), ca.clone()));
        assert_eq!(find(&[etc, old, user], &[]), (of("https://user.example/simple"), ca.clone()));
        let named = ("srv/pip.conf", "[global]\nindex-url = https://named.example/simple\n");
        let variables = [("PIP_CONFIG_FILE", "/srv/pip.conf")];
        assert_eq!(find(&[etc, user, named], &variables).0, of("https://named.example/simple"));
        assert_eq!(find(&[etc, user], &[("PIP_CONFIG_FILE", "/dev/null")]), (of(USUAL), None));
        let variables = [("PIP_INDEX_URL", "https://env.example/simple/"), ("PIP_CERT", "/env.pem")];
        assert_eq!(
            find(&[etc, user], &variables),
            (of("https://env.example/simple"), Some("/env.pem".into()))
        );
    }

    #[test]
    fn more_indexes_may_stand_on_lines_of_their_own() {
        let text = "[global]\nextra-index-url =\n    https://one.example/simple\n    https://two.example/simple/\nindex-url = https://main.example\n";
        let (urls, _) = find(&[("etc/pip.conf", text)], &[]);
        assert_eq!(
            urls,
            ["https://main.example", "https://one.example/simple", "https://two.example/simple"]
        );
    }
}
