//! What of collections a caller may see by the rules and the modes of now. What he may not see has no say in what he is answered: how
//! common a word is, and what is best of all, is made of the rest alone.

use crate::{
    Knowledge,
    answers::Question,
    collection::{Asked, blocking},
    languages::Languages,
    searching::{self, Bounds, Place},
    views::View,
};
use skynet_core::{CallCtx, Error, Result};
use skynet_documents::SourceKind;
use std::collections::HashSet;

/// How much of a collection a caller may see, as far as that can be told without its documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// All of it.
    All,
    /// Perhaps not all.
    Part,
    /// Nothing.
    Nothing,
}

impl Knowledge {
    /// How much the caller may see of each of these collections.
    pub(crate) async fn sights(&self, ctx: &CallCtx, views: &[View]) -> Result<Vec<Sight>> {
        let mut sights = Vec::with_capacity(views.len());
        // Rules say the same of all that is the caller's own, and those of a project are read for each answer.
        let mut may_hide = None;
        for view in views {
            sights.push(self.sight(ctx, view, &mut may_hide).await?);
        }
        Ok(sights)
    }

    async fn sight(&self, ctx: &CallCtx, view: &View, may_hide: &mut Option<bool>) -> Result<Sight> {
        if !self.may_see_source(ctx, view).await? {
            return Ok(Sight::Nothing);
        }
        // What is another's is for who may open it now, and its index still counts what was taken out of it.
        let is_of_another = view.elsewhere.is_some();
        let is_part = match &view.collection.record.source {
            // Pages are of the web, and of the rest the tool that reads it tells all or nothing.
            SourceKind::Pages(_) | SourceKind::Commits(_) | SourceKind::Journal { .. } => false,
            SourceKind::Manuals(_) => is_of_another,
            SourceKind::Files | SourceKind::Revision(_) if is_of_another => true,
            SourceKind::Files | SourceKind::Revision(_) => match *may_hide {
                Some(known) => known,
                None => *may_hide.insert(self.judge()?.may_hide(&ctx.origin()?.caller).await?),
            },
        };
        Ok(if is_part { Sight::Part } else { Sight::All })
    }

    /// What the caller may see of what a question reaches in each of these collections; `None` where that is all.
    pub(crate) async fn bounds(
        &self,
        ctx: &CallCtx,
        views: &[View],
        sights: &[Sight],
        question: &Question,
        asked: &[Asked],
    ) -> Result<Vec<Option<Bounds>>> {
        let mut all = Vec::with_capacity(views.len());
        for (view, sight) in views.iter().zip(sights) {
            all.push(match sight {
                Sight::All => None,
                Sight::Part => Some(self.bounds_of(ctx, view, question, asked).await?),
                Sight::Nothing => Some(Bounds::default()),
            });
        }
        Ok(all)
    }

    async fn bounds_of(
        &self,
        ctx: &CallCtx,
        view: &View,
        question: &Question,
        asked: &[Asked],
    ) -> Result<Bounds> {
        let (collection, filter) = (view.collection.clone(), view.filter(&question.filter));
        let (text, asked) = (question.text.clone(), asked.to_vec());
        let place = Place { collection, filter, bounds: None };
        let reached = blocking(move || searching::reach(&place, &text, &asked)).await?;
        let paths = reached.iter().map(|passage| passage.path.clone()).collect();
        let seen = self.seen(ctx, view, paths).await?;
        let languages = Languages::of(reached.into_iter().filter(|passage| seen.contains(&passage.path)));
        Ok(Bounds { paths: seen.into_iter().collect(), languages })
    }

    /// Whether the caller may call the tool that reads what a collection is of.
    async fn may_see_source(&self, ctx: &CallCtx, view: &View) -> Result<bool> {
        let (of, caller, judge) = (&view.collection.record, &ctx.origin()?.caller, self.judge()?);
        match &of.source {
            SourceKind::Revision(revision) => {
                let members = [("repository", &*of.path), ("revision", revision)];
                judge.may_call(caller, "git_show", &members).await
            }
            SourceKind::Commits(_) => judge.may_call(caller, "git_log", &[("repository", &of.path)]).await,
            SourceKind::Journal { .. } => judge.may_call(caller, "system_read_journal", &[]).await,
            // Files are judged one by one. Everybody on the host can read the manual, and pages are what anybody is shown.
            SourceKind::Files | SourceKind::Manuals(_) | SourceKind::Pages(_) => Ok(true),
        }
    }

    /// The documents among these of a collection that the caller may see: what he may read by the tool that reads it, and, where
    /// it is shared, by his own rights now.
    pub(crate) async fn seen(
        &self,
        ctx: &CallCtx,
        view: &View,
        mut paths: HashSet<String>,
    ) -> Result<HashSet<String>> {
        let (of, caller) = (&view.collection.record, &ctx.origin()?.caller);
        if !self.may_see_source(ctx, view).await? {
            return Ok(HashSet::new());
        }
        // Pages are of the web: whoever shares them was shown what anybody is.
        if view.elsewhere.is_some() && !paths.is_empty() && !matches!(of.source, SourceKind::Pages(_)) {
            // Whatever keeps that from being said keeps them from being shown.
            paths = self.runners.readable(ctx, of, paths).await.unwrap_or_else(|err| {
                tracing::warn!(name = view.name, error = %err, "nobody says who may read a shared collection");
                HashSet::new()
            });
        }
        match &of.source {
            SourceKind::Files | SourceKind::Revision(_) => {}
            SourceKind::Commits(_)
            | SourceKind::Journal { .. }
            | SourceKind::Manuals(_)
            | SourceKind::Pages(_) => return Ok(paths),
        }
        if paths.is_empty() {
            return Ok(paths);
        }
        let judge = self.judge()?;
        let paths: Vec<String> = paths.into_iter().collect();
        let may_read = match &view.elsewhere {
            Some(_) => {
                let whole: Vec<String> = paths.iter().map(|path| view.outside(path.clone())).collect();
                judge.may_read_elsewhere(caller, &paths, &whole).await?
            }
            None => judge.may_read(caller, &paths).await?,
        };
        let visible = paths.into_iter().zip(may_read).filter(|(_, may_read)| *may_read);
        Ok(visible.map(|(path, _)| path).collect())
    }

    /// # Errors
    /// `Denied` for a document that the caller may not read.
    pub(crate) async fn check_seen(&self, ctx: &CallCtx, view: &View, path: &str) -> Result<()> {
        if self.seen(ctx, view, HashSet::from([path.to_owned()])).await?.is_empty() {
            return Err(Error::denied(format!(
                "`{path}` may not be read: a rule says so of the tool that reads it, or, if it is shared, its modes"
            )));
        }
        Ok(())
    }
}

/// What is left out for want of rights, in sentences that say nothing of what it says.
pub(crate) fn left_out(views: &[View], sights: &[Sight]) -> Vec<String> {
    // Of what is another's nobody is told even that it is there.
    let own = || views.iter().zip(sights).filter(|(view, _)| view.elsewhere.is_none());
    let mut notes = Vec::new();
    if own().any(|(_, sight)| *sight == Sight::Part) {
        notes.push("files that a rule keeps from you are left out, whatever they say".into());
    }
    notes.extend(own().filter(|(_, sight)| **sight == Sight::Nothing).map(|(view, _)| {
        format!("`{}` is left out: a rule keeps you from the tool that reads what it is of", view.name)
    }));
    notes
}
