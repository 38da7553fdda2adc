//! The frames of one connection on their way in, and which of them are settled.
//!
//! rmcp starts a task for every request it is given, so it is given only as many as may run at once. Other
//! requests wait here; once too many wait, the connection is no longer read, and back-pressure reaches the client.
//! Notifications and responses pass waiting requests: a cancel must not stand in line behind what it cancels.

use super::{
    Leaving, Outgoing, Traffic,
    envelope::{self, Envelope, Kind, Refusal},
};
use bytes::Bytes;
use rmcp::model::RequestId;
use skynet_core::{CallId, call::Slot};
use skynet_proto::Frame;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    select,
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Waiting requests, in number and in bytes, at which reading stops.
const MOST_WAITING: usize = 1024;
const MOST_WAITING_BYTES: usize = 16 << 20;

/// Answers on their way to a client that does not read them, at which no further request of it begins.
const MOST_SETTLING: usize = 64;

/// A client that closed its stdin waits that long for what is under way; SDKs kill a server after 2 s.
const FAREWELL: Duration = Duration::from_millis(1500);

/// Calls of one client that are begun at once while others are active too. A client that sends more at a time waits for
/// itself, so that the calls of others find the processors free; calls that take longer than that wait for something
/// else, and do not count.
pub(super) const MOST_YOUNG: usize = 2;
pub(super) const YOUNG: Duration = Duration::from_millis(5);

/// The only revision that has batches.
const BATCH_REVISION: &str = "2025-03-26";

/// A message handed to rmcp.
pub(super) struct Taken {
    pub(super) envelope: Envelope,
    pub(super) call: CallId,
    pub(super) resend: bool,
    /// The place of a request among those that may run at once.
    pub(super) slot: Option<Slot>,
}

struct Waiting {
    envelope: Envelope,
    origin: Origin,
    resend: bool,
}

/// Where a request came from.
#[derive(Clone, Copy)]
struct Origin {
    sequence: u64,
    /// From 1 in a batch, else 0.
    index: u32,
}

struct Batch {
    open: usize,
    answers: Vec<Bytes>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    in_flight: HashMap<RequestId, Origin>,
    /// The newest requests that are worked on, with when that began.
    young: VecDeque<(Instant, RequestId)>,
    /// Answers that are on their way to the connection.
    settling: usize,
    /// Whether other clients were active when the last request went on.
    has_company: bool,
    batches: HashMap<u64, Batch>,
    revision: String,
    leaving: Option<Leaving>,
    left_at: Option<Instant>,
}

impl State {
    /// The request that a call answers, unless its client has canceled it.
    fn answered(&mut self, id: &RequestId, call: CallId) -> Option<Origin> {
        let is_own = |origin: &&Origin| (origin.sequence, origin.index) == (call.sequence, call.index);
        self.in_flight.get(id).filter(is_own)?;
        self.in_flight.remove(id)
    }

    /// When the next request may go on; `None` if one may now.
    fn next_turn(&mut self, now: Instant) -> Option<Instant> {
        while self.young.front().is_some_and(|(begun, _)| *begun + YOUNG <= now) {
            self.young.pop_front();
        }
        let (begun, _) = self.young.front().filter(|_| self.has_company && self.young.len() >= MOST_YOUNG)?;
        Some(*begun + YOUNG)
    }
}

/// What has to come before another message may go on.
enum Missing {
    /// A message, or room for more answers.
    Message,
    Turn(Instant),
    Slot,
}

/// The frames of one connection.
pub(crate) struct Inbox {
    session: Uuid,
    state: Mutex<State>,
    arrived: Notify,
    taken: Notify,
    settled: Notify,
    slots: Arc<Semaphore>,
    outbound: Mutex<Option<mpsc::Sender<Outgoing>>>,
    closing: CancellationToken,
    traffic: Arc<Traffic>,
}

impl Inbox {
    pub(crate) fn new(
        session: Uuid,
        concurrent: usize,
        outbound: mpsc::Sender<Outgoing>,
        traffic: Arc<Traffic>,
    ) -> Self {
        Self {
            session,
            state: Mutex::default(),
            arrived: Notify::new(),
            taken: Notify::new(),
            settled: Notify::new(),
            slots: Arc::new(Semaphore::new(concurrent)),
            outbound: Mutex::new(Some(outbound)),
            closing: CancellationToken::new(),
            traffic,
        }
    }

    /// Takes in one frame; waits while too many requests wait.
    pub(crate) async fn push(&self, frame: Frame) {
        let sequence = frame.sequence;
        let line = frame.json;
        // Of a connection that has ended nothing may be taken any more.
        while !self.has_room() && !self.is_closed() {
            let taken = self.taken.notified();
            if !self.has_room() {
                select! { () = taken => {}, () = self.closing.cancelled() => {} }
            }
        }
        if envelope::is_batch(&line) {
            return self.push_batch(sequence, &line, frame.resend).await;
        }
        match envelope::read(&line) {
            Ok(envelope) => {
                self.queue(envelope, Origin { sequence, index: 0 }, frame.resend).await;
            }
            Err(refusal) => self.send(sequence, 0, refusal.to_json()).await,
        }
    }

    /// No more frames come.
    pub(crate) fn close(&self, leaving: Leaving) {
        let mut state = self.lock();
        let leaving = *state.leaving.get_or_insert(leaving);
        state.left_at.get_or_insert_with(Instant::now);
        drop(state);
        if leaving == Leaving::Lost {
            // What waits for news ends with the connection, and its end must not be told to a client that comes back for more.
            self.hang_up();
        }
        self.traffic.forget(self.session);
        self.closing.cancel();
        self.arrived.notify_one();
    }

    /// Set once no more frames come.
    pub(crate) const fn closing(&self) -> &CancellationToken {
        &self.closing
    }

    /// How the connection ended, or is about to.
    pub(crate) fn leaving(&self) -> Leaving {
        self.lock().leaving.unwrap_or(Leaving::Lost)
    }

    /// Whether it has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().leaving.is_some()
    }

    /// The next message for rmcp; `None` at the end. Cancel-safe.
    pub(super) async fn take(&self) -> Option<Taken> {
        loop {
            let arrived = self.arrived.notified();
            let missing = {
                let mut state = self.lock();
                if state.leaving == Some(Leaving::Lost) {
                    return None;
                }
                match self.take_one(&mut state) {
                    Ok(taken) => {
                        drop(state);
                        self.taken.notify_one();
                        return Some(taken);
                    }
                    Err(_) if state.leaving.is_some() && state.waiting.is_empty() => break,
                    Err(missing) => missing,
                }
            };
            match missing {
                Missing::Message => arrived.await,
                Missing::Turn(at) => select! { () = arrived => {}, () = sleep_until(at) => {} },
                // The permit itself is taken above, with the request it is for.
                Missing::Slot => select! { () = arrived => {}, _ = self.slots.acquire() => {} },
            }
        }
        // Half-close: answers that come soon are still delivered. The limit only bounds the wait.
        let until = self.lock().left_at.map_or_else(Instant::now, |at| at + FAREWELL);
        let _ = timeout_at(until, self.all_settled()).await;
        self.hang_up();
        None
    }

    /// Notes the revision that both sides agreed on.
    pub(super) fn set_revision(&self, revision: &str) {
        revision.clone_into(&mut self.lock().revision);
    }

    pub(crate) fn revision(&self) -> String {
        self.lock().revision.clone()
    }

    /// Delivers the answer of a request, alone or once its whole batch is answered.
    pub(super) async fn settle(&self, id: &RequestId, call: CallId, answer: Bytes) {
        let (origin, has_waiting) = {
            let mut state = self.lock();
            state.young.retain(|(_, young)| young != id);
            state.settling += 1;
            (state.answered(id, call), !state.waiting.is_empty())
        };
        if has_waiting {
            // The next may have waited for this one.
            self.arrived.notify_one();
        }
        // An answer to what was canceled meanwhile is dropped: the client may use the id for something else by now.
        if let Some(origin) = origin {
            self.settle_origin(origin, Some(answer)).await;
        }
        let was_full = {
            let mut state = self.lock();
            state.settling -= 1;
            state.settling + 1 == MOST_SETTLING
        };
        if was_full {
            self.arrived.notify_one();
        }
        self.settled.notify_waiters();
    }

    /// Delivers the answer to a frame, or something about one that nobody asked for.
    pub(super) async fn send(&self, answers: u64, about: u64, json: Bytes) {
        self.deliver(Outgoing { answers, about, opens: 0, json: envelope::end_line(json) }).await;
    }

    /// Tells the client that it hears from now on what a frame asked for.
    pub(super) async fn open(&self, frame: u64, json: Bytes) {
        self.deliver(Outgoing { answers: 0, about: 0, opens: frame, json: envelope::end_line(json) }).await;
    }

    /// Whether a frame waits for its answer.
    pub(super) fn is_under_way(&self, frame: u64) -> bool {
        self.lock().in_flight.values().any(|origin| origin.sequence == frame)
    }

    async fn deliver(&self, outgoing: Outgoing) {
        let outbound = self.outbound.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(outbound) = outbound {
            // A connection that is gone gets its answers when it comes back and asks again.
            let _ = outbound.send(outgoing).await;
        }
    }

    async fn push_batch(&self, sequence: u64, line: &Bytes, resend: bool) {
        // After a reconnection the batch may be here before the replayed handshake is answered.
        let _ = timeout(FAREWELL, self.agreed()).await;
        if self.revision() != BATCH_REVISION {
            let message =
                format!("batches exist only in revision {BATCH_REVISION}; send one message per line");
            return self.send(sequence, 0, Refusal::invalid(None, message).to_json()).await;
        }
        let parts = match envelope::read_batch(line) {
            Ok(parts) => parts,
            Err(refusal) => return self.send(sequence, 0, refusal.to_json()).await,
        };
        // One more than there can be, so that the batch is not answered before all of it is queued.
        self.lock().batches.insert(sequence, Batch { open: 1, answers: Vec::new() });
        for (part, index) in parts.iter().zip(1..) {
            let origin = Origin { sequence, index };
            match envelope::read(part) {
                Ok(envelope) => {
                    if matches!(envelope.kind, Kind::Request(_)) {
                        self.grow_batch(sequence);
                    }
                    self.queue(envelope, origin, resend).await;
                }
                Err(refusal) => {
                    self.grow_batch(sequence);
                    self.settle_origin(origin, Some(refusal.to_json())).await;
                }
            }
        }
        self.settle_origin(Origin { sequence, index: u32::MAX }, None).await;
    }

    fn grow_batch(&self, sequence: u64) {
        if let Some(batch) = self.lock().batches.get_mut(&sequence) {
            batch.open += 1;
        }
    }

    async fn queue(&self, envelope: Envelope, origin: Origin, resend: bool) {
        match &envelope.kind {
            Kind::Request(id) => {
                let is_new = {
                    let mut state = self.lock();
                    let is_new = !state.in_flight.contains_key(id);
                    if is_new {
                        state.in_flight.insert(id.clone(), origin);
                    }
                    is_new
                };
                if !is_new {
                    // Without the id: with it, the client would take this for the answer of the first request.
                    let refusal = Refusal::invalid(
                        None,
                        format!("the id {} is in use by a request under way", id.clone().into_json_value()),
                    );
                    return self.settle_origin(origin, Some(refusal.to_json())).await;
                }
            }
            Kind::Cancel(id) => {
                let (origin, was_waiting) = {
                    let mut state = self.lock();
                    let State { waiting, waiting_bytes, in_flight, .. } = &mut *state;
                    let before = waiting.len();
                    waiting.retain(|one| {
                        let is_kept = one.envelope.kind != Kind::Request(id.clone());
                        if !is_kept {
                            *waiting_bytes -= one.envelope.size();
                        }
                        is_kept
                    });
                    (in_flight.remove(id), waiting.len() < before)
                };
                // The client expects no answer, but the shim must no longer resend the frame.
                if let Some(origin) = origin {
                    self.settle_origin(origin, None).await;
                }
                self.settled.notify_waiters();
                self.taken.notify_one();
                if was_waiting {
                    return;
                }
            }
            Kind::Notification | Kind::Response => {}
        }
        let mut state = self.lock();
        state.waiting_bytes += envelope.size();
        state.waiting.push_back(Waiting { envelope, origin, resend });
        drop(state);
        self.arrived.notify_one();
    }

    /// The first message that may go on: anything but a request, or a request for which there is a slot.
    fn take_one(&self, state: &mut State) -> Result<Taken, Missing> {
        let is_request = |waiting: &Waiting| matches!(waiting.envelope.kind, Kind::Request(_));
        let first = state.waiting.front().ok_or(Missing::Message)?;
        let (place, permit) = if is_request(first) {
            match self.permit(state) {
                Ok(permit) => (0, Some(permit)),
                Err(missing) => {
                    let other = state.waiting.iter().position(|waiting| !is_request(waiting));
                    (other.ok_or(missing)?, None)
                }
            }
        } else {
            (0, None)
        };
        let Waiting { envelope, origin, resend } = state.waiting.remove(place).ok_or(Missing::Message)?;
        state.waiting_bytes -= envelope.size();
        if let Kind::Request(id) = &envelope.kind {
            let now = Instant::now();
            state.has_company = !self.traffic.note(self.session, now);
            state.young.push_back((now, id.clone()));
        }
        let call = CallId { session: self.session, sequence: origin.sequence, index: origin.index };
        Ok(Taken { envelope, call, resend, slot: permit.map(|permit| Slot::new(self.slots.clone(), permit)) })
    }

    /// For one more request.
    fn permit(&self, state: &mut State) -> Result<OwnedSemaphorePermit, Missing> {
        if state.settling >= MOST_SETTLING {
            return Err(Missing::Message);
        }
        match state.next_turn(Instant::now()) {
            Some(turn) => Err(Missing::Turn(turn)),
            None => self.slots.clone().try_acquire_owned().map_err(|_| Missing::Slot),
        }
    }

    async fn settle_origin(&self, origin: Origin, answer: Option<Bytes>) {
        if origin.index == 0 {
            return self.send(origin.sequence, 0, answer.unwrap_or_default()).await;
        }
        let finished = {
            let mut state = self.lock();
            let Some(batch) = state.batches.get_mut(&origin.sequence) else {
                return;
            };
            batch.open -= 1;
            batch.answers.extend(answer);
            if batch.open > 0 {
                return;
            }
            state.batches.remove(&origin.sequence).map(|batch| batch.answers).unwrap_or_default()
        };
        self.send(origin.sequence, 0, envelope::join(&finished)).await;
    }

    async fn all_settled(&self) {
        loop {
            let settled = self.settled.notified();
            if self.is_settled() {
                return;
            }
            settled.await;
        }
    }

    fn is_settled(&self) -> bool {
        let state = self.lock();
        state.in_flight.is_empty() && state.settling == 0
    }

    /// Waits until a revision is agreed on, or nothing is under way that could agree on one.
    async fn agreed(&self) {
        loop {
            let settled = self.settled.notified();
            if !self.revision().is_empty() || self.lock().in_flight.is_empty() {
                return;
            }
            settled.await;
        }
    }

    /// Waits until the other end takes no more answers.
    pub(crate) async fn disconnected(&self) {
        let outbound = self.outbound.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(outbound) = outbound {
            outbound.closed().await;
        }
    }

    /// Lets go of the connection, whoever still holds this.
    pub(crate) fn hang_up(&self) {
        self.outbound.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn has_room(&self) -> bool {
        let state = self.lock();
        state.waiting.len() < MOST_WAITING && state.waiting_bytes < MOST_WAITING_BYTES
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
