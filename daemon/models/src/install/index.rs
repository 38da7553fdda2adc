//! One file of an index of packages. Source: PEP 503 (pages) and PEP 691 (JSON).

use super::fetch::{Client, shown};
use serde::Deserialize;
use skynet_core::{Error, Result};

/// Both forms, the one that is not guessed at first (PEP 691, "Version + Format Selection").
const ACCEPTED: &str =
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1";

#[derive(Deserialize)]
struct Page {
    files: Vec<File>,
}

#[derive(Deserialize)]
struct File {
    filename: String,
    url: String,
}

/// The address of a file of `package`; `None` if the index does not have it.
///
/// # Errors
/// `Unavailable` when the index does not answer.
pub(super) fn find(client: &Client, index: &str, package: &str, file: &str) -> Result<Option<String>> {
    let page = format!("{index}/{package}/");
    let Some(answer) = client.page(&page, ACCEPTED)? else { return Ok(None) };
    let is_json = answer.media_type.contains("json");
    let url = if is_json {
        let parsed: Page = serde_json::from_slice(&answer.body).map_err(|err| {
            Error::unavailable(format!("what answers at `{}` is no index of packages", shown(index)))
                .with_source(err)
        })?;
        parsed.files.into_iter().find(|one| one.filename == file).map(|one| one.url)
    } else {
        links(&String::from_utf8_lossy(&answer.body)).find(|url| name_of(url) == file)
    };
    Ok(url.map(|url| join(&answer.url, url.split('#').next().unwrap_or_default())))
}

/// The last part of an address.
fn name_of(url: &str) -> &str {
    let path = url.split(['#', '?']).next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default()
}

/// Where the links of a page lead. Enough for pages of an index, which have one link per file and nothing else.
fn links(page: &str) -> impl Iterator<Item = String> {
    page.split("<a ").skip(1).filter_map(|anchor| {
        let tag = anchor.split('>').next()?;
        let value = tag.split_once("href=")?.1;
        let quote = value.chars().next().filter(|first| ['"', '\''].contains(first))?;
        let url = value.get(1..)?.split(quote).next()?;
        Some(url.replace("&amp;", "&"))
    })
}

/// What `link` means on the page `base` (RFC 3986, section 5.2, as far as links of indexes go).
pub(super) fn join(base: &str, link: &str) -> String {
    if link.contains("://") {
        return link.to_owned();
    }
    let (scheme, rest) = base.split_once("://").unwrap_or(("https", base));
    if let Some(elsewhere) = link.strip_prefix("//") {
        return format!("{scheme}://{elsewhere}");
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if link.starts_with('/') {
        return format!("{scheme}://{authority}{link}");
    }
    let mut parts: Vec<&str> = path.split('/').collect();
    // The page itself.
    parts.pop();
    for part in link.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("{scheme}://{authority}/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_a_page_lead_where_a_browser_would_go() {
        let page = "<!DOCTYPE html><body><a class=x href=\"../../files/a-1.whl#sha256=00\">a</a><br>\n<a href='https://cdn.example/b-1.whl?x=1&amp;y=2'>b</a></body>";
        let found: Vec<_> = links(page).collect();
        assert_eq!(found, ["../../files/a-1.whl#sha256=00", "https://cdn.example/b-1.whl?x=1&y=2"]);
        assert_eq!(found.iter().map(|url| name_of(url)).collect::<Vec<_>>(), ["a-1.whl", "b-1.whl"]);
        let base = "https://user@index.example/root/simple/a/";
        for (link, expected) in [
            ("../../files/a.whl", "https://user@index.example/root/files/a.whl"),
            ("a.whl", "https://user@index.example/root/simple/a/a.whl"),
            ("/f/a.whl", "https://user@index.example/f/a.whl"),
            ("//cdn.example/a.whl", "https://cdn.example/a.whl"),
            ("http://other/a.whl", "http://other/a.whl"),
        ] {
            assert_eq!(join(base, link), expected);
        }
    }
}
