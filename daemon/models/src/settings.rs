//! What an administrator decides about models.

use serde::{Deserialize, Serialize};
use std::{num::NonZeroU32, path::PathBuf};

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
}
