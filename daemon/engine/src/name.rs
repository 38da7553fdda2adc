//! Names of what the engine has. They become parts of paths of its API, so nothing else passes.

use schemars::JsonSchema;
use serde::Deserialize;
use skynet_core::{Error, Result};
use std::{fmt, ops::Deref};

/// Of a name.
const MOST_BYTES: usize = 255;

/// A name or id of a container, network or volume.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Name(String);

/// A name, with tag or digest if it has one, or an id of an image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct ImageName(String);

impl TryFrom<String> for Name {
    type Error = Error;

    /// As the engine has it: `[a-zA-Z0-9][a-zA-Z0-9_.-]*` (moby, `daemon/names`).
    fn try_from(name: String) -> Result<Self> {
        let begins_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if begins_well && name.len() <= MOST_BYTES && name.bytes().all(is_name) {
            return Ok(Self(name));
        }
        Err(Error::invalid_input(format!(
            "`{name}` is no name or id: it begins with a letter or digit, and has letters, digits, `_`, `.` and `-`"
        )))
    }
}

impl TryFrom<String> for ImageName {
    type Error = Error;

    /// What is between slashes is a host with a port, a part of a name, or a name with a tag or a digest.
    fn try_from(name: String) -> Result<Self> {
        let is_part = |part: &str| {
            part.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-:@+".contains(&byte))
        };
        if name.len() <= MOST_BYTES && name.split('/').all(is_part) {
            return Ok(Self(name));
        }
        Err(Error::invalid_input(format!(
            "`{name}` is no name of an image; one is like `nginx`, `nginx:1.27` or `ghcr.io/owner/name@sha256:...`"
        )))
    }
}

impl ImageName {
    /// The name, and the tag that it has or the newest: a name without either would be all tags there are.
    #[must_use]
    pub fn split(&self) -> (&str, &str) {
        if self.0.contains('@') {
            return (&self.0, "");
        }
        let last = self.0.rfind('/').map_or(0, |slash| slash + 1);
        let tag = self.0.get(last..).and_then(|last| last.find(':')).map(|colon| last + colon);
        match tag.and_then(|at| Some((self.0.get(..at)?, self.0.get(at + 1..)?))) {
            Some((name, tag)) => (name, tag),
            None => (&self.0, "latest"),
        }
    }
}

macro_rules! as_text {
    ($($kind:ident),+) => {$(
        impl Deref for $kind {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

as_text!(Name, ImageName);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_name_is_no_path_either() {
        for name in ["web", "a-b_c.1", "0123abcd"] {
            assert!(Name::try_from(name.to_owned()).is_ok(), "{name}");
        }
        // Also not as the engine writes it, with a slash in front: rules by name would not know it.
        for name in
            ["", "..", ".hidden", "a/b", "/a/b", "a?b", "a#b", "a%2fb", "../volumes/prune", "a b", "é"]
        {
            assert!(Name::try_from(name.to_owned()).is_err(), "{name}");
            assert!(name.contains("a/b") || ImageName::try_from(name.to_owned()).is_err(), "{name}");
        }
    }

    #[test]
    fn images_have_tags() {
        for (name, split) in [
            ("nginx", ("nginx", "latest")),
            ("nginx:1.27", ("nginx", "1.27")),
            ("localhost:5000/a/b", ("localhost:5000/a/b", "latest")),
            ("localhost:5000/a:2", ("localhost:5000/a", "2")),
            ("a@sha256:12", ("a@sha256:12", "")),
        ] {
            assert_eq!(ImageName::try_from(name.to_owned()).unwrap().split(), split, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_name_leaves_its_place_in_a_path(name in "[a-z./?#%:@]{1,12}") {
            if let Ok(name) = ImageName::try_from(name) {
                let path = format!("/images/{name}/json");
                let uri: hyper::Uri = path.parse().unwrap();
                prop_assert_eq!(uri.path(), path.as_str());
                prop_assert!(!path.split('/').any(|part| part.chars().all(|letter| letter == '.') && part.len() > 1 || part == "."));
            }
        }
    }
}
