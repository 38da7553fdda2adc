//! Calls that change the same file, container or unit, one after the other in the order in which they came. All others run side
//! by side.

use skynet_core::{Call, Error, Result, Subject};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// Names that nobody waits for any more are forgotten once there are so many.
const MOST_IDLE: usize = 1024;

/// Who is at work on what.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<String, Weak<Turn<()>>>>);

/// The right to change what a call changes, until it is dropped.
pub(crate) struct Held(#[allow(dead_code, reason = "held, not read")] Vec<OwnedMutexGuard<()>>);

impl Turns {
    /// Waits until no earlier call changes any of what this one does.
    ///
    /// # Errors
    /// `Canceled` when the client no longer wants it.
    pub(crate) async fn wait(&self, call: &Call) -> Result<Held> {
        let mut names: Vec<String> =
            call.tool.changes_of(call.input()?)?.iter().filter_map(|subject| name(call, subject)).collect();
        // In one order for all, or two calls wait for each other.
        names.sort_unstable();
        names.dedup();
        let mut held = Vec::with_capacity(names.len());
        for name in names {
            let turn = self.turn(name);
            tokio::select! {
                guard = turn.lock_owned() => held.push(guard),
                () = call.cancel.cancelled() => {
                    return Err(Error::canceled("the client asked to stop while the call waited for another one"));
                }
            }
        }
        Ok(Held(held))
    }

    fn turn(&self, name: String) -> Arc<Turn<()>> {
        // A panic elsewhere leaves the map whole.
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(&name).and_then(Weak::upgrade) {
            return turn;
        }
        if turns.len() >= MOST_IDLE {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::<Turn<()>>::default();
        turns.insert(name, Arc::downgrade(&turn));
        turn
    }
}

/// The same for each spelling of a path; of a container its name and its id are two. `None` where nobody waits.
fn name(call: &Call, subject: &Subject) -> Option<String> {
    Some(match subject {
        Subject::Anywhere => return None,
        Subject::Path(path) | Subject::Repository(path) | Subject::WorkTree(path) => {
            let workspace = call.caller.workspace.as_ref();
            let relative = workspace.and_then(|workspace| workspace.relative(path).ok());
            let root = workspace.map(|workspace| workspace.path().display().to_string());
            let path = relative.map_or_else(|| path.clone(), |relative| relative.to_string());
            format!("path {} {path}", root.unwrap_or_default())
        }
        Subject::Container(name) => format!("container {}", name.trim_start_matches('/')),
        Subject::Unit(name) => format!("unit {name}"),
    })
}
