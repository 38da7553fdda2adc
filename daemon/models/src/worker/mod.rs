//! The program `skynet-models`: reads texts with models that were handed to it, in a slot that reaches nothing.
//!
//! It opens no file: library, models and tokenizers come as descriptors. One thread, one text after the other: several
//! workers of one thread do more than one of several.

mod model;

use crate::{
    install::hex,
    protocol::{Done, Failed, FromWorker, Load, Open, Reply, Request, Run, ToWorker, VERSION},
};
use model::Model;
use ort::environment::Environment;
use sha2::{Digest as _, Sha256};
use skynet_core::{Error, Result};
use skynet_sandbox::channel::{BlockingSocket, Buffer};
use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read as _},
    os::fd::{AsRawFd as _, OwnedFd},
};

/// Serves the daemon at the other end of `socket` until that is gone.
///
/// # Errors
/// When the socket fails.
pub fn serve(socket: OwnedFd) -> io::Result<()> {
    let socket = BlockingSocket::new(socket);
    let mut buffer = Buffer::default();
    let mut worker = Worker::default();
    while let Some((message, descriptors)) = socket.receive::<ToWorker>(&mut buffer)? {
        let reply = match message.request {
            Some(Request::Open(open)) => worker.open(open, descriptors),
            Some(Request::Load(load)) => worker.load(load, descriptors),
            Some(Request::Run(run)) => worker.run(run),
            None => Err(Error::internal("an empty request")),
        };
        let reply = reply.unwrap_or_else(|err| {
            Reply::Failed(Failed { kind: err.kind.as_str().into(), message: err.message.into_owned() })
        });
        socket.send(&FromWorker { reply: Some(reply) }, &[])?;
    }
    Ok(())
}

#[derive(Default)]
struct Worker {
    environment: Option<Environment>,
    /// A library is used for as long as the process lives.
    _library: Option<OwnedFd>,
    models: HashMap<String, Model>,
}

impl Worker {
    fn open(&mut self, open: Open, descriptors: Vec<OwnedFd>) -> Result<Reply> {
        if open.version != VERSION {
            return Err(Error::internal("daemon and worker are of different versions"));
        }
        let library = descriptors.into_iter().next();
        let library = library.ok_or_else(|| Error::internal("a worker without its library"))?;
        // There is no path to it in here.
        let path = format!("/proc/self/fd/{}", library.as_raw_fd());
        let unusable = |err: String| Error::unavailable(format!("ONNX Runtime cannot be used: {err}"));
        let builder = ort::init_from(path).map_err(|err| unusable(err.to_string()))?;
        let builder = builder.with_name("skynet").with_telemetry(false);
        self.environment = Some(builder.build().map_err(|err| unusable(err.to_string()))?);
        self._library = Some(library);
        Ok(Reply::Ready(open))
    }

    fn load(&mut self, load: Load, descriptors: Vec<OwnedFd>) -> Result<Reply> {
        let environment =
            self.environment.as_ref().ok_or_else(|| Error::internal("a model before its library"))?;
        let mut descriptors = descriptors.into_iter();
        let (Some(model), Some(tokenizer)) = (descriptors.next(), descriptors.next()) else {
            return Err(Error::internal("a model without its files"));
        };
        let model = read(model, &load.model_sha256, &load.id)?;
        let tokenizer = read(tokenizer, &load.tokenizer_sha256, &load.id)?;
        let model = Model::new(environment, &load, &model, &tokenizer)?;
        self.models.insert(load.id, model);
        Ok(Reply::Ready(Open { version: VERSION }))
    }

    fn run(&mut self, run: Run) -> Result<Reply> {
        let model = self.models.get_mut(&run.id);
        let model = model.ok_or_else(|| Error::internal(format!("`{}` is not loaded", run.id)))?;
        let mut done = Done::default();
        for text in run.texts {
            let (values, tokens) = model.read(text, run.question.as_deref())?;
            done.values.extend(values);
            done.tokens += tokens as u64;
        }
        Ok(Reply::Done(done))
    }
}

/// The whole file, which must hash to that.
fn read(file: OwnedFd, sha256: &str, id: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::from(file)
        .read_to_end(&mut bytes)
        .map_err(|err| Error::unavailable(format!("the files of `{id}` cannot be read: {err}")))?;
    if hex(&Sha256::digest(&bytes)) != sha256 {
        return Err(Error::unavailable(format!(
            "the files of `{id}` are damaged; `skynetctl models install {id}` replaces them"
        )));
    }
    Ok(bytes)
}
