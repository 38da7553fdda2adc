//! What it means that the broker refused something.

use crate::protocol::Refused;
use skynet_core::{Error, ErrorKind};

/// Whether it is the sandbox that is at fault, and not the command.
pub(super) fn lacks_layer(refused: &Refused) -> bool {
    !refused.has_run && refused.layer != "command"
}

/// What it means for the caller that a command was refused.
#[must_use]
pub fn refusal(refused: Refused) -> Error {
    let Refused { layer, message, kind, has_run, .. } = refused;
    if has_run {
        return Error::interrupted(format!(
            "the command ran, but how it ended is not known: {layer}: {message}; look before you call it again"
        ));
    }
    if layer == "command" {
        return Error::new(ErrorKind::from_name(&kind), message);
    }
    Error::unavailable(format!(
        "no command can run, because a layer of the sandbox cannot be had: {layer}: {message}; `skynetctl doctor` tells more"
    ))
}
