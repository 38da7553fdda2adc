//! Whether a client has the daemon for itself, so that it may use all of it.

use super::inbox::{MOST_YOUNG, YOUNG};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    select,
    sync::{Mutex as AsyncMutex, Notify},
    time::{Duration, Instant, sleep_until},
};
use uuid::Uuid;

/// A client counts as active for that long after a request: it must not meet a flood anew with every call.
const ACTIVE_FOR: Duration = Duration::from_secs(10);

/// The two clients that were active last.
#[derive(Default)]
pub(crate) struct Traffic(Mutex<[Option<(Uuid, Instant)>; 2]>);

impl Traffic {
    /// Notes a request; true if nobody else made one lately.
    pub(super) fn note(&self, session: Uuid, now: Instant) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [newest, other] = &mut *last;
        if newest.is_some_and(|(known, _)| known != session) {
            *other = *newest;
        }
        *newest = Some((session, now));
        other.is_none_or(|(known, at)| known == session || at + ACTIVE_FOR <= now)
    }

    /// A client left.
    pub(super) fn forget(&self, session: Uuid) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in last.iter_mut().filter(|entry| entry.is_some_and(|(known, _)| known == session)) {
            *entry = None;
        }
    }
}

/// The turns of a client whose requests come each by itself, as in HTTP of 2026-07-28: beside others it begins as few
/// at a time as one that has a connection.
pub(crate) struct Turns {
    client: Uuid,
    traffic: Arc<Traffic>,
    /// Held by the request whose turn is next; the others wait for it in the order they came.
    next: AsyncMutex<()>,
    /// The newest requests that are worked on, with when that began.
    young: Mutex<VecDeque<(Instant, Uuid)>>,
    ended: Notify,
}

/// The turn of one request, to its end.
pub(crate) struct Turn {
    turns: Arc<Turns>,
    request: Uuid,
}

impl Turns {
    pub(crate) fn new(traffic: Arc<Traffic>) -> Arc<Self> {
        Arc::new(Self {
            client: Uuid::new_v4(),
            traffic,
            next: AsyncMutex::default(),
            young: Mutex::default(),
            ended: Notify::new(),
        })
    }

    /// Waits for the turn of a request. Cancel-safe.
    pub(crate) async fn take(self: Arc<Self>, request: Uuid) -> Turn {
        {
            let _next = self.next.lock().await;
            if !self.traffic.note(self.client, Instant::now()) {
                self.wait().await;
            }
            self.young().push_back((Instant::now(), request));
        }
        Turn { turns: self, request }
    }

    /// Waits until few enough are young.
    async fn wait(&self) {
        loop {
            let ended = self.ended.notified();
            let oldest = {
                let mut young = self.young();
                let now = Instant::now();
                while young.front().is_some_and(|(begun, _)| *begun + YOUNG <= now) {
                    young.pop_front();
                }
                young.front().filter(|_| young.len() >= MOST_YOUNG).map(|(begun, _)| *begun)
            };
            let Some(oldest) = oldest else { return };
            select! { () = ended => {}, () = sleep_until(oldest + YOUNG) => {} }
        }
    }

    fn young(&self) -> MutexGuard<'_, VecDeque<(Instant, Uuid)>> {
        // Each change is one push or remove, so a panic leaves it whole.
        self.young.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.young().retain(|(_, request)| *request != self.request);
        self.turns.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn beside_others_few_requests_of_one_client_begin_at_a_time() {
        let traffic = Arc::new(Traffic::default());
        let turns = Turns::new(traffic.clone());
        let take = |number: u128| turns.clone().take(Uuid::from_u128(number));
        traffic.note(Uuid::from_u128(9), Instant::now());
        let (mut kept, mut asked) = (Vec::new(), Vec::new());
        for number in 0..6 {
            asked.push(Instant::now());
            kept.push(take(number).await);
            if let Some(before) = kept.len().checked_sub(MOST_YOUNG + 1) {
                assert!(asked[before] + YOUNG <= Instant::now(), "{number} began beside too many");
            }
        }
        // One that ends makes room, however long it would have been young.
        drop(kept.pop());
        kept.push(take(6).await);
        assert!(turns.young().len() <= MOST_YOUNG);
    }

    #[test]
    fn two_clients_know_of_each_other_for_a_while() {
        let traffic = Traffic::default();
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let start = Instant::now();
        assert!(traffic.note(one, start) && traffic.note(one, start));
        assert!(!traffic.note(two, start) && !traffic.note(one, start) && !traffic.note(one, start));
        let later = start + ACTIVE_FOR;
        assert!(traffic.note(one, later) && !traffic.note(two, later));
        traffic.forget(two);
        assert!(traffic.note(one, later));
    }
}
