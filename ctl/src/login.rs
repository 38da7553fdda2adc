//! `skynetctl secret login`: has a browser, or a person with another device, agree at a provider. What comes of that are tokens, which
//! the daemon gets and keeps; none of them ever comes here.

use crate::{
    callback::Callback,
    daemon::Daemon,
    output::{Failure, Output, time},
    secret::{hidden, to_json},
};
use clap::Args;
use skynet_proto::{BeginLoginRequest, FinishLoginRequest, OauthGrant, Secret};
use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};
use tempfile::NamedTempFile;

/// What is said where no browser can be opened: on a host without a desktop, or by a program that is confined.
const NO_BROWSER: &str = "No browser can be opened here. Open that address in one of this host yourself, or end this and call it again with `--device`, which shows a code to enter on any other device.\n";

#[derive(Args)]
pub(crate) struct Arguments {
    /// As for `set`. Of a login that was there before, what is left out stays as it was.
    name: String,
    /// A provider that is known by name: `google`.
    #[arg(long, conflicts_with = "issuer")]
    provider: Option<String>,
    /// Any other, by the URL of its issuer, which says where things are (OpenID Connect, RFC 8414).
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    /// What tokens are for, as the provider names it. May be given more than once.
    #[arg(long)]
    scope: Vec<String>,
    /// The client that you have made at the provider: for Google, a desktop app, or one for limited input with `--device`.
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// Read the client's secret from stdin; on a terminal it is asked for and not shown.
    #[arg(long, requires = "client_id")]
    client_secret_stdin: bool,
    /// A host that a command which gets a token may reach, as for `set`.
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    /// Show a code to enter on another device, for hosts without a browser.
    #[arg(long)]
    device: bool,
    /// Open no browser: only say what to open.
    #[arg(long, conflicts_with = "device")]
    no_browser: bool,
    /// Replace another secret of that name.
    #[arg(long)]
    replace: bool,
}

pub(crate) async fn run(daemon: &Daemon, arguments: Arguments, output: &mut Output) -> Result<(), Failure> {
    let mut client = daemon.secrets().await?;
    let client_secret = if arguments.client_secret_stdin {
        let secret = hidden(&format!(
            "Secret of the client `{}`",
            arguments.client_id.as_deref().unwrap_or_default()
        ))?;
        String::from_utf8(secret).map_err(|_| Failure::usage("the client's secret is no text"))?
    } else {
        String::new()
    };
    if arguments.client_secret_stdin && client_secret.is_empty() {
        return Err(Failure::usage(
            "the client's secret is empty; pipe it in, or leave out `--client-secret-stdin`",
        ));
    }
    // The port is open before anybody is sent there.
    let callback = if arguments.device { None } else { Some(Callback::open().await?) };
    let begin = BeginLoginRequest {
        name: arguments.name,
        provider: arguments.provider.unwrap_or_default(),
        issuer: arguments.issuer.unwrap_or_default(),
        client_id: arguments.client_id.unwrap_or_default(),
        client_secret,
        scopes: arguments.scope,
        hosts: arguments.host,
        replace: arguments.replace,
        redirect_uri: callback.as_ref().map(Callback::redirect_uri).unwrap_or_default(),
    };
    let begun = client.begin_login(begin).await?.into_inner();
    let mut finish = FinishLoginRequest { id: begun.id, ..FinishLoginRequest::default() };
    if let Some(callback) = callback {
        // To stderr: stdout is for what comes of it.
        eprintln!("Open this in a browser of this host to log in:\n\n  {}\n", begun.url);
        // Until the browser has come back.
        let page = if arguments.no_browser { None } else { open(&begun.url) };
        if page.is_none() && !arguments.no_browser {
            eprintln!("{NO_BROWSER}");
        }
        let brought = callback.wait(&begun.state).await?;
        drop(page);
        (finish.code, finish.state, finish.issuer) = (brought.code, begun.state, brought.issuer);
    } else {
        let minutes = begun.expires_in_seconds / 60;
        eprintln!(
            "Open {} on any device, and enter within {minutes} minutes:\n\n  {}\n",
            begun.url, begun.user_code
        );
        if !begun.whole_url.is_empty() {
            eprintln!("Or open {}\n", begun.whole_url);
        }
    }
    let secret = client.finish_login(finish).await?.into_inner();
    output.show(&to_json(&secret), || said(&secret))
}

fn said(secret: &Secret) -> String {
    let name = &secret.name;
    let OauthGrant { provider, state, expires_at, .. } = secret.grant.clone().unwrap_or_default();
    let end = if state == "ending" {
        format!(
            "\n`{provider}` gave nothing to renew it with, so it ends at {}; many providers want the scope `offline_access` for that",
            time(expires_at.as_ref())
        )
    } else {
        String::new()
    };
    format!(
        "`{name}` is an access token of `{provider}`, kept fresh; a command gets it as a variable whose value is `secret://{name}`{end}"
    )
}

/// With the desktop's browser, if there is a desktop. Arguments of a program can be read by everybody (proc(5)), so what it opens is a
/// page of this user's that leads there; it is there until what this returns is dropped.
fn open(url: &str) -> Option<NamedTempFile> {
    let is_desktop = ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    // XDG Base Directory Specification: nobody else gets in there, and a path that is not absolute counts for none.
    let directory = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let directory = directory.filter(|directory| is_desktop && directory.is_absolute())?;
    // Made with O_EXCL and mode 0600 (tempfile). Without it, what to open was said.
    let file = tempfile::Builder::new().prefix("skynet-login-").suffix(".html").tempfile_in(directory);
    let mut file = file.ok()?;
    file.write_all(page(url).as_bytes()).ok()?;
    let path = file.path().to_owned();
    std::thread::spawn(move || {
        let mut command = Command::new("xdg-open");
        command.arg(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // What confines a program may refuse it this one, or the page (snap, Flatpak).
        if !command.status().is_ok_and(|status| status.success()) {
            eprintln!("{NO_BROWSER}");
        }
    });
    Some(file)
}

/// What leads a browser to this URL.
fn page(url: &str) -> String {
    let mut place = String::with_capacity(url.len());
    for letter in url.chars() {
        match letter {
            '&' => place.push_str("&amp;"),
            '<' => place.push_str("&lt;"),
            '>' => place.push_str("&gt;"),
            '"' => place.push_str("&quot;"),
            '\'' => place.push_str("&#39;"),
            other => place.push(other),
        }
    }
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=referrer content=no-referrer><title>Log in</title>\
         <meta http-equiv=refresh content=\"0;url={place}\"><p><a href=\"{place}\">Log in</a>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_leads_to_the_url_and_nothing_in_it_ends_that() {
        let page = page("https://id.example.org/?a=1&b=\"><script>'");
        let place = "https://id.example.org/?a=1&amp;b=&quot;&gt;&lt;script&gt;&#39;";
        assert!(page.contains(&format!("content=\"0;url={place}\"")), "{page}");
        assert!(page.contains(&format!("href=\"{place}\"")) && !page.contains("<script"), "{page}");
    }
}
