//! Other repositories: where they are, and what Git is told for a command that talks to one.

use crate::{config::refuse_transport, repository::Repository, revision::default_repository};
use gix::url::Scheme;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{
    CallCtx, Effect, Error, Place, Result, Tool,
    ctx::{Remote, Transport},
    tool::PROXY,
};
use std::collections::BTreeMap;

/// What is allowed to be reached, and how; what a repository's configuration says about that is refused.
const TRANSPORT: [&str; 10] = [
    "protocol.allow=never",
    "protocol.http.allow=always",
    "protocol.https.allow=always",
    "protocol.ssh.allow=always",
    "http.sslVerify=true",
    // Of another host than the one that was asked about there is no answer.
    "http.followRedirects=true",
    "fetch.recurseSubmodules=false",
    "push.recurseSubmodules=no",
    "transfer.bundleURI=false",
    "fetch.writeCommitGraph=false",
];

/// For commands that talk to a remote.
pub(crate) fn transport() -> Vec<String> {
    let proxy = format!("http.proxy={PROXY}");
    let all = TRANSPORT.into_iter().map(str::to_owned).chain([proxy]);
    all.flat_map(|setting| ["-c".to_owned(), setting]).collect()
}

/// The default remote.
pub(crate) fn default_remote() -> String {
    "origin".into()
}

/// Asked by the daemon before it opens a way; in no list.
pub(crate) struct GitFindRemote;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Any directory of the repository.
    #[serde(default = "default_repository")]
    repository: String,
    /// The name of a remote.
    #[serde(default = "default_remote")]
    remote: String,
    /// In place of both.
    #[serde(default)]
    url: Option<String>,
}

impl Tool for GitFindRemote {
    const NAME: &'static str = "git_find_remote";
    const SUMMARY: &'static str = "Tell at which host a remote is.";
    const EFFECT: Effect = Effect::Read;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Remote;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Remote> {
        let url = match input.url {
            Some(url) => url,
            None => {
                let repository = Repository::find(ctx.workspace()?, &input.repository)?;
                url_of(ctx, &repository, &input.remote).await?
            }
        };
        host_of(&url)
    }
}

/// The URL that Git would take, rewritten as the configuration says.
async fn url_of(ctx: &CallCtx, repository: &Repository, remote: &str) -> Result<String> {
    check_name(remote)?;
    repository.check_transport()?;
    let known = repository.check(ctx, &[], ["remote"]).await?.text()?;
    if !known.lines().any(|one| one == remote) {
        let known: Vec<&str> = known.lines().collect();
        return Err(Error::not_found(format!(
            "there is no remote `{remote}`; there are: {}",
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        )));
    }
    let url = repository.check(ctx, &[], ["ls-remote", "--get-url", remote]).await?.text()?;
    Ok(url.trim_end().to_owned())
}

fn host_of(url: &str) -> Result<Remote> {
    let parsed = gix::url::parse(url)
        .map_err(|err| Error::invalid_input("the URL of the remote is none").with_source(err))?;
    let transport = match parsed.scheme {
        Scheme::Http => Transport::Http,
        Scheme::Https => Transport::Https,
        Scheme::Ssh => Transport::Ssh,
        other => {
            return Err(Error::invalid_input(format!(
                "the git tools reach remotes by `https`, `ssh` and `http`, and this one is at `{other}`; for others use git in a terminal"
            )));
        }
    };
    match (parsed.host(), parsed.port_or_default()) {
        // Where a way is opened, it would mean all names below.
        (Some(host), Some(_)) if host.contains('*') => {
            Err(Error::invalid_input(format!("`{}` is no host", host.escape_debug())))
        }
        (Some(host), Some(port)) => {
            Ok(Remote { transport, host: host.to_owned(), port, username: parsed.user().map(str::to_owned) })
        }
        _ => Err(Error::invalid_input("the URL of the remote names no host")),
    }
}

/// A name is no option and no URL.
pub(crate) fn check_name(remote: &str) -> Result<()> {
    let is_plain = !remote.is_empty()
        && !remote.starts_with('-')
        && remote.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'));
    if is_plain {
        Ok(())
    } else {
        Err(Error::invalid_input("`remote` is the name of a remote, such as `origin`"))
    }
}

/// A reference that a command moved.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Moved {
    /// Such as `origin/main`, or a tag.
    name: String,
    /// Where it pointed; absent for a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<String>,
    /// Where it points; absent for one that is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<String>,
}

/// Where the references of others, and tags, point.
pub(crate) async fn tracked(ctx: &CallCtx, repository: &Repository) -> Result<BTreeMap<String, String>> {
    // Not what the head of a remote is: it points to one of the others.
    let format = "--format=%(if)%(symref)%(then)%(else)%(refname:short)%1f%(objectname)%(end)";
    let listed = repository.check(ctx, &[], ["for-each-ref", format, "refs/remotes", "refs/tags"]).await?;
    let listed = listed.text()?;
    Ok(listed
        .lines()
        .filter_map(|line| line.split_once('\u{1f}'))
        .map(|(a, b)| (a.into(), b.into()))
        .collect())
}

/// What is different.
pub(crate) fn moved(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<Moved> {
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let moved = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    moved
        .map(|name| Moved {
            name: name.clone(),
            old: before.get(name).cloned(),
            new: after.get(name).cloned(),
        })
        .collect()
}

impl Repository {
    /// Refuses a configuration that says how others are reached.
    pub(crate) fn check_transport(&self) -> Result<()> {
        self.configurations().iter().try_for_each(|path| refuse_transport(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_are_found() {
        for (url, transport, user, host, port) in [
            ("https://example.com/a.git", Transport::Https, None, "example.com", 443),
            ("http://example.com:8080/a", Transport::Http, None, "example.com", 8080),
            ("https://user:secret@example.com/a", Transport::Https, Some("user"), "example.com", 443),
            ("http://127.0.0.1:3000/a", Transport::Http, None, "127.0.0.1", 3000),
            ("git@example.com:a.git", Transport::Ssh, Some("git"), "example.com", 22),
            ("example.com:a.git", Transport::Ssh, None, "example.com", 22),
            ("ssh://git@example.com:2222/a", Transport::Ssh, Some("git"), "example.com", 2222),
        ] {
            let username = user.map(str::to_owned);
            let expected = Remote { transport, host: host.to_owned(), port, username };
            assert_eq!(host_of(url).unwrap(), expected, "{url}");
        }
        for url in
            ["git://example.com/a", "/srv/a", "file:///srv/a", "ext::sh -c id", "", "https://", "ssh://"]
        {
            assert!(host_of(url).is_err(), "{url}");
        }
    }
}
