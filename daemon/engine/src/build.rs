//! Images built of directories of the workspace.

use crate::{
    Client, Engine, ImageName,
    client::{Kind, Stream},
    context::Context,
    failure::About,
    files::{inside, pieces},
};
use bollard::{models::BuildInfo, query_parameters::BuildImageOptions};
use schemars::JsonSchema;
use serde::Serialize;
use skynet_core::{CallCtx, Error, Result};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::{Component, Path},
};

/// Of what a build says; the rest was shown while it was said.
const MOST_BUILD_LINES: usize = 400;

/// Of one line of that.
const LONGEST: usize = 2000;

/// How an image is built.
#[derive(Clone, Debug)]
pub struct Build {
    /// A directory of the workspace.
    pub context: String,
    /// Below it.
    pub dockerfile: String,
    /// Its name.
    pub tag: Option<ImageName>,
    /// Values of `ARG`.
    pub arguments: BTreeMap<String, String>,
    /// Where to end.
    pub target: Option<String>,
    /// Whether nothing is taken from builds before.
    pub no_cache: bool,
    /// Whether newer images are looked for.
    pub pull: bool,
    /// Whether its steps are in a network.
    pub network: bool,
}

/// A build that went well.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Built {
    /// The id of the image.
    pub image_id: String,
    /// What the build said, the last of it.
    pub log: Vec<String>,
    /// How many lines before are left out.
    pub left_out: u64,
    /// What was sent to the engine.
    pub context_bytes: u64,
}

/// A network of its own for each step, in Podman's words: without them its steps are in the host's, whatever the mode is
/// (containers/podman, `pkg/api/handlers/compat/images_build.go`, `nsoptions`).
const OWN_NETWORK: &str = "nsoptions=%5B%7B%22Name%22%3A%22network%22%7D%5D";

/// How an engine is told whether the steps of a build are in a network: by the mode, and by more that only it knows. Docker's
/// own network is the default; to Podman `none` is no mode, and is passed over.
const fn network_of(kind: Kind, network: bool) -> (Option<&'static str>, Option<&'static str>) {
    match (kind, network) {
        (Kind::Docker, true) => (None, None),
        (Kind::Docker, false) => (Some("none"), None),
        (Kind::Podman, true) => (Some("NetworkEnabled"), Some(OWN_NETWORK)),
        (Kind::Podman, false) => (Some("NetworkDisabled"), Some(OWN_NETWORK)),
    }
}

/// Whether an engine finds it in what is sent, and nowhere else: some take an address, or a list.
fn is_below(path: &str) -> bool {
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    !path.is_empty()
        && !path.starts_with('[')
        && !path.contains("://")
        && Path::new(path).components().all(is_plain)
}

impl Client {
    /// Builds an image of a directory of the workspace; what the build says is shown as it comes.
    ///
    /// # Errors
    /// `Conflict` with the end of the log when a step fails, `NotFound` for a context that is not there.
    pub async fn build_image(&self, engine: &Engine, ctx: &CallCtx, build: &Build) -> Result<Built> {
        let directory = inside(ctx, &build.context)?.as_path().display().to_string();
        if !is_below(&build.dockerfile) {
            return Err(Error::invalid_input(format!("`{}` is no path below `context`", build.dockerfile)));
        }
        let kind = self.kind().await?;
        let (mode, more) = network_of(kind, build.network);
        if let Some(more) = more {
            self.say_with_builds(more);
        }
        let Context { packer, archive, sorting } =
            Context::pack(engine, ctx, kind, &directory, &build.dockerfile).await?;
        let sent = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let count = sent.clone();
        let body = pieces(archive, move |bytes| count.store(bytes, std::sync::atomic::Ordering::Relaxed));
        let options = BuildImageOptions {
            dockerfile: build.dockerfile.clone(),
            t: build.tag.as_ref().map(ToString::to_string),
            nocache: build.no_cache,
            pull: build.pull.then(|| "1".to_owned()),
            rm: true,
            forcerm: true,
            buildargs: Some(build.arguments.clone().into_iter().collect::<HashMap<_, _>>()),
            target: build.target.clone().unwrap_or_default(),
            networkmode: mode.map(str::to_owned),
            ..BuildImageOptions::default()
        };
        let stream = self.docker.build_image(options, None, Some(bollard::body_stream(body)));
        let mut stream: Stream<'_, BuildInfo> = Box::pin(stream);
        let mut log = BuildLog::default();
        let heard = async {
            while let Some(info) = self.next(About::Engine, &mut stream).await? {
                log.hear(ctx, info)?;
            }
            Ok(())
        };
        let sorted = async {
            match sorting {
                Some(sorting) => sorting.run(ctx).await,
                None => Ok(()),
            }
        };
        let (heard, sorted) = both(heard, sorted).await;
        // Before the archive that was cut off because of it.
        sorted?;
        // What was wrong with the files is why the engine did not like the archive.
        let packed = match &heard {
            Ok(()) => packer.finish(ctx).await.map(drop),
            Err(err) => packer.give_up(ctx, err).await,
        };
        packed?;
        if let Err(err) = heard {
            return Err(log.explain(err));
        }
        let image_id = log.image_id.clone().ok_or_else(|| Error::unavailable("the engine built no image"))?;
        Ok(Built {
            image_id,
            left_out: log.lost,
            log: log.lines.into(),
            context_bytes: sent.load(std::sync::atomic::Ordering::Relaxed),
        })
    }
}

/// How the engine took the archive, and how its names were sorted: where the engine ends first, nobody waits for names any more, and
/// where sorting fails, nobody waits for the engine.
async fn both(
    heard: impl Future<Output = Result<()>>,
    sorted: impl Future<Output = Result<()>>,
) -> (Result<()>, Result<()>) {
    let mut heard = std::pin::pin!(heard);
    tokio::select! {
        biased;
        sorted = sorted => match sorted {
            Ok(()) => (heard.await, Ok(())),
            Err(err) => (Ok(()), Err(err)),
        },
        heard = &mut heard => (heard, Ok(())),
    }
}

/// What a build says.
#[derive(Default)]
struct BuildLog {
    lines: VecDeque<String>,
    lost: u64,
    heard: f64,
    image_id: Option<String>,
}

impl BuildLog {
    fn hear(&mut self, ctx: &CallCtx, info: BuildInfo) -> Result<()> {
        if let Some(id) = info.aux.and_then(|aux| aux.id) {
            self.image_id = Some(id);
        }
        let said = info.stream.or(info.status).unwrap_or_default();
        for line in said.lines().filter(|line| !line.trim().is_empty()) {
            let line = line.get(..line.floor_char_boundary(LONGEST)).unwrap_or(line);
            self.heard += 1.0;
            ctx.progress(self.heard, None, line);
            self.lines.push_back(line.to_owned());
            if self.lines.len() > MOST_BUILD_LINES {
                self.lines.pop_front();
                self.lost += 1;
            }
        }
        match info.error_detail.and_then(|detail| detail.message) {
            Some(message) => Err(Error::conflict(message)),
            None => Ok(()),
        }
    }

    /// The same error, with the lines that led to it.
    fn explain(&self, err: Error) -> Error {
        const MOST: usize = 15;
        if self.lines.is_empty() || err.kind == skynet_core::ErrorKind::Canceled {
            return err;
        }
        let last: Vec<&str> =
            self.lines.iter().skip(self.lines.len().saturating_sub(MOST)).map(String::as_str).collect();
        Error::conflict(format!("the build failed: {}; its last lines: {}", err.message, last.join(" | ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_build_is_in_the_network_of_the_host() {
        // What an engine does that is told nothing: Docker makes a network of its own, Podman takes the host's.
        assert_eq!(network_of(Kind::Docker, true), (None, None));
        assert_eq!(network_of(Kind::Docker, false), (Some("none"), None));
        for (network, mode) in [(true, "NetworkEnabled"), (false, "NetworkDisabled")] {
            let (told, more) = network_of(Kind::Podman, network);
            assert_eq!(told, Some(mode));
            let more = more.unwrap_or_default().replace("%5B", "[").replace("%5D", "]");
            let more = more.replace("%7B", "{").replace("%7D", "}").replace("%22", "\"").replace("%3A", ":");
            assert_eq!(more, r#"nsoptions=[{"Name":"network"}]"#);
        }
    }
}
