//! Passages that mean the same as one. What the caller may not see has no say in which these are, nor in when enough of them are found: that
//! would tell whether a hidden file has a text, word for word.

use crate::{
    Knowledge,
    collection::{Collection, blocking},
    searching::PLACES_OF_TEXT,
    stored::StoredPassage,
    vectors::Vectors,
};
use skynet_core::{CallCtx, Error, Result};
use skynet_models::{Language, Model};
use std::{collections::HashSet, sync::Arc, vec};
use tantivy::{DocAddress, Searcher};

/// Texts that are looked at for such as mean the same, until the next step would be further than that.
const MOST_NEAR: usize = 4096;

/// Of one text, so many of the places in which it stands are judged first, four times as many each time after that, and so many at most.
const PLACES_FIRST: usize = 16;
const PLACES_JUDGED: usize = 2000;

/// Passages that are read for one question.
const MOST_READ: usize = 20_000;

impl Knowledge {
    /// Passages that mean the same as one, by its id, itself left out.
    ///
    /// # Errors
    /// `NotFound` for an id that is none, or has no vector yet.
    pub async fn similar(
        self: &Arc<Self>,
        ctx: &CallCtx,
        name: &str,
        id: &str,
        most: usize,
    ) -> Result<Vec<(StoredPassage, f32)>> {
        let view = self.find(ctx, name).await?;
        let passage = self.passage(ctx, name, id).await?;
        let wanted = if passage.is_foreign() { Language::Other } else { Language::English };
        let embedder = self.embedders().into_iter().find(|(language, _)| *language == wanted);
        let Some((_, embedder)) = embedder else {
            let why =
                self.models.why_not().unwrap_or_else(|| "no model for its language is installed".into());
            return Err(Error::unavailable(format!("passages cannot be compared: {why}")));
        };
        let (collection, model) = (view.collection.clone(), embedder.model().clone());
        let own_id = view.inside(id).unwrap_or_default();
        let mut nearby =
            blocking(move || Nearby::begin(&collection, &model, passage.key, own_id, most)).await?;
        loop {
            let read;
            (nearby, read) = blocking(move || {
                let read = nearby.read_on()?;
                Ok((nearby, read))
            })
            .await?;
            if read.is_empty() {
                break;
            }
            ctx.check_canceled()?;
            let paths = read.iter().map(|(_, passage)| passage.path.clone()).collect();
            nearby.keep(read, &self.seen(ctx, &view, paths).await?);
        }
        let found = nearby.found().into_iter();
        Ok(found.map(|(passage, cosine)| (view.named(passage), cosine)).collect())
    }
}

/// A text that is near, and where else it stands.
struct Text {
    cosine: f32,
    places: vec::IntoIter<DocAddress>,
    /// So many of them are read next.
    at_once: usize,
    /// So many of them are still to be told.
    left: usize,
}

/// What is nearest to a passage, as far as it was looked at. It is read place by place, and who reads says what of it may be seen.
struct Nearby {
    collection: Arc<Collection>,
    searcher: Searcher,
    vectors: Arc<Vectors>,
    own: Vec<f32>,
    own_id: String,
    most: usize,
    /// The keys of all texts that were looked at.
    known: HashSet<u64>,
    /// How many of the nearest these were, and whether there are no more.
    looked_at: usize,
    is_all: bool,
    /// How many passages were read.
    read: usize,
    /// Texts that are not judged yet.
    waiting: Vec<Text>,
    /// What may be seen.
    found: Vec<(StoredPassage, f32)>,
}

impl Nearby {
    /// Begins at the passage of a key and an id. Blocks.
    ///
    /// # Errors
    /// `NotFound` where that has no vector yet, `Unavailable` when an index cannot be read.
    fn begin(
        collection: &Arc<Collection>,
        model: &Model,
        key: u64,
        own_id: String,
        most: usize,
    ) -> Result<Self> {
        let vectors = collection.vectors(model)?;
        let own = vectors.vectors_of([key]).remove(&key).ok_or_else(|| {
            Error::not_found(
                "this passage has no vector yet; `knowledge_list_collections` tells how far they are",
            )
        })?;
        Ok(Self {
            collection: collection.clone(),
            searcher: collection.lexical.searcher(),
            vectors,
            own,
            own_id,
            most,
            known: HashSet::new(),
            looked_at: 0,
            is_all: false,
            read: 0,
            waiting: Vec::new(),
            found: Vec::new(),
        })
    }

    /// The next passages that are to be judged, each with the number of its text; none when it is over. Blocks.
    ///
    /// # Errors
    /// `Unavailable` when an index cannot be read.
    fn read_on(&mut self) -> Result<Vec<(usize, StoredPassage)>> {
        loop {
            // Only between two steps: what is nearer than what was found may still wait.
            if self.waiting.is_empty() {
                if self.is_all || self.found.len() >= self.most {
                    return Ok(Vec::new());
                }
                self.look_further()?;
            }
            let mut read = Vec::new();
            for (number, text) in self.waiting.iter_mut().enumerate() {
                for address in text.places.by_ref().take(text.at_once) {
                    let passage = self.collection.lexical.passage(&self.searcher, address)?;
                    self.read += 1;
                    if passage.id() != self.own_id {
                        read.push((number, passage));
                    }
                }
                text.at_once *= 4;
            }
            if !read.is_empty() {
                return Ok(read);
            }
            self.keep(read, &HashSet::new());
        }
    }

    /// Takes the next of the nearest texts, four times as many as before: the nearest of all are those of what the passage said before, which
    /// stand nowhere any more.
    fn look_further(&mut self) -> Result<()> {
        self.looked_at = if self.looked_at == 0 { self.most + 1 } else { self.looked_at * 4 };
        let nearest = self.vectors.search(&self.own, self.looked_at)?;
        self.is_all = nearest.len() < self.looked_at || self.looked_at >= MOST_NEAR;
        let new: Vec<(u64, f32)> = nearest.into_iter().filter(|(key, _)| self.known.insert(*key)).collect();
        let mut places = self.collection.lexical.locate(&self.searcher, new.iter().map(|(key, _)| *key))?;
        for (key, cosine) in new {
            let Some(mut places) = places.remove(&key) else { continue };
            places.truncate(PLACES_JUDGED);
            let (places, at_once, left) = (places.into_iter(), PLACES_FIRST, PLACES_OF_TEXT);
            self.waiting.push(Text { cosine, places, at_once, left });
        }
        Ok(())
    }

    /// Keeps of what was read what may be seen.
    fn keep(&mut self, read: Vec<(usize, StoredPassage)>, seen: &HashSet<String>) {
        for (number, passage) in read {
            let Some(text) = self.waiting.get_mut(number) else { continue };
            if text.left > 0 && seen.contains(&passage.path) {
                text.left -= 1;
                self.found.push((passage, text.cosine));
            }
        }
        self.waiting.retain(|text| text.left > 0 && !text.places.as_slice().is_empty());
        if self.read >= MOST_READ {
            self.waiting.clear();
            self.is_all = true;
        }
    }

    /// The nearest that may be seen, nearest first.
    fn found(mut self) -> Vec<(StoredPassage, f32)> {
        self.found.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        self.found.truncate(self.most);
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::given;
    use std::collections::HashMap;

    /// What is found for the passage of `open/own`, by somebody who sees what is below `open/`: the paths.
    fn found(texts: &[(String, &str)], most: usize) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let documents = texts.iter().map(|(path, text)| (path.clone(), given::text(text)));
        let collection = given::collection(directory.path(), documents.collect());
        let model = Model { id: "flat".into(), sha256: "0".repeat(64), dimensions: 2 };
        let (searcher, vectors) = (collection.lexical.searcher(), collection.vectors(&model).unwrap());
        let (mut own, mut all) = (None, HashMap::new());
        for (key, _, address) in collection.lexical.keys().unwrap() {
            let passage = collection.lexical.passage(&searcher, address).unwrap();
            if passage.path == "open/own" {
                own = Some(key);
            }
            all.insert(key, vector(&passage.passage.text));
        }
        vectors.add(&all.into_iter().collect::<Vec<_>>()).unwrap();
        let mut nearby = Nearby::begin(&collection, &model, own.unwrap(), "open/own#0".into(), most).unwrap();
        loop {
            let read = nearby.read_on().unwrap();
            if read.is_empty() {
                break;
            }
            let paths = read.iter().map(|(_, passage)| passage.path.clone());
            let seen = paths.filter(|path| path.starts_with("open/")).collect();
            nearby.keep(read, &seen);
        }
        nearby.found().into_iter().map(|(passage, _)| passage.path).collect()
    }

    /// The nearer to `near0` the smaller the number behind it is.
    fn vector(text: &str) -> Vec<f32> {
        let angle = text.trim_start_matches("near").parse::<f32>().unwrap() / 1000.0;
        vec![angle.cos(), angle.sin()]
    }

    #[test]
    fn what_is_hidden_has_no_say_in_what_is_similar() {
        let names: Vec<String> = (0..300).map(|number| format!("near{number}")).collect();
        let open = [("open/own".to_owned(), "near0"), ("open/far".to_owned(), "near290")];
        assert_eq!(found(&open, 1), ["open/far"]);
        // Nearer ones, and the very same text many times over.
        let mut all = open.to_vec();
        all.extend((1..200).map(|number| (format!("vault/{number}"), names[number].as_str())));
        all.extend((0..100).map(|number| (format!("vault/same{number}"), "near0")));
        assert_eq!(found(&all, 1), ["open/far"]);
        assert_eq!(found(&all, 9), ["open/far"]);
        // A place that may be seen is found behind all of these.
        all.push(("open/same".to_owned(), "near0"));
        assert_eq!(found(&all, 1), ["open/same"]);
        assert_eq!(found(&all, 9), ["open/same", "open/far"]);
    }

    #[test]
    fn of_one_text_some_places_are_told() {
        let mut all = vec![("open/own".to_owned(), "near0"), ("open/next".to_owned(), "near290")];
        all.extend((0..200).map(|number| (format!("open/same{number}"), "near0")));
        let found = found(&all, 50);
        assert_eq!(found.len(), PLACES_OF_TEXT + 1, "{found:?}");
        assert_eq!(found.last().unwrap(), "open/next");
    }
}
