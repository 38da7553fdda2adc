//! What destroys or leaves the host, and what a rule marks, waits for a human.

use crate::{
    approvals::{Approval, Approvals, Taken},
    factor::Factor,
    grants::Grants,
    question::Detail,
};
use async_trait::async_trait;
use skynet_core::{
    Answer, Call, Error, Layer, Next, Result,
    call::{Asked, Means, Question, Respondent},
    ctx::Progress,
};
use std::{future::pending, sync::Arc, time::Duration};
use tokio::time::{Instant, MissedTickBehavior};

/// Clients with a time limit per call extend it when they hear progress.
const REMIND_EVERY: Duration = Duration::from_secs(8);

pub(crate) struct Confirm {
    approvals: Arc<Approvals>,
    grants: Arc<Grants>,
    wait: Duration,
    factor: Factor,
}

enum Outcome {
    Approved(Respondent),
    Denied(Respondent),
    NobodyAnswered,
    /// The client was given the question.
    Handed,
    Canceled,
}

impl Confirm {
    pub(crate) const fn new(
        approvals: Arc<Approvals>,
        grants: Arc<Grants>,
        wait: Duration,
        factor: Factor,
    ) -> Self {
        Self { approvals, grants, wait, factor }
    }

    async fn ask(&self, call: &Call, approval: &Approval) -> Outcome {
        let text = approval.text(Detail::Brief);
        let dialog = async {
            match &call.ask {
                Some(ask) => ask.ask(Question { text: &text, digest: &approval.key }).await,
                None => Asked::Cannot,
            }
        };
        let mut changes = self.approvals.changes();
        let queue = async {
            loop {
                if let Some(taken) = self.approvals.take(&approval.id) {
                    return taken;
                }
                if changes.changed().await.is_err() {
                    return pending().await;
                }
            }
        };
        tokio::pin!(dialog, queue);
        let mut reminder = tokio::time::interval(REMIND_EVERY);
        reminder.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let deadline = Instant::now() + self.wait;
        let mut can_dialog = true;
        let mut reminders = 0.0;
        loop {
            tokio::select! {
                // An approval given before the call was made again counts, whoever else could be asked.
                biased;
                taken = &mut queue => return match taken {
                    Taken::Approved(by) => Outcome::Approved(by),
                    Taken::Denied(by) => Outcome::Denied(by),
                    Taken::Unanswered => Outcome::NobodyAnswered,
                },
                answer = &mut dialog, if can_dialog => match answer {
                    Asked::Yes | Asked::No => {
                        self.approvals.withdraw(&approval.id);
                        let by = at_the_client(call);
                        return if answer == Asked::Yes { Outcome::Approved(by) } else { Outcome::Denied(by) };
                    }
                    // The entry stays: the same call comes back with the answer, or finds one in the queue.
                    Asked::Later => return Outcome::Handed,
                    // This client cannot ask: wait only for a human who is looking at the queue.
                    Asked::Cannot if self.approvals.is_attended(approval.uid) => can_dialog = false,
                    Asked::Cannot => return Outcome::NobodyAnswered,
                },
                _ = reminder.tick() => {
                    reminders += 1.0;
                    let message = format!("waiting for approval {} of `{}`", approval.id, approval.tool);
                    call.outbox.progress(Progress { done: reminders, total: None, message });
                }
                () = tokio::time::sleep_until(deadline) => return Outcome::NobodyAnswered,
                () = call.cancel.cancelled() => return Outcome::Canceled,
            }
        }
    }
}

/// The word of whom the client speaks for.
fn at_the_client(call: &Call) -> Respondent {
    Respondent { means: Means::Client, uid: call.caller.uid, user: Some(call.caller.user.clone()) }
}

#[async_trait]
impl Layer for Confirm {
    fn name(&self) -> &'static str {
        "confirm"
    }

    fn describe(&self) -> String {
        format!("{}; waits {} s", self.factor.describe(), self.wait.as_secs())
    }

    async fn handle(&self, call: &mut Call, next: Next<'_>) -> Result<Answer> {
        // Who is asked was found out when the input was judged; before that there is nothing to confirm.
        call.input()?;
        let Some(asked) = call.asked_by.clone() else { return next.run(call).await };
        let (rule, remedy) = (asked.rule(), &asked.remedy);
        // Everything has judged the call by now, and nothing denied it.
        if let Some(grant) = self.grants.answering(call, &asked)? {
            call.notes.rule = Some(format!("{rule}: allow by grant {}", grant.id));
            call.notes.confirmed_by = Some(grant.respondent());
            return next.run(call).await;
        }
        for name in call.tool.secrets_of(call.input()?)? {
            call.outbox.check_secret(&name).await?;
        }
        let approval = self.approvals.request(call, &asked)?;
        call.release_slots();
        let outcome = self.ask(call, &approval).await;
        if let Some(ask) = &call.ask {
            // Answered elsewhere, too late, or no longer of interest: a human must not answer what nobody asks. Before the call
            // ends, so that it is heard where the question was.
            ask.withdraw().await;
        }
        call.reacquire_slots().await;
        let (tool, id) = (approval.tool, &approval.id);
        match outcome {
            Outcome::Approved(by) => {
                call.notes.confirmed_by = Some(by);
                next.run(call).await
            }
            Outcome::Denied(by) => Err(Error::denied(format!(
                "`{tool}` was declined by the human (through {})",
                by.means.as_str()
            ))),
            Outcome::Canceled => {
                self.approvals.withdraw(id);
                Err(Error::canceled("the client canceled the call while it waited for approval"))
            }
            Outcome::Handed => {
                Err(Error::needs_confirmation(format!("`{tool}` waits for the human at the client")))
            }
            Outcome::NobodyAnswered => {
                let (effect, who) = (call.effect, self.factor.who());
                Err(Error::needs_confirmation(format!(
                    "`{tool}` ({effect}) needs approval by rule `{rule}`, and nobody answered; {who} can run `skynetctl approvals approve {id}` within 15 minutes, then make the same call again; {remedy} would allow it always"
                )))
            }
        }
    }
}
