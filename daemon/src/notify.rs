//! Tells the user's desktop that a call waits for him (`confirm.notify`), and takes his answer where the word of his own session
//! counts (`confirm.factor = "client"`). It speaks to the server of notifications on the session bus (Desktop Notifications
//! Specification 1.2), runs no program, and never shows a part of a question with a button to approve it.

use jiff::Timestamp;
use skynet_core::call::{Means, Respondent};
use skynet_policy::{Approval, ApprovalState, Detail, Services, record_decision};
use std::{
    collections::{BTreeMap, HashMap},
    future::pending,
    sync::Arc,
    time::Duration,
};
use tokio::time::{sleep, timeout};
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use zbus::{
    Connection, Message, Proxy,
    fdo::DBusProxy,
    zvariant::{Type, Value},
};

const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";

/// A desktop that does not answer keeps nobody waiting for longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where there is no desktop now, there may be one later.
const RETRY: Duration = Duration::from_secs(30);

/// A longer question is not shown: a desktop may cut it, and who approves must have seen all of it.
const MOST_LINES: usize = 24;
const MOST_CHARACTERS: usize = 1500;

/// As the server gives them back, each before what its button says.
const APPROVE: &str = "approve";
const DENY: &str = "deny";
const BUTTONS: [&str; 4] = [APPROVE, "Approve once", DENY, "Deny"];

/// A notification stays until it is closed.
const NEVER: i32 = 0;

/// Of three levels the middle one.
const URGENCY_NORMAL: u8 = 1;

/// What the desktop is told of, and who sits at it.
pub(crate) struct Desktop {
    pub(crate) services: Services,
    pub(crate) uid: u32,
    pub(crate) user: Option<Arc<str>>,
    /// When the daemon ends, nobody hears an answer any more.
    pub(crate) stop: CancellationToken,
}

/// What is on the screen for one approval.
#[derive(Clone, Copy)]
struct Notice {
    /// As the server numbered it.
    number: u32,
    can_answer: bool,
}

/// The server of notifications, and what it shows by the ids of approvals: nothing for what the user has wiped away.
struct Board<'a> {
    desktop: &'a Desktop,
    server: Proxy<'static>,
    /// Whether it has buttons, and an answer by them counts.
    can_answer: bool,
    shown: BTreeMap<String, Option<Notice>>,
}

/// Tells of every call that comes to wait, until the daemon ends. While a desktop is there, somebody is taken to look: calls wait
/// for an answer.
pub(crate) async fn run(desktop: Desktop) {
    let mut changes = desktop.services.approvals.changes();
    let mut has_failed = false;
    while !desktop.stop.is_cancelled() {
        changes.mark_unchanged();
        match serve(&desktop, &mut has_failed).await {
            Ok(()) => return,
            Err(err) if has_failed => {
                tracing::debug!(error = %err, "still no desktop is told of calls that wait");
            }
            Err(err) => {
                has_failed = true;
                tracing::warn!(
                    error = %err,
                    "`confirm.notify` is on, but no desktop answers on the session bus, so calls that wait are told to nobody"
                );
            }
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = sleep(RETRY) => {}
            () = desktop.stop.cancelled() => return,
        }
    }
}

/// Shows what waits on the desktop that is there, until that goes.
async fn serve(desktop: &Desktop, has_failed: &mut bool) -> zbus::Result<()> {
    let approvals = &desktop.services.approvals;
    let named = in_time(async {
        let bus = Connection::session().await?;
        Proxy::new(&bus, NAME, PATH, NAME).await
    })
    .await?;
    let _attending = approvals.attend(None);
    // The first question starts a server that the bus only knows of.
    let capabilities: Vec<String> = in_time(named.call("GetCapabilities", &())).await?;
    let mut owners = in_time(named.receive_owner_changed()).await?;
    let server = in_time(owner_of(&named)).await?;
    // In one stream, so that what comes first is heard first.
    let mut signals = in_time(server.receive_all_signals()).await?;
    *has_failed = false;
    let has_buttons = capabilities.iter().any(|one| one == "actions");
    let can_answer = has_buttons && desktop.services.factor.counts_dialogs();
    let mut board = Board { desktop, server, can_answer, shown: BTreeMap::new() };
    let ended = board.attend(&mut owners, &mut signals).await;
    // Nobody hears these buttons any more. A server that does not answer leaves them where they are.
    let _ = timeout(PATIENCE, board.clear()).await;
    ended
}

/// Whoever has the name now, by the name that the bus gave to it alone: no other that takes the known name later is spoken to or heard
/// in its place.
async fn owner_of(named: &Proxy<'_>) -> zbus::Result<Proxy<'static>> {
    let bus = named.connection();
    let owner = DBusProxy::new(bus).await?.get_name_owner(named.destination().into()).await?;
    Proxy::new(bus, owner, PATH, NAME).await
}

impl Board<'_> {
    /// Shows what waits and hears what is answered, until the daemon ends or another has the server's name.
    async fn attend(
        &mut self,
        owners: &mut (impl Stream + Unpin),
        signals: &mut (impl Stream<Item = Message> + Unpin),
    ) -> zbus::Result<()> {
        let mut changes = self.desktop.services.approvals.changes();
        loop {
            changes.mark_unchanged();
            let next_end = self.update().await?;
            tokio::select! {
                // An answer counts no more once one of the first two is so.
                biased;
                () = self.desktop.stop.cancelled() => return Ok(()),
                // Another one, if there is one, knows nothing of what this one has shown.
                _ = owners.next() => return Err(gone()),
                signal = signals.next() => match signal {
                    Some(signal) => self.hear(&signal).await,
                    None => return Err(gone()),
                },
                changed = changes.changed() => if changed.is_err() { return Ok(()) },
                () = end(next_end) => {}
            }
        }
    }

    /// Shows what has come to wait and takes back what waits no more; when the next question is void.
    async fn update(&mut self) -> zbus::Result<Option<Timestamp>> {
        let mut waiting = self.desktop.services.approvals.list();
        waiting.retain(|approval| approval.state == ApprovalState::Pending);
        let is_waiting = |id: &str| waiting.iter().any(|approval| approval.id == id);
        let over: Vec<String> = self.shown.keys().filter(|id| !is_waiting(id.as_str())).cloned().collect();
        for id in over {
            if let Some(notice) = self.shown.remove(&id).flatten() {
                self.close(notice).await;
            }
        }
        for approval in &waiting {
            if !self.shown.contains_key(&approval.id) {
                let notice = self.show(approval).await?;
                self.shown.insert(approval.id.clone(), notice);
            }
        }
        Ok(waiting.iter().map(|approval| approval.expires_at).min())
    }

    /// `None` where the server would not.
    async fn show(&self, approval: &Approval) -> zbus::Result<Option<Notice>> {
        let summary = format!("{} ({}) waits for you", approval.tool, approval.effect);
        let question = approval.text(Detail::Whole);
        let asked = Some(&*question).filter(|question| self.can_answer && fits(question));
        let body = body(asked, &approval.id);
        let buttons = if asked.is_some() { BUTTONS.to_vec() } else { Vec::new() };
        let hints = HashMap::from([("urgency", Value::U8(URGENCY_NORMAL))]);
        // Application, number of what it takes the place of, icon, summary, body, buttons, hints, milliseconds until it ends.
        let arguments = ("Skynet", 0_u32, "", summary, body, buttons, hints, NEVER);
        match in_time(self.server.call("Notify", &arguments)).await {
            Ok(number) => Ok(Some(Notice { number, can_answer: asked.is_some() })),
            // It may have too many, or not like this one; others may still be shown.
            Err(zbus::Error::MethodError(name, said, _)) => {
                let said = said.unwrap_or_default();
                tracing::warn!(approval = approval.id, error = %name, said, "the desktop shows nothing of a call that waits");
                Ok(None)
            }
            Err(err) => Err(err),
        }
    }

    async fn close(&self, notice: Notice) {
        let closed: zbus::Result<()> =
            in_time(self.server.call("CloseNotification", &(notice.number,))).await;
        if let Err(err) = closed {
            // The user may have wiped it away in the same moment.
            tracing::debug!(error = %err, "a notification was not taken back");
        }
    }

    async fn clear(&mut self) {
        for notice in std::mem::take(&mut self.shown).into_values().flatten() {
            self.close(notice).await;
        }
    }

    async fn hear(&mut self, signal: &Message) {
        let member = {
            let header = signal.header();
            // The bus tells who sent it.
            if header.sender().map(|name| name.as_str()) != Some(self.server.destination().as_str()) {
                return;
            }
            header.member().map(|name| name.as_str().to_owned())
        };
        match member.as_deref() {
            Some("ActionInvoked") => {
                let Some((number, button)) = read::<(u32, String)>(signal) else { return };
                let state = match &*button {
                    APPROVE => ApprovalState::Approved,
                    DENY => ApprovalState::Denied,
                    // A click beside the buttons is no answer.
                    _ => return,
                };
                if let Some(id) = self.find(|notice| notice.number == number && notice.can_answer) {
                    self.decide(&id, state).await;
                }
            }
            Some("NotificationClosed") => {
                let Some((number, _reason)) = read::<(u32, u32)>(signal) else { return };
                // The call waits on; it is not shown again.
                if let Some(id) = self.find(|notice| notice.number == number) {
                    self.shown.insert(id, None);
                }
            }
            _ => {}
        }
    }

    /// The approval whose notification is meant.
    fn find(&self, is_meant: impl Fn(&Notice) -> bool) -> Option<String> {
        let mut all = self.shown.iter();
        all.find(|(_, notice)| notice.is_some_and(|notice| is_meant(&notice))).map(|(id, _)| id.clone())
    }

    async fn decide(&self, id: &str, state: ApprovalState) {
        let Desktop { services, uid, user, .. } = self.desktop;
        let by = Respondent { means: Means::Desktop, uid: *uid, user: user.clone() };
        let approval = match services.approvals.decide(id, state, by) {
            Ok(approval) => approval,
            // It was answered elsewhere or is void, and the first answer counts.
            Err(err) => {
                tracing::info!(approval = id, error = %err, "an answer on the desktop came too late");
                return;
            }
        };
        tracing::info!(approval = id, uid, state = state.as_str(), "a call was decided about on the desktop");
        if let Err(err) = record_decision(&services.audit, &approval).await {
            tracing::error!(approval = id, error = %err, "what was decided on the desktop is not recorded durably");
        }
    }
}

/// Whether all of a question can be read on a notification.
fn fits(question: &str) -> bool {
    question.lines().count() <= MOST_LINES && question.chars().count() <= MOST_CHARACTERS
}

/// The text of a notification. Without a question it has nothing that an agent wrote: who reads over a shoulder or in a history
/// learns nothing.
fn body(question: Option<&str>, id: &str) -> String {
    let hint = format!("skynetctl approvals show {id}");
    // The body is markup for most servers, and others drop what looks like it; none may hide or dress up what an agent wrote.
    question.map_or_else(|| hint.clone(), |question| format!("{}\n\n{hint}", escaped(question)))
}

/// As text in XML (Extensible Markup Language 1.0, section 2.4).
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

async fn in_time<T>(answer: impl Future<Output = zbus::Result<T>>) -> zbus::Result<T> {
    let late = |_| zbus::Error::Failure("it did not answer in time".into());
    timeout(PATIENCE, answer).await.map_err(late)?
}

fn gone() -> zbus::Error {
    zbus::Error::Failure("the server of notifications is gone".into())
}

/// What a signal says; `None` where it says what its interface does not.
fn read<T>(signal: &Message) -> Option<T>
where
    T: serde::de::DeserializeOwned + Type,
{
    signal.body().deserialize().ok()
}

/// Until that time is past; for ever without one.
async fn end(at: Option<Timestamp>) {
    match at {
        // A time that is past is no length of time, and nothing is waited for.
        Some(at) => sleep(Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_question_that_can_be_read_whole_fits() {
        assert!(fits(&["x"; MOST_LINES].join("\n")) && fits(&"é".repeat(MOST_CHARACTERS)));
        assert!(!fits(&["x"; MOST_LINES + 1].join("\n")) && !fits(&"x".repeat(MOST_CHARACTERS + 1)));
    }

    #[test]
    fn nothing_of_an_agent_is_markup() {
        let text = body(Some("path  <img src='http://evil.example/'>&amp;"), "00c0ffee");
        assert_eq!(
            text,
            "path  &lt;img src='http://evil.example/'&gt;&amp;amp;\n\nskynetctl approvals show 00c0ffee"
        );
        assert_eq!(body(None, "00c0ffee"), "skynetctl approvals show 00c0ffee");
    }
}
