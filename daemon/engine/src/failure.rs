//! What the engine refuses, in words that say what would work.

use crate::Client;
use bollard::{
    errors::Error as Failure,
    query_parameters::{ListContainersOptions, ListImagesOptions, ListNetworksOptions, ListVolumesOptions},
};
use skynet_core::{Error, ErrorKind, registry::nearest};
use std::fmt;

/// Names that are told where one is not found.
const MOST_NAMES: usize = 5;

/// What a request is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum About<'a> {
    Container(&'a str),
    Image(&'a str),
    Network(&'a str),
    Volume(&'a str),
    /// A file or directory in a container.
    Path(&'a str),
    Engine,
}

impl fmt::Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(name) => write!(f, "container `{name}`"),
            Self::Image(name) => write!(f, "image `{name}`"),
            Self::Network(name) => write!(f, "network `{name}`"),
            Self::Volume(name) => write!(f, "volume `{name}`"),
            Self::Path(path) => write!(f, "`{path}` of the container"),
            Self::Engine => write!(f, "the container engine"),
        }
    }
}

/// What a failure means for the caller.
pub(crate) async fn explain(client: &Client, about: About<'_>, failure: Failure) -> Error {
    match failure {
        Failure::DockerResponseServerError { status_code, message } => {
            let kind = match status_code {
                // `No such container` and its like have names near them.
                404 if says_missing(&message) => return missing(client, about).await,
                404 => ErrorKind::NotFound,
                400 | 406 => ErrorKind::InvalidInput,
                401 | 403 => ErrorKind::Denied,
                409 => ErrorKind::Conflict,
                _ => ErrorKind::Unavailable,
            };
            Error::new(kind, format!("{about}: {}", said(&message)))
        }
        Failure::DockerStreamError { error } => Error::unavailable(format!("{about}: {}", said(&error))),
        // What the way to the engine says is said to the caller already.
        Failure::IOError { err } => match err.downcast::<Error>() {
            Ok(err) => err,
            Err(err) => broke(about).with_source(err),
        },
        err => broke(about).with_source(err),
    }
}

fn broke(about: About<'_>) -> Error {
    Error::unavailable(format!(
        "{about}: the connection to the container engine broke; call again, and see its log if that does not help"
    ))
}

/// Without what only repeats that it is a server that speaks.
fn said(message: &str) -> &str {
    let message = message.trim().trim_end_matches('.');
    message.strip_prefix("Error response from daemon: ").unwrap_or(message)
}

fn says_missing(message: &str) -> bool {
    let message = message.to_lowercase();
    ["no such container", "no such image", "no such volume", "no container with", "no volume with"]
        .iter()
        .any(|words| message.contains(words))
        || (message.contains("network") && message.contains("not found"))
}

/// Says which names there are that are spelled like the one that is not.
async fn missing(client: &Client, about: About<'_>) -> Error {
    let (wanted, tool) = match about {
        About::Container(name) => (name, "docker_list_containers"),
        About::Image(name) => (name, "docker_list_images"),
        About::Network(name) => (name, "docker_list_networks"),
        About::Volume(name) => (name, "docker_list_volumes"),
        About::Path(_) | About::Engine => {
            return Error::not_found(format!(
                "{about} does not exist; `docker_list_containers` lists what there is"
            ));
        }
    };
    // Without them the error is as true.
    let names = names(client, about).await.unwrap_or_default();
    let mut near = nearest(names.iter().map(String::as_str), wanted);
    near.truncate(MOST_NAMES);
    let near: Vec<_> = near.into_iter().map(|name| format!("`{name}`")).collect();
    let hint = match (about, near.as_slice()) {
        (About::Image(_), []) => "; `docker_pull_image` fetches one".to_owned(),
        (About::Image(_), near) => {
            format!("; near it are {}; `docker_pull_image` fetches one", near.join(", "))
        }
        (_, []) => "; there are none yet".to_owned(),
        (_, near) => format!("; near it are {}", near.join(", ")),
    };
    Error::not_found(format!("{about} does not exist{hint}; `{tool}` lists all"))
}

async fn names(client: &Client, about: About<'_>) -> Result<Vec<String>, Failure> {
    let docker = &client.docker;
    Ok(match about {
        About::Container(_) => {
            let all = ListContainersOptions { all: true, ..Default::default() };
            let found = docker.list_containers(Some(all)).await?;
            let names = found.into_iter().flat_map(|one| one.names.unwrap_or_default());
            names.map(|name| name.trim_start_matches('/').to_owned()).collect()
        }
        About::Image(_) => {
            let found = docker.list_images(None::<ListImagesOptions>).await?;
            found.into_iter().flat_map(|one| one.repo_tags).collect()
        }
        About::Network(_) => {
            let found = docker.list_networks(None::<ListNetworksOptions>).await?;
            found.into_iter().filter_map(|one| one.name).collect()
        }
        About::Volume(_) => {
            let found = docker.list_volumes(None::<ListVolumesOptions>).await?;
            found.volumes.unwrap_or_default().into_iter().map(|one| one.name).collect()
        }
        About::Path(_) | About::Engine => Vec::new(),
    })
}
