//! `skynet-models`: reads texts with models for the daemon at the other end of its stdin. With `install DIRECTORY` it
//! installs the usual models there, for images and tests; where a daemon runs, that is for `skynetctl models install`.

use anyhow::{Context as _, Result, bail};
use rustix::net::{SocketType, sockopt::socket_type};
use skynet_models::{RUNTIME, Source, Store, manifest::Manifest};
use std::{os::fd::AsFd as _, path::Path};

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|argument| argument == "install") {
        let directory = arguments.next().context("install where?")?;
        return install(Path::new(&directory));
    }
    let socket = std::io::stdin().as_fd().try_clone_to_owned()?;
    if socket_type(&socket) != Ok(SocketType::SEQPACKET) {
        bail!("stdin must be the socket of skynetd; this program is not run by hand");
    }
    Ok(skynet_models::worker::serve(socket)?)
}

/// What is not there yet.
fn install(directory: &Path) -> Result<()> {
    let store = Store::open(directory)?;
    let models = Manifest::own()?.models.into_iter().filter(|model| model.task.is_embedding());
    for id in std::iter::once(RUNTIME.to_owned()).chain(models.map(|model| model.id)) {
        if store.find(&id)?.is_none() {
            let record = store.install(&id, &Source::Usual, &mut |_| {})?;
            eprintln!("{id} from {}", record.source);
        }
    }
    Ok(())
}
