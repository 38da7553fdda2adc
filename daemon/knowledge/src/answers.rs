//! What is asked of collections. Nothing is shown of a file that the caller may not read now.

use crate::{
    Knowledge,
    collection::{self, Asked, EMBED_FOR, Filter, blocking},
    ranking::{Kind, Ranked},
    searching::{self, Bounds, Found, Place},
    sight::{self, Sight},
    stored::{FileState, StoredPassage},
    views::View,
};
use skynet_core::{CallCtx, Error, Result};
use skynet_documents::SourceKind;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::time::timeout;

/// Passages that a re-ranker reads, and how long it may take.
const RERANKED: usize = 30;
const RERANK_FOR: Duration = Duration::from_millis(1500);

/// Passages that words found, told before vectors are there.
const TOLD_FIRST: usize = 8;

/// A question.
#[derive(Clone, Debug)]
pub struct Question {
    /// What is looked for.
    pub text: String,
    /// Names of collections; empty for all that the caller may ask.
    pub collections: Vec<String>,
    /// What may be found.
    pub filter: Filter,
    /// How many passages.
    pub most: usize,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Best first, each with the name of its collection.
    pub found: Vec<(String, Ranked)>,
    /// What the question was taken for.
    pub kind: Kind,
    /// What the answer lacks, and why: in sentences.
    pub notes: Vec<String>,
}

impl Knowledge {
    /// Answers a question, by words alone where there is no model. Progress tells what words found, before vectors are asked.
    ///
    /// # Errors
    /// `NotFound` when there is no collection, or none of a name; `Unavailable` when an index cannot be read.
    pub async fn search(self: &Arc<Self>, ctx: &CallCtx, question: Question) -> Result<Answer> {
        let mut answer = Answer { found: Vec::new(), kind: Kind::Prose, notes: Vec::new() };
        let views = self.asked(ctx, &question.collections).await?;
        let sights = self.sights(ctx, &views).await?;
        for (view, sight) in views.iter().zip(&sights) {
            answer.notes.extend(self.freshen(view, *sight, ctx).await);
        }
        answer.notes.extend(sight::left_out(&views, &sights));
        let collections: Vec<_> = views.iter().map(|view| view.collection.clone()).collect();
        let embedders = self.embedders();
        let asked = collection::vectors_of(&collections, &embedders, &question.text, EMBED_FOR);
        let (asked, first) = tokio::join!(asked, async {
            // Without a model this is the answer itself.
            if embedders.is_empty() { Ok(()) } else { self.tell_first(ctx, &views, &sights, &question).await }
        });
        first?;
        if embedders.is_empty() {
            let why = self.models.why_not().unwrap_or_else(|| "no embedding model can be used".into());
            answer.notes.push(format!("found by words alone: {why}"));
        }
        let asked = asked.unwrap_or_else(|err| {
            answer.notes.push(format!("found by words alone: {err}"));
            Vec::new()
        });
        ctx.check_canceled()?;
        let bounds = self.bounds(ctx, &views, &sights, &question, &asked).await?;
        // More than are wanted: what may not be seen any more is taken out afterwards.
        let most = question.most.max(RERANKED).saturating_mul(views.len());
        let found = ask(&views, &bounds, &question, asked, most).await?;
        answer.kind = found.kind;
        for (of, fault) in found.faults {
            let Some(view) = views.get(of) else { continue };
            answer.notes.push(format!("some of `{}` is found by words alone: {fault}", view.name));
            self.embed(&view.collection);
        }
        let is_hidden;
        (answer.found, is_hidden) = self.shown(ctx, &views, &bounds, found.ranked).await?;
        if is_hidden {
            answer
                .notes
                .push("some of what was found is in files that you may not read, and is left out".into());
        }
        self.rerank(&question.text, &mut answer).await;
        answer.found.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score));
        answer.found.truncate(question.most);
        Ok(answer)
    }

    /// Tells, as progress, what words alone find, while a model reads the question; of what is seen whole, which needs no second look.
    async fn tell_first(
        &self,
        ctx: &CallCtx,
        views: &[View],
        sights: &[Sight],
        question: &Question,
    ) -> Result<()> {
        let whole = views.iter().zip(sights).filter(|(_, sight)| **sight == Sight::All);
        let whole: Vec<View> = whole.map(|(view, _)| view.clone()).collect();
        if whole.is_empty() {
            return Ok(());
        }
        let bounds = vec![None; whole.len()];
        let found = ask(&whole, &bounds, question, Vec::new(), TOLD_FIRST * whole.len()).await?;
        let (mut places, _) = self.shown(ctx, &whole, &bounds, found.ranked).await?;
        places.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score));
        places.truncate(TOLD_FIRST);
        let places = places.iter().map(|(_, ranked)| {
            let StoredPassage { path, passage, .. } = &ranked.passage;
            format!("{path}:{}-{}", passage.first_line, passage.last_line)
        });
        let places: Vec<String> = places.collect();
        if !places.is_empty() {
            ctx.progress(1.0, Some(2.0), format!("by words: {}", places.join(", ")));
        }
        Ok(())
    }

    /// What of this the caller may see, with the name of its collection and as he calls it; and whether some of his own is left out. Of
    /// what is another's he is not told even that it is there.
    async fn shown(
        &self,
        ctx: &CallCtx,
        views: &[View],
        bounds: &[Option<Bounds>],
        ranked: Vec<(usize, Ranked)>,
    ) -> Result<(Vec<(String, Ranked)>, bool)> {
        let mut of_views = Vec::with_capacity(views.len());
        for (number, (view, bounds)) in views.iter().zip(bounds).enumerate() {
            let seen: HashSet<String> = match bounds {
                // For this question they were judged just now.
                Some(bounds) => bounds.paths.iter().cloned().collect(),
                None => {
                    let own = ranked.iter().filter(|(of, _)| *of == number);
                    let paths = own.map(|(_, ranked)| ranked.passage.path.clone()).collect();
                    self.seen(ctx, view, paths).await?
                }
            };
            of_views.push((view, seen));
        }
        let (mut shown, mut is_hidden) = (Vec::new(), false);
        for (of, mut ranked) in ranked {
            let Some((view, seen)) = of_views.get(of) else { continue };
            if seen.contains(&ranked.passage.path) {
                ranked.passage.path = view.outside(ranked.passage.path);
                shown.push((view.name.clone(), ranked));
            } else {
                is_hidden |= view.elsewhere.is_none();
            }
        }
        Ok((shown, is_hidden))
    }

    /// Has a cross-encoder, where one is installed, read the best with the question. It has its time, and is not waited for longer.
    async fn rerank(&self, question: &str, answer: &mut Answer) {
        let Some(reranker) = self.models.reranker() else { return };
        answer.found.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score));
        let best: Vec<String> = answer
            .found
            .iter()
            .take(RERANKED)
            .map(|(_, ranked)| ranked.passage.passage.in_context())
            .collect();
        match timeout(RERANK_FOR, reranker.score(question, &best)).await {
            Ok(Ok(scores)) => {
                for ((_, ranked), score) in answer.found.iter_mut().zip(scores) {
                    // A logit: the odds that it answers.
                    let likelihood = 1.0 / (1.0 + (-score).exp());
                    ranked.legs.reranker = Some(likelihood);
                    ranked.score = f32::midpoint(ranked.score, likelihood);
                }
            }
            Ok(Err(err)) => answer.notes.push(format!("not re-ranked: {err}")),
            Err(_) => answer.notes.push("not re-ranked: the re-ranker took too long".into()),
        }
    }

    /// A passage by its id.
    ///
    /// # Errors
    /// `NotFound` for an id that is none.
    pub async fn passage(self: &Arc<Self>, ctx: &CallCtx, name: &str, id: &str) -> Result<StoredPassage> {
        let passages = self.passages_around(ctx, name, id, 0).await?;
        passages.into_iter().next().ok_or_else(|| no_passage(id))
    }

    /// A passage by its id, with so many before and after it.
    ///
    /// # Errors
    /// `NotFound` for an id that is none.
    pub async fn passages_around(
        self: &Arc<Self>,
        ctx: &CallCtx,
        name: &str,
        id: &str,
        around: u32,
    ) -> Result<Vec<StoredPassage>> {
        let view = self.find(ctx, name).await?;
        let (path, sequence) = id.rsplit_once('#').ok_or_else(|| no_passage(id))?;
        let sequence: u32 = sequence.parse().map_err(|_| no_passage(id))?;
        let path = view.inside(path).ok_or_else(|| no_passage(id))?;
        self.check_seen(ctx, &view, &path).await?;
        let collection = view.collection.clone();
        let passages = blocking(move || collection.lexical.passages_of(&path)).await?;
        if !passages.iter().any(|passage| passage.sequence == sequence) {
            return Err(no_passage(id));
        }
        let is_near = |passage: &StoredPassage| passage.sequence.abs_diff(sequence) <= around;
        Ok(passages.into_iter().filter(is_near).map(|passage| view.named(passage)).collect())
    }

    /// What is known of a file, in the first collection that has it, and the names of the others that do.
    ///
    /// # Errors
    /// `NotFound` for a file that is in no collection.
    pub async fn file(
        self: &Arc<Self>,
        ctx: &CallCtx,
        collections: &[String],
        path: &str,
    ) -> Result<(String, FileState, Vec<String>)> {
        let workspace = ctx.workspace()?;
        let (mut first, mut others) = (None, Vec::new());
        for view in self.asked(ctx, collections).await? {
            let collection = view.collection.clone();
            // What is not of the workspace has its path from its source.
            let is_of_workspace = view.elsewhere.is_none()
                && matches!(collection.record.source, SourceKind::Files | SourceKind::Revision(_));
            let path = match workspace.relative(path) {
                Ok(relative) if is_of_workspace => relative.to_string(),
                // Another collection may have it.
                Err(_) if is_of_workspace => continue,
                _ => match view.inside(path) {
                    Some(path) => path,
                    None => continue,
                },
            };
            // Also where there is no such document: that there is one is not told either.
            match self.check_seen(ctx, &view, &path).await {
                Err(_) if view.elsewhere.is_some() || first.is_some() => continue,
                checked => checked?,
            }
            let Some(file) = blocking(move || collection.lexical.file(&path)).await? else { continue };
            match &first {
                Some(_) => others.push(view.name),
                None => first = Some((view.name, file)),
            }
        }
        let (name, file) = first.ok_or_else(|| {
            Error::not_found(format!("`{path}` is in no collection; see `knowledge_list_collections`"))
        })?;
        Ok((name, file, others))
    }
}

/// Asks all of them together.
async fn ask(
    views: &[View],
    bounds: &[Option<Bounds>],
    question: &Question,
    asked: Vec<Asked>,
    most: usize,
) -> Result<Found> {
    let place = |(view, bounds): (&View, &Option<Bounds>)| Place {
        collection: view.collection.clone(),
        filter: view.filter(&question.filter),
        bounds: bounds.clone(),
    };
    let places: Vec<Place> = views.iter().zip(bounds).map(place).collect();
    let text = question.text.clone();
    blocking(move || searching::search(&places, &text, &asked, most)).await
}

fn no_passage(id: &str) -> Error {
    Error::not_found(format!(
        "there is no passage `{id}`; ids are those that `knowledge_search` answers, and end with their file"
    ))
}
