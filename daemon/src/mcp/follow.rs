//! One call as its client sees it: progress while it runs, its answer at the end, or a task or job where it runs longer
//! than the client waits.

use super::{ask::Dialog, handler::Handler, result, tasks, wire::About};
use crate::calls;
use rmcp::{
    ErrorData, RoleServer,
    model::{
        CallToolResponse, ProgressNotification, ProgressNotificationParam, ProgressToken, ServerNotification,
    },
    service::RequestContext,
};
use skynet_core::{ErrorKind, ctx::Progress};
use std::{future::pending, time::Duration};
use tokio::time::{Instant, sleep_until};

/// Clients with a time limit per call extend it when they hear progress.
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(10);

/// What a client does while a call takes its time.
enum Patience {
    /// It hears progress.
    Progress(ProgressToken),
    /// It takes a task.
    Task,
    /// It can only come back.
    Job,
}

impl Handler {
    /// Waits for a call until the client no longer wants it, or takes something else for an answer.
    pub(super) async fn follow(
        &self,
        mut running: calls::Running,
        dialog: &Dialog,
        about: About,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let knows_tasks = context.client_capabilities().is_some_and(|known| known.supports_tasks());
        let patience = match context.meta.get_progress_token() {
            _ if knows_tasks => Patience::Task,
            Some(token) => Patience::Progress(token),
            None => Patience::Job,
        };
        let options = self.server.options;
        let gives_up_at = match patience {
            Patience::Task => Some(Instant::now() + options.task_after),
            Patience::Job => Some(Instant::now() + options.job_after),
            Patience::Progress(_) => None,
        };
        let over = async {
            match gives_up_at {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        let reporting = async {
            match &patience {
                Patience::Progress(token) => self.report(token, about, &running, context).await,
                Patience::Task | Patience::Job => pending().await,
            }
        };
        let mut watched = running.clone();
        let outcome = tokio::select! {
            biased;
            outcome = watched.outcome() => outcome,
            () = context.ct.cancelled() => {
                // A broken connection cancels nothing: the client may come back for the answer.
                if !self.is_broken() {
                    running.cancel.cancel();
                }
                return Err(ErrorData::internal_error("canceled", None));
            }
            () = over => {
                if dialog.put_off() {
                    return self.put_off(running, &patience, context).await;
                }
                running.outcome().await
            }
            () = reporting => running.outcome().await,
        };
        if let Err(err) = &*outcome
            && err.kind == ErrorKind::NeedsConfirmation
            && let Some(question) = dialog.question()
        {
            return Ok(question.into());
        }
        Ok(match &*outcome {
            Ok(answer) => self.splices.keep(&context.id, answer.clone()),
            Err(err) => result::failure(err),
        }
        .into())
    }

    /// Passes on what the tool reports, and that it lives where it reports nothing. Each figure is greater than the one
    /// before, as the protocol wants it.
    async fn report(
        &self,
        token: &ProgressToken,
        about: About,
        running: &calls::Running,
        context: &RequestContext<RoleServer>,
    ) {
        let mut progress = running.progress.clone();
        let mut last = Progress { done: 0.0, total: None, message: format!("`{}` is running", running.tool) };
        loop {
            tokio::select! {
                changed = progress.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let Some(report) = progress.borrow_and_update().clone() else { continue };
                    last = Progress { done: report.done.max(last.done.next_up()), ..report };
                }
                () = tokio::time::sleep(SIGN_OF_LIFE_EVERY) => last.done = last.done.next_up().max(last.done + 1e-6),
            }
            let mut param =
                ProgressNotificationParam::new(token.clone(), last.done).with_message(last.message.clone());
            param.total = last.total;
            let mut notification = ProgressNotification::new(param);
            notification.extensions.insert(about);
            // A client that does not hear of it loses nothing but the news.
            let _ =
                context.peer.send_notification(ServerNotification::ProgressNotification(notification)).await;
        }
    }

    /// Lets a call go on without its request.
    async fn put_off(
        &self,
        running: calls::Running,
        patience: &Patience,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let tool = running.tool;
        let cancel = running.cancel.clone();
        let adopted = self.desk.jobs.adopt(self.caller.owner(), running).await;
        let (id, record) = match adopted {
            Ok(adopted) => adopted,
            Err(err) => {
                // Nobody could ever ask for its answer.
                cancel.cancel();
                return Ok(result::failure(&err).into());
            }
        };
        // Canceled while it was stored: the client is told of no job, so nobody could cancel that later.
        if context.ct.is_cancelled() && !self.is_broken() {
            cancel.cancel();
        }
        Ok(match patience {
            Patience::Task => tasks::created(&id, &record).into(),
            Patience::Job | Patience::Progress(_) => result::words(
                &format!("running: `{tool}` takes long and goes on as job `{id}`; wait for its answer with `skynet_show_job`"),
            )
            .into(),
        })
    }
}
