//! Images: which there are, what is in them, how they come and go.

use crate::{
    Client, Engine, ImageName,
    client::Stream,
    failure::About,
    files::{Copied, Packer, inside, pieces},
    time::{moment, rfc3339},
};
use bollard::{
    auth::DockerCredentials,
    models::{BuildInfo, ErrorDetail, ProgressDetail},
    query_parameters::{
        CreateImageOptions, ImportImageOptions, ListImagesOptions, PushImageOptions, RemoveImageOptions,
        TagImageOptions,
    },
};
use schemars::JsonSchema;
use serde::Serialize;
use skynet_core::{CallCtx, Error, Result};
use std::collections::BTreeMap;

/// An image in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Image {
    /// The beginning of its id.
    pub id: String,
    /// Names with tags; none if it was replaced by a newer one.
    pub tags: Vec<String>,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// With all its layers.
    pub size_bytes: i64,
}

/// An image as a whole.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ShownImage {
    /// Its id.
    pub id: String,
    /// Names with tags.
    pub tags: Vec<String>,
    /// Names with digests, of what registries have.
    pub digests: Vec<String>,
    /// When it was made, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// Like `linux/amd64`.
    pub platform: String,
    /// With all its layers.
    pub size_bytes: i64,
    /// What is run of it, with the entry point.
    pub command: Vec<String>,
    /// As whom; root if empty.
    pub user: String,
    /// Where.
    pub working_directory: String,
    /// Names of its variables.
    pub environment: Vec<String>,
    /// What its containers listen at.
    pub ports: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How it was made, newest step first.
    pub history: Vec<Step>,
}

/// A step of how an image was made.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Step {
    /// What was done.
    pub command: String,
    /// What it added.
    pub size_bytes: i64,
    /// When, RFC 3339.
    pub created_at: String,
}

/// What became of an image.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Transferred {
    /// Its name, with tag or digest.
    pub image: String,
    /// What the engine said last.
    pub status: String,
    /// How many layers there were.
    pub layers: usize,
}

/// What came of removing an image.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Removed {
    /// Names that are gone.
    pub untagged: Vec<String>,
    /// How many layers are gone.
    pub deleted_layers: usize,
}

impl Client {
    /// The images, newest first; only with this in a name or id.
    ///
    /// # Errors
    /// What the engine says.
    pub async fn list_images(&self, name: Option<&str>, dangling: bool) -> Result<Vec<Image>> {
        let found = self.ask(About::Engine, self.docker.list_images(None::<ListImagesOptions>)).await?;
        let mut images: Vec<Image> = found
            .into_iter()
            .map(|one| Image {
                id: crate::containers::short(Some(&one.id)),
                tags: one.repo_tags.into_iter().filter(|tag| tag != "<none>:<none>").collect(),
                created_at: rfc3339(one.created),
                size_bytes: one.size,
            })
            .collect();
        images.retain(|image| !dangling || image.tags.is_empty());
        images.retain(|image| {
            name.is_none_or(|part| image.tags.iter().any(|tag| tag.contains(part)) || image.id.contains(part))
        });
        images.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| a.tags.cmp(&b.tags)));
        Ok(images)
    }

    /// One image.
    ///
    /// # Errors
    /// `NotFound` with the names near it.
    pub async fn show_image(&self, name: &ImageName) -> Result<ShownImage> {
        let about = About::Image(name);
        let found = self.ask(about, self.docker.inspect_image(name)).await?;
        let history = self.ask(about, self.docker.image_history(name)).await?;
        let config = found.config.unwrap_or_default();
        let command = config.entrypoint.unwrap_or_default().into_iter().chain(config.cmd.unwrap_or_default());
        let environment = config.env.unwrap_or_default();
        let platform = [found.os, found.architecture].map(Option::unwrap_or_default).join("/");
        Ok(ShownImage {
            id: found.id.unwrap_or_default(),
            tags: found.repo_tags.unwrap_or_default(),
            digests: found.repo_digests.unwrap_or_default(),
            created_at: moment(found.created.as_deref()),
            platform,
            size_bytes: found.size.unwrap_or_default(),
            command: command.collect(),
            user: config.user.unwrap_or_default(),
            working_directory: config.working_dir.unwrap_or_default(),
            environment: environment
                .iter()
                .filter_map(|variable| variable.split('=').next().map(str::to_owned))
                .collect(),
            ports: config.exposed_ports.unwrap_or_default(),
            labels: config.labels.unwrap_or_default().into_iter().collect(),
            history: history
                .into_iter()
                .map(|step| Step {
                    command: crate::containers::cut(&step.created_by),
                    size_bytes: step.size,
                    created_at: rfc3339(step.created),
                })
                .collect(),
        })
    }

    /// Fetches an image from a registry; each layer is shown as it comes.
    ///
    /// # Errors
    /// What the registry says.
    pub async fn pull_image(
        &self,
        ctx: &CallCtx,
        name: &ImageName,
        platform: Option<&str>,
        credentials: Option<(String, String)>,
    ) -> Result<Transferred> {
        let about = About::Image(name);
        let (image, tag) = name.split();
        let options = CreateImageOptions {
            from_image: Some(image.to_owned()),
            tag: (!tag.is_empty()).then(|| tag.to_owned()),
            platform: platform.unwrap_or_default().to_owned(),
            ..CreateImageOptions::default()
        };
        let credentials = credentials.map(|pair| credentials_for(name, pair));
        let mut stream: Stream<'_, _> = Box::pin(self.docker.create_image(Some(options), None, credentials));
        let mut layers = Layers::default();
        while let Some(info) = self.next(about, &mut stream).await? {
            failed(about, info.error_detail.as_ref())?;
            layers.hear(ctx, info.id.as_deref(), info.status.as_deref(), info.progress_detail.as_ref());
        }
        Ok(layers.end(name))
    }

    /// Sends an image to the registry that its name names.
    ///
    /// # Errors
    /// What the registry says.
    pub async fn push_image(
        &self,
        ctx: &CallCtx,
        name: &ImageName,
        credentials: Option<(String, String)>,
    ) -> Result<Transferred> {
        let about = About::Image(name);
        let (image, tag) = name.split();
        // Of a name that there is not the engine only says so in a stream, and of some never.
        self.ask(about, self.docker.inspect_image(name)).await?;
        let options = PushImageOptions { tag: Some(tag.to_owned()), ..PushImageOptions::default() };
        // The engine wants some even where the registry does not.
        let credentials =
            credentials.map_or_else(DockerCredentials::default, |pair| credentials_for(name, pair));
        let mut stream: Stream<'_, _> =
            Box::pin(self.docker.push_image(image, Some(options), Some(credentials)));
        let mut layers = Layers::default();
        while let Some(info) = self.next(about, &mut stream).await? {
            failed(about, info.error_detail.as_ref())?;
            // Here layers have no names.
            layers.hear(ctx, None, info.status.as_deref(), info.progress_detail.as_ref());
        }
        Ok(layers.end(name))
    }

    /// Gives an image another name.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn tag_image(&self, name: &ImageName, new: &ImageName) -> Result<()> {
        let (repo, tag) = new.split();
        if tag.is_empty() {
            return Err(Error::invalid_input("a digest is what an image is; give it a name and a tag"));
        }
        let options = TagImageOptions { repo: Some(repo.to_owned()), tag: Some(tag.to_owned()) };
        self.ask(About::Image(name), self.docker.tag_image(name, Some(options))).await
    }

    /// Removes a name of an image, and the image with its last one.
    ///
    /// # Errors
    /// `Conflict` for one that a container uses, unless it is removed by force.
    pub async fn remove_image(&self, name: &ImageName, force: bool) -> Result<Removed> {
        let options = RemoveImageOptions { force, ..RemoveImageOptions::default() };
        let removed = self.docker.remove_image(name, Some(options), None);
        let removed = self.ask(About::Image(name), removed).await?;
        Ok(Removed {
            deleted_layers: removed.iter().filter(|one| one.deleted.is_some()).count(),
            untagged: removed.into_iter().filter_map(|one| one.untagged).collect(),
        })
    }

    /// Writes images into a file of the workspace.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn save_images(
        &self,
        engine: &Engine,
        ctx: &CallCtx,
        names: &[ImageName],
        path: &str,
    ) -> Result<Copied> {
        let path = inside(ctx, path)?.as_path().display().to_string();
        // The engine would leave out what is not there.
        for name in names {
            self.ask(About::Image(name), self.docker.inspect_image(name)).await?;
        }
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        let argv = ["sh", "-c", "exec cat > \"$1\"", "-", &format!("./{path}")].map(str::to_owned).to_vec();
        let stream: Stream<'_, bytes::Bytes> = Box::pin(self.docker.export_images(&names));
        self.unpack(engine, ctx, About::Engine, stream, argv).await
    }

    /// Loads images from a file of the workspace; their names, or ids where they have none.
    ///
    /// # Errors
    /// `NotFound` for the file, `InvalidInput` for one that holds no images.
    pub async fn load_images(&self, engine: &Engine, ctx: &CallCtx, path: &str) -> Result<Vec<String>> {
        let path = inside(ctx, path)?.as_path().display().to_string();
        let argv = ["cat", "--", &path].map(str::to_owned).to_vec();
        let (packer, pipe) = Packer::reading(engine, ctx, argv).await?;
        let body = bollard::body_stream(pieces(pipe, |_| ()));
        let options = ImportImageOptions { quiet: true, ..ImportImageOptions::default() };
        let mut stream: Stream<'_, BuildInfo> = Box::pin(self.docker.import_image(options, body, None));
        let mut loaded = Vec::new();
        let heard = async {
            while let Some(info) = self.next(About::Engine, &mut stream).await? {
                failed(About::Engine, info.error_detail.as_ref())?;
                let said = info.stream.unwrap_or_default();
                let name = said.trim().strip_prefix("Loaded image").and_then(|rest| rest.split_once(": "));
                loaded.extend(name.map(|(_, name)| name.to_owned()));
            }
            Ok::<_, Error>(())
        };
        let heard = heard.await;
        match &heard {
            Ok(()) => packer.finish(ctx).await.map(drop),
            Err(err) => packer.give_up(ctx, err).await,
        }?;
        heard?;
        if loaded.is_empty() {
            return Err(Error::invalid_input(format!(
                "`{path}` holds no images; `docker_save_images` writes such a file"
            )));
        }
        Ok(loaded)
    }
}

/// The host of a registry, as secrets know it.
#[must_use]
pub fn registry_of(name: &ImageName) -> String {
    server_of(name).map_or("docker.io", |host| host.split(':').next().unwrap_or(host)).to_owned()
}

/// The registry that a name begins with, its port included; without one it is that of Docker. As distribution/reference
/// tells them from names (`splitDockerDomain`), where what has a capital is no name either.
fn server_of(name: &ImageName) -> Option<&str> {
    let (first, _) = name.split_once('/')?;
    let has_capital = first.bytes().any(|byte| byte.is_ascii_uppercase());
    (first.contains(['.', ':']) || first == "localhost" || has_capital).then_some(first)
}

/// What a client of Docker calls its own registry, and each store of an engine knows it by.
const OWN_REGISTRY: &str = "https://index.docker.io/v1/";

fn credentials_for(name: &ImageName, (username, password): (String, String)) -> DockerCredentials {
    DockerCredentials {
        username: Some(username),
        password: Some(password),
        serveraddress: Some(server_of(name).unwrap_or(OWN_REGISTRY).to_owned()),
        ..DockerCredentials::default()
    }
}

fn failed(about: About<'_>, detail: Option<&ErrorDetail>) -> Result<()> {
    match detail.and_then(|detail| detail.message.as_deref()) {
        Some(message) => Err(Error::unavailable(format!("{about}: {message}"))),
        None => Ok(()),
    }
}

/// Layers on their way.
#[derive(Default)]
struct Layers {
    /// How much of each is here, and of how much.
    known: BTreeMap<String, (i64, i64)>,
    status: String,
    heard: f64,
}

impl Layers {
    fn hear(
        &mut self,
        ctx: &CallCtx,
        id: Option<&str>,
        status: Option<&str>,
        detail: Option<&ProgressDetail>,
    ) {
        self.heard += 1.0;
        let status = status.unwrap_or_default();
        if let (Some(id), Some(current), Some(total)) =
            (id, detail.and_then(|detail| detail.current), detail.and_then(|detail| detail.total))
        {
            self.known.insert(id.to_owned(), (current, total));
        } else if let Some(id) = id.filter(|_| status == "Pull complete") {
            self.known.entry(id.to_owned()).or_default();
        }
        if id.is_none() && !status.is_empty() {
            status.clone_into(&mut self.status);
        }
        let sum = |of: fn(&(i64, i64)) -> i64| self.known.values().map(of).sum::<i64>();
        let (done, total) = (sum(|one| one.0), sum(|one| one.1));
        let what = id.map_or_else(|| status.to_owned(), |id| format!("{id}: {status}"));
        let text = if total > 0 { format!("{what} ({} of {} KiB)", done >> 10, total >> 10) } else { what };
        ctx.progress(self.heard, None, text);
    }

    fn end(self, name: &ImageName) -> Transferred {
        Transferred { image: name.to_string(), status: self.status, layers: self.known.len() }
    }
}
