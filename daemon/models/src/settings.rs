//! What an administrator decides about models.

use crate::remote::Remote;
use serde::{Deserialize, Serialize};
use skynet_core::{Error, Result};
use std::{num::NonZeroU32, path::PathBuf};

/// More would wait for each other.
const MOST_WORKERS: u32 = 64;

/// `[models]` of the configuration.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Processes that run models, one thread each; without, two, or one where there is one processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<NonZeroU32>,
    /// The library `libonnxruntime.so`; without, it is what `skynetctl models install` installed, or the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onnxruntime: Option<PathBuf>,
    /// In place of `https://huggingface.co`: a mirror.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
    /// Models of providers, in place of those of this host.
    pub remote: Remote,
}

impl Settings {
    /// # Errors
    /// `InvalidInput` when they make no sense.
    pub fn check(&self) -> Result<()> {
        if self.workers.is_some_and(|workers| workers.get() > MOST_WORKERS) {
            return Err(Error::invalid_input(format!("`models.workers` is at most {MOST_WORKERS}")));
        }
        if self.onnxruntime.as_ref().is_some_and(|path| !path.is_absolute()) {
            return Err(Error::invalid_input(
                "`models.onnxruntime` is an absolute path, like `/usr/lib/libonnxruntime.so.1.32.0`",
            ));
        }
        if self.hub.as_ref().is_some_and(|hub| !hub.starts_with("http")) {
            return Err(Error::invalid_input("`models.hub` is an address, like `https://huggingface.co`"));
        }
        self.remote.check()
    }
}
