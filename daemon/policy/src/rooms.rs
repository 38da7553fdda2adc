//! Room in the audit log for the lines of calls under way: taken before a call has its effect, used at its end.

use skynet_core::CallId;
use skynet_store::Room;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// By the call it is for.
#[derive(Default)]
pub(crate) struct Rooms(Mutex<HashMap<CallId, Room>>);

impl Rooms {
    /// Keeps it until its call ends.
    pub(crate) fn keep(&self, id: CallId, room: Room) {
        let former = self.lock().insert(id, room);
        // Given back where nobody waits for this map.
        drop(former);
    }

    /// That of a call, if it got as far as that.
    pub(crate) fn take(&self, id: CallId) -> Option<Room> {
        self.lock().remove(&id)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CallId, Room>> {
        // Each change is one insert or remove, so a panic leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
