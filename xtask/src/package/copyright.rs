//! Whose work is in a package and under which licences: Debian's copyright file
//! (<https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/>).

use super::crates::{Crate, Crates};
use anyhow::{Context as _, Result, bail};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

/// Where there is a choice, the first of these is taken: the one that asks for least is the one whose text is there.
const PREFERRED: [&str; 11] = [
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "MIT-0",
    "IJG",
    "BSL-1.0",
    "CC0-1.0",
];

/// Those that every Debian host has in `/usr/share/common-licenses`.
const COMMON: [&str; 2] = ["Apache-2.0", "CC0-1.0"];

/// Licences, who holds the rights, and what is passed on.
type Rights<'a> = (Vec<&'a str>, &'a [String], Option<&'a str>);

/// The whole file.
pub(crate) fn file(crates: &Crates) -> Result<String> {
    let mut text = String::from(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: Skynet\n",
    );
    text += "Comment:\n The programs contain the crates named below. Where one may be used under several licences, the\n one named is the one it is used under.\n\n";
    let own = fs::read_to_string(crate::root().join("LICENSE"))?;
    let holder =
        own.lines().find_map(|line| line.strip_prefix("Copyright (c) ")).context("LICENSE names nobody")?;
    text += &format!("Files: *\nCopyright: {holder}\nLicense: MIT\n\n");
    let mut licences = BTreeSet::from(["MIT"]);
    // Those of one project are many, with the same lines.
    let mut alike: BTreeMap<Rights, Vec<&Crate>> = BTreeMap::new();
    for one in crates.0.iter().filter(|one| !one.is_ours()) {
        let used = used(&one.licence).with_context(|| format!("the licence of {}", one.key()))?;
        licences.extend(&used);
        alike.entry((used, &one.holders, one.notice.as_deref())).or_default().push(one);
    }
    for ((used, holders, notice), crates) in alike {
        let files: Vec<String> = crates.iter().map(|one| format!("{}/*", one.key())).collect();
        text += &format!(
            "Files: {}\nCopyright: {}\nLicense: {}\n{}\n",
            files.join("\n "),
            holders.join("\n "),
            used.join(" and "),
            notice.map(|notice| format!("Comment:\n{}", indented(notice))).unwrap_or_default(),
        );
    }
    for licence in licences {
        text += &format!("License: {licence}\n{}\n", indented(&words(licence)?));
    }
    Ok(text)
}

fn words(licence: &str) -> Result<String> {
    if COMMON.contains(&licence) {
        return Ok(format!(
            "On Debian systems the text of this licence is in\n/usr/share/common-licenses/{licence}\n"
        ));
    }
    let path = crate::root().join("packaging/licences").join(format!("{licence}.txt"));
    fs::read_to_string(&path).with_context(|| format!("reading `{}`", path.display()))
}

/// As the continuation of a field: an empty line is a dot.
fn indented(text: &str) -> String {
    text.trim_end()
        .lines()
        .map(|line| if line.is_empty() { " .\n".into() } else { format!(" {line}\n") })
        .collect()
}

/// An expression as SPDX has it today: a slash is an older way to write `OR`.
pub(super) fn spdx(expression: &str) -> String {
    let words = expression.replace('/', " OR ");
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The licences that a crate with that expression is used under (SPDX, annex D).
fn used(expression: &str) -> Result<Vec<&'static str>> {
    let spaced = spdx(expression).replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let choices = choices(&mut words)?;
    if let Some(word) = words.next() {
        bail!("`{word}` in `{expression}` is not understood");
    }
    let rank = |licences: &BTreeSet<usize>| (licences.len(), licences.iter().copied().max());
    let best = choices.into_iter().min_by_key(rank);
    let best = best.with_context(|| format!("no licence of `{expression}` is known here"))?;
    Ok(best.into_iter().filter_map(|rank| PREFERRED.get(rank).copied()).collect())
}

type Words<'a, 'b> = &'a mut std::iter::Peekable<std::str::SplitWhitespace<'b>>;

/// Sets of licences, by their rank, each of which is enough.
fn choices(words: Words) -> Result<Vec<BTreeSet<usize>>> {
    let mut found = all(words)?;
    while words.next_if_eq(&"OR").is_some() {
        found.extend(all(words)?);
    }
    Ok(found)
}

fn all(words: Words) -> Result<Vec<BTreeSet<usize>>> {
    let mut found = one(words)?;
    while words.next_if_eq(&"AND").is_some() {
        let more = one(words)?;
        found = found.iter().flat_map(|left| more.iter().map(move |right| left | right)).collect();
    }
    Ok(found)
}

fn one(words: Words) -> Result<Vec<BTreeSet<usize>>> {
    let word = words.next().context("a licence is missing")?;
    if word == "(" {
        let found = choices(words)?;
        words.next_if_eq(&")").context("a `)` is missing")?;
        return Ok(found);
    }
    // An exception adds rights that nothing here makes use of.
    if words.next_if_eq(&"WITH").is_some() {
        words.next();
    }
    let rank = PREFERRED.iter().position(|known| *known == word);
    Ok(rank.map(|rank| BTreeSet::from([rank])).into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_licences_the_one_that_asks_least_is_used() {
        for (expression, expected) in [
            ("MIT", "MIT"),
            ("Apache-2.0 OR MIT", "MIT"),
            ("Apache-2.0 / MIT / MPL-2.0", "MIT"),
            ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", "MIT"),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", "MIT Unicode-3.0"),
            ("Apache-2.0 OR BSL-1.0", "Apache-2.0"),
            ("Apache-2.0 AND ISC", "Apache-2.0 ISC"),
            ("zlib-acknowledgement OR MIT", "MIT"),
        ] {
            assert_eq!(used(expression).unwrap().join(" "), expected, "{expression}");
        }
        for unknown in ["GPL-3.0", "MIT AND GPL-3.0", "MIT MIT", "(MIT", ""] {
            assert!(used(unknown).is_err(), "{unknown}");
        }
    }
}
