//! Downloads: what arrives is kept, so that an interrupted one goes on, and is used once its hash is right.

use super::Progress;
use sha2::{Digest as _, Sha256};
use skynet_core::{Error, Result};
use skynet_web::{Authorities, tls};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};
use ureq::{
    Agent, Body,
    http::{Response, Uri, header},
};

const CONNECT: Duration = Duration::from_secs(30);

/// A server that sends nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);

/// Connections for one file, each from where the last one broke.
const ATTEMPTS: usize = 4;

/// Of a page of an index: that of a large package has some megabytes.
const MOST_PAGE_BYTES: u64 = 64 << 20;

/// How often one is told how far it is.
const TELL_EVERY: u64 = 1 << 20;

/// Asks servers.
pub(crate) struct Client {
    agent: Agent,
    /// For Hugging Face alone.
    token: Option<String>,
}

/// A page.
pub(super) struct Page {
    /// Where it was in the end.
    pub(super) url: String,
    pub(super) media_type: String,
    pub(super) body: Vec<u8>,
}

/// A file that is wanted.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) url: String,
    /// In hexadecimal.
    pub(super) sha256: Option<String>,
    pub(super) size_bytes: Option<u64>,
    /// For people.
    pub(super) name: String,
    /// Whether the token for Hugging Face is shown.
    pub(super) is_hub: bool,
}

impl Client {
    /// # Errors
    /// `InvalidInput` for certificates that cannot be used.
    pub(crate) fn new(certificates: Option<&Path>, token: Option<String>) -> Result<Self> {
        let trusted = trusted(certificates)?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .tls_config(tls(trusted.as_ref()));
        Ok(Self { agent: config.build().new_agent(), token })
    }

    /// The page at `url`; `None` if there is none.
    pub(super) fn page(&self, url: &str, accepted: &str) -> Result<Option<Page>> {
        use ureq::ResponseExt as _;
        let mut response = self
            .agent
            .get(url)
            .header(header::ACCEPT, accepted)
            .call()
            .map_err(|err| silent(url).with_source(err))?;
        match response.status().as_u16() {
            200 => {}
            404 => return Ok(None),
            status => return Err(refused(url, status)),
        }
        let text = |name: header::HeaderName| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        let media_type = text(header::CONTENT_TYPE);
        let url = response.get_uri().to_string();
        let body = response.body_mut().with_config().limit(MOST_PAGE_BYTES).read_to_vec();
        Ok(Some(Page { body: body.map_err(|err| silent(&url).with_source(err))?, url, media_type }))
    }

    /// What the hub says of a file without sending it: its sha256, if it is a large one, and its size. `None` if there is no such file.
    pub(super) fn hub_file(&self, url: &str) -> Result<Option<(Option<String>, Option<u64>)>> {
        let request = self.agent.head(url).config().max_redirects(0).max_redirects_will_error(false).build();
        let request = match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        };
        let response = request.call().map_err(|err| hub_silent(url).with_source(err))?;
        let status = response.status().as_u16();
        match status {
            200..=399 => {}
            404 => return Ok(None),
            401 | 403 => {
                return Err(Error::unavailable(format!(
                    "`{}` is not for everybody: set HF_TOKEN for the daemon",
                    shown(url)
                )));
            }
            _ => return Err(refused(url, status)),
        }
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let hash = text("x-linked-etag").map(|hash| hash.trim_matches('"').to_owned());
        let size = text("x-linked-size").and_then(|size| size.parse().ok());
        // It becomes the name of a file.
        let is_hash = |hash: &String| {
            hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        Ok(Some((hash.filter(is_hash), size)))
    }

    /// Has the file in `directory`, from an earlier attempt as far as that went; its path there.
    pub(super) fn download(
        &self,
        wanted: &Wanted,
        directory: &Path,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<PathBuf> {
        let key = wanted.sha256.clone().unwrap_or_else(|| hex(&Sha256::digest(wanted.url.as_bytes())));
        let (whole, part) = (directory.join(&key), directory.join(format!("{key}.part")));
        let cannot =
            |err: io::Error| Error::unavailable(format!("`{}` cannot be kept", wanted.name)).with_source(err);
        // Of an attempt that got that far.
        if let Some(expected) = &wanted.sha256
            && hash_of(&whole).is_ok_and(|found| found == *expected)
        {
            return Ok(whole);
        }
        fs::create_dir_all(directory).map_err(cannot)?;
        if wanted.sha256.is_none() && part.exists() {
            // It may be the beginning of another version, and nothing would tell.
            fs::remove_file(&part).map_err(cannot)?;
        }
        let mut failure = None;
        for _ in 0..ATTEMPTS {
            match self.go_on(wanted, &part, progress) {
                Ok(()) => {
                    failure = None;
                    break;
                }
                Err(err) => failure = Some(err),
            }
        }
        if let Some(err) = failure {
            return Err(Error::unavailable(format!(
                "`{}` did not arrive whole: {err}; what came is kept, and the same command goes on from there",
                wanted.name
            )));
        }
        if let Some(expected) = &wanted.sha256 {
            progress(Progress::step(&wanted.name, "verify"));
            let found = hash_of(&part).map_err(cannot)?;
            if found != *expected {
                fs::remove_file(&part).map_err(cannot)?;
                return Err(Error::conflict(format!(
                    "`{}` from `{}` is not what it should be: its sha256 is {found}, expected {expected}; it was removed, try another source with `--from`",
                    wanted.name,
                    shown(&wanted.url)
                )));
            }
        }
        File::open(&part).and_then(|file| file.sync_all()).map_err(cannot)?;
        fs::rename(&part, &whole).map_err(cannot)?;
        Ok(whole)
    }

    /// One connection.
    fn go_on(&self, wanted: &Wanted, part: &Path, progress: &mut dyn FnMut(Progress)) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).read(true).open(part)?;
        let mut there = file.metadata()?.len();
        if there > 0 && wanted.size_bytes == Some(there) {
            return Ok(());
        }
        let mut request = self.agent.get(&wanted.url);
        if there > 0 {
            request = request.header(header::RANGE, format!("bytes={there}-"));
        }
        if let Some(token) = self.token.as_ref().filter(|_| wanted.is_hub) {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = request.call().map_err(io::Error::other)?;
        match response.status().as_u16() {
            206 if starts_at(&response, there) => {}
            // It sends all of it, or what is there is not of this file.
            200 | 206 | 416 if there > 0 => {
                file.set_len(0)?;
                file.rewind()?;
                if response.status().as_u16() != 200 {
                    return Err(io::Error::other("the server does not go on where it stopped"));
                }
                there = 0;
            }
            200 => {}
            status => return Err(io::Error::other(format!("the server answers {status}"))),
        }
        let total = wanted.size_bytes.or_else(|| Some(there + response.body().content_length()?));
        let mut reader = response.into_body().into_reader();
        let mut buffer = vec![0; 128 << 10];
        let mut told = there;
        loop {
            let count = reader.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            file.write_all(buffer.get(..count).unwrap_or_default())?;
            there += count as u64;
            if wanted.size_bytes.is_some_and(|size| there > size) {
                file.set_len(0)?;
                return Err(io::Error::other("the server sends more than the file has"));
            }
            if there - told >= TELL_EVERY {
                told = there;
                progress(Progress { what: wanted.name.clone(), step: "download", done: there, total });
            }
        }
        progress(Progress { what: wanted.name.clone(), step: "download", done: there, total });
        match total {
            Some(total) if there < total => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// Whether a part begins where it was asked for (RFC 9110, section 14.4).
fn starts_at(response: &Response<Body>, there: u64) -> bool {
    let range = response.headers().get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {there}-")))
}

/// Those of a file, or those that the host trusts; a host that trusts nobody has none.
pub(crate) fn trusted(file: Option<&Path>) -> Result<Option<Authorities>> {
    match file {
        Some(file) => {
            Authorities::of_file(file).map(Some).map_err(|err| Error::invalid_input(err.to_string()))
        }
        None => Ok(Authorities::of_host().ok()),
    }
}

/// An address without who asks.
pub(super) fn shown(url: &str) -> String {
    let Ok(uri) = url.parse::<Uri>() else { return url.split('@').next_back().unwrap_or_default().into() };
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{}://{host}{}", uri.scheme_str().unwrap_or("https"), uri.path())
}

fn silent(url: &str) -> Error {
    Error::unavailable(format!(
        "`{}` does not answer; name another index in pip.conf or PIP_INDEX_URL, or bring the files by `--from DIRECTORY`",
        shown(url)
    ))
}

fn hub_silent(url: &str) -> Error {
    Error::unavailable(format!(
        "`{}` does not answer; name a mirror of Hugging Face in `models.hub` or HF_ENDPOINT, or bring the model by `--from DIRECTORY`",
        shown(url)
    ))
}

fn refused(url: &str, status: u16) -> Error {
    Error::unavailable(format!("`{}` answers {status}", shown(url)))
}

/// Of a file, in hexadecimal.
pub(crate) fn hash_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 256 << 10]);
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(buffer.get(..count).unwrap_or_default());
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from_digit(half.into(), 16).unwrap_or('0'));
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        assert_eq!(shown("https://ann:secret@index.example/simple/x/"), "https://index.example/simple/x/");
        assert_eq!(hex(&[0, 171, 255]), "00abff");
    }
}
