//! What collections answer to one question, as if they were one: words and vectors are looked for in all of them, and what they put
//! forward is ranked once, by scores that mean the same wherever a passage stands.

use crate::{
    analysis::ENGLISH,
    collection::{Asked, Collection, Filter, lock},
    languages::Languages,
    lexical::{Hit, terms},
    ranking::{self, Candidate, Kind, Legs, Ranked},
    statistics::{Counted, Even, Statistics},
    stored::StoredPassage,
    vectors::Vectors,
};
use skynet_core::Result;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};
use tantivy::{
    DocAddress, Searcher,
    query::{Bm25StatisticsProvider, TermSetQuery},
};

/// Passages that words, and vectors, put forward. With a filter more are looked at, as some of them do not fit.
const CANDIDATES: usize = 200;
const CANDIDATES_TO_FILTER: usize = 2000;

/// Of one text that vectors found, so many of the places in which it stands.
pub(crate) const PLACES_OF_TEXT: usize = 4;

/// Before it is known what may be seen, so many passages are looked at for all words of a question, and for each of its vectors; and so
/// many places of one text.
const REACHED: usize = 1000;
const REACHED_PLACES: usize = 64;

/// Where not all may be seen, so many words of a question count, so that each has a fair share of what is reached.
const MOST_WORDS: usize = 20;

/// Passages that are read to find those that a filter lets through, before it is found out what all of it is.
const READ_TO_FILTER: usize = 5 * CANDIDATES_TO_FILTER;

/// The number of a place, and the key of a passage there.
type Key = (usize, u64);

/// Passages that were read, but for those that a filter does not let through.
type Known = HashMap<DocAddress, Option<StoredPassage>>;

/// A collection that is asked, and what of it may be answered.
pub(crate) struct Place {
    pub(crate) collection: Arc<Collection>,
    pub(crate) filter: Filter,
    /// What whoever asks may see of it; `None` for all. Nothing else has a say in what he is answered.
    pub(crate) bounds: Option<Bounds>,
}

/// The part of a collection that may be seen, as far as a question reaches it.
#[derive(Clone, Default)]
pub(crate) struct Bounds {
    /// Its documents.
    pub(crate) paths: Vec<String>,
    /// The languages of what was reached of them.
    pub(crate) languages: Languages,
}

/// What was found.
pub(crate) struct Found {
    /// What the question was taken for.
    pub(crate) kind: Kind,
    /// Best first, each with the number of its place.
    pub(crate) ranked: Vec<(usize, Ranked)>,
    /// The numbers of places that were not asked by all vectors, each with what is wrong with these.
    pub(crate) faults: Vec<(usize, String)>,
}

/// What a question could put forward of a collection if all of it might be seen: the best for each of its words, and the nearest to it. How
/// good a passage is counts by itself here, so that nothing of this tells what else there is.
///
/// # Errors
/// `Unavailable` when an index cannot be read.
pub(crate) fn reach(place: &Place, question: &str, asked: &[Asked]) -> Result<Vec<StoredPassage>> {
    let mut look = Look::new(0, place, question, asked)?;
    look.terms.truncate(MOST_WORDS);
    if let Some(reached) = reached(&look)? {
        return Ok(reached);
    }
    look.narrow()?;
    Ok(reached(&look)?.unwrap_or_default())
}

/// The same by a look; `None` where its filter leaves too little of the best, and what all of it is must be found out. It is no other
/// answer then, but one that takes longer.
fn reached(look: &Look<'_>) -> Result<Option<Vec<StoredPassage>>> {
    let is_open = look.is_filtered() && look.within.is_none();
    let most = |fitting: usize| if is_open { CANDIDATES_TO_FILTER } else { fitting };
    let mut known: Known = HashMap::new();
    let each = REACHED.div_ceil(look.terms.len().max(1));
    for word in &look.terms {
        let hits = look.search(std::slice::from_ref(word), &Even, most(each))?;
        let (is_cut, mut held) = (hits.len() >= most(each), 0);
        for hit in hits {
            if held == each {
                break;
            }
            held += usize::from(look.reaches(hit.address, &mut known)?);
        }
        if is_open && (is_cut && held < each || known.len() > READ_TO_FILTER) {
            return Ok(None);
        }
    }
    for model in 0..look.vectors.len() {
        let near = look.nearest(model, most(REACHED))?;
        let (is_cut, mut held) = (near.len() >= most(REACHED), 0);
        let places = look.places(near.iter().map(|(key, _)| *key))?;
        for (key, _) in near {
            if held == REACHED {
                break;
            }
            let mut left = REACHED_PLACES;
            for address in places.get(&key).into_iter().flatten().take(most(REACHED_PLACES)) {
                if left == 0 {
                    break;
                }
                left -= usize::from(look.reaches(*address, &mut known)?);
            }
            held += usize::from(left < REACHED_PLACES);
            if is_open && known.len() > READ_TO_FILTER {
                return Ok(None);
            }
        }
        if is_open && is_cut && held < REACHED {
            return Ok(None);
        }
    }
    Ok(Some(known.into_values().flatten().collect()))
}

/// The passages that answer a question best. `asked` is its vector by each model.
///
/// # Errors
/// `Unavailable` when an index cannot be read.
pub(crate) fn search(places: &[Place], question: &str, asked: &[Asked], most: usize) -> Result<Found> {
    let looks = places.iter().enumerate().map(|(number, place)| Look::new(number, place, question, asked));
    let mut looks: Vec<Look<'_>> = looks.collect::<Result<_>>()?;
    // A name is one everywhere, and what some collection speaks is prose.
    let kind = looks.first().map(|look| look.kind);
    let kind = kind.filter(|kind| looks.iter().all(|look| look.kind == *kind)).unwrap_or(Kind::Prose);
    let mut found = by_words(&mut looks)?;
    let near = by_vectors(&mut looks, asked.len(), &mut found)?;
    let mut known: HashMap<Key, (Vec<f32>, f32)> = HashMap::new();
    for look in &looks {
        let keys = || found.iter().filter(|one| one.of == look.number).map(|one| one.passage.key);
        for (vectors, asked) in look.vectors.iter().flatten() {
            for (key, vector) in vectors.vectors_of(keys()) {
                let cosine = ranking::cosine(asked, &vector);
                known.insert((look.number, key), (vector, cosine));
            }
        }
    }
    let kinds: HashMap<usize, Kind> = looks.iter().map(|look| (look.number, look.kind)).collect();
    let candidates = found.into_iter().map(|Forward { of, passage, words, .. }| {
        let place = (of, passage.key);
        let (vector, cosine) = known.get(&place).cloned().unzip();
        let legs = Legs { words, vector: cosine, reranker: None };
        let kind = kinds.get(&of).copied().unwrap_or(kind);
        Candidate { of, kind, legs, passage, vector, is_near: near.contains(&place) }
    });
    let terms: Vec<String> = question
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|term| !term.is_empty())
        .map(str::to_lowercase)
        .collect();
    let is_foreign = skynet_documents::language(question).is_some_and(|language| language != ENGLISH);
    let names = ranking::names(question);
    let asked = ranking::Asked { is_foreign, terms: &terms, names: &names };
    let ranked = ranking::rank(candidates.collect(), &asked, most);
    let faults = looks.iter_mut().flat_map(|look| {
        let number = look.number;
        std::mem::take(&mut look.faults).into_iter().map(move |fault| (number, fault))
    });
    Ok(Found { kind, ranked, faults: faults.collect() })
}

/// One of the collections, while it is asked.
struct Look<'a> {
    number: usize,
    place: &'a Place,
    /// The state of its words that all of this is about.
    searcher: Searcher,
    kind: Kind,
    /// The words of the question in its languages.
    terms: Vec<String>,
    /// Those of each model that read the question, and what that made of it; `None` where they cannot be opened.
    vectors: Vec<Option<(Arc<Vectors>, &'a [f32])>>,
    /// What is wrong with vectors.
    faults: Vec<String>,
    /// All that may be seen and that the filter lets through, once it is known.
    within: Option<Within>,
}

/// The part of a collection that may be seen, or that a filter lets through.
struct Within {
    /// Its documents.
    files: TermSetQuery,
    /// Where its passages are, by their keys.
    places: HashMap<u64, Vec<DocAddress>>,
}

/// A passage that was put forward.
struct Forward {
    of: usize,
    address: DocAddress,
    passage: StoredPassage,
    words: Option<f32>,
}

impl<'a> Look<'a> {
    fn new(number: usize, place: &'a Place, question: &str, asked: &'a [Asked]) -> Result<Self> {
        let collection = &place.collection;
        let bounds = place.bounds.as_ref();
        let languages =
            bounds.map_or_else(|| lock(&collection.languages).clone(), |bounds| bounds.languages.clone());
        let counts = languages.counts();
        let kind = Kind::of(question, |language| {
            counts.is_empty() || counts.iter().any(|(known, _)| known == language)
        });
        let mut faults = Vec::new();
        // Words are found without them.
        let vectors = asked.iter().map(|(model, vector)| match collection.vectors(model) {
            Ok(vectors) => {
                if vectors.is_incomplete() {
                    faults.push(format!(
                        "vectors by `{}` were damaged or of other weights, and are being made anew",
                        model.id
                    ));
                }
                Some((vectors, vector.as_slice()))
            }
            Err(err) => {
                faults.push(err.to_string());
                None
            }
        });
        let vectors = vectors.collect();
        let searcher = collection.lexical.searcher();
        let within = bounds.map(|bounds| Within::of(collection, &searcher, &bounds.paths)).transpose()?;
        let mut terms = terms(&languages.without_common_code(question), &languages.of_question(question));
        if bounds.is_some() {
            terms.truncate(MOST_WORDS);
        }
        Ok(Self { number, place, searcher, kind, terms, vectors, faults, within })
    }

    /// What of it counts for how common words are.
    fn counted(&self) -> Counted {
        let bounded = self.within.as_ref().filter(|_| self.place.bounds.is_some());
        let only = bounded.map(|within| within.places.values().flatten().copied().collect());
        Counted { searcher: self.searcher.clone(), only }
    }

    fn is_filtered(&self) -> bool {
        !self.place.filter.is_empty()
    }

    /// How many passages each leg looks at.
    fn most(&self) -> usize {
        match &self.within {
            None if self.is_filtered() => CANDIDATES_TO_FILTER,
            // All of these fit.
            None | Some(_) => CANDIDATES,
        }
    }

    fn hits(&self, statistics: &Statistics) -> Result<Vec<Hit>> {
        self.search(&self.terms, statistics, self.most())
    }

    /// The best passages for some words, of all that is to be looked at.
    fn search(
        &self,
        terms: &[String],
        statistics: &dyn Bm25StatisticsProvider,
        most: usize,
    ) -> Result<Vec<Hit>> {
        // Of no passage at all there is no average, either.
        if self.within.as_ref().is_some_and(|within| within.places.is_empty()) {
            return Ok(Vec::new());
        }
        let files = self.within.as_ref().map(|within| &within.files);
        self.place.collection.lexical.search(&self.searcher, terms, statistics, files, most)
    }

    /// The nearest by one of the models.
    fn nearest(&self, model: usize, most: usize) -> Result<Vec<(u64, f32)>> {
        let Some((vectors, asked)) = self.vectors.get(model).and_then(Option::as_ref) else {
            return Ok(Vec::new());
        };
        match &self.within {
            None => vectors.search(asked, most),
            Some(within) => vectors.search_within(asked, &within.places, most),
        }
    }

    /// Where the passages of some keys are.
    fn places(&self, keys: impl Iterator<Item = u64>) -> Result<HashMap<u64, Vec<DocAddress>>> {
        match &self.within {
            None => self.place.collection.lexical.locate(&self.searcher, keys),
            Some(within) => {
                Ok(keys.filter_map(|key| Some((key, within.places.get(&key)?.clone()))).collect())
            }
        }
    }

    /// The passage at a place, if it may be answered.
    fn read(&self, address: DocAddress, words: Option<f32>) -> Result<Option<Forward>> {
        let passage = self.place.collection.lexical.passage(&self.searcher, address)?;
        let is_held = self.place.filter.holds(&passage);
        Ok(is_held.then_some(Forward { of: self.number, address, passage, words }))
    }

    /// Whether the filter lets the passage at a place through, which is read once.
    fn reaches(&self, address: DocAddress, known: &mut Known) -> Result<bool> {
        if let Some(passage) = known.get(&address) {
            return Ok(passage.is_some());
        }
        let passage = self.place.collection.lexical.passage(&self.searcher, address)?;
        let passage = Some(passage).filter(|passage| self.place.filter.holds(passage));
        let is_held = passage.is_some();
        known.insert(address, passage);
        Ok(is_held)
    }

    /// Finds out what all of the filter is: the best of everything had too little of it.
    fn narrow(&mut self) -> Result<()> {
        if self.within.is_some() {
            return Ok(());
        }
        let (lexical, filter) = (&self.place.collection.lexical, &self.place.filter);
        let paths: Vec<String> = if filter.is_of_paths() {
            lexical.paths(&self.searcher)?.into_iter().filter(|path| filter.holds_path(path)).collect()
        } else {
            let files = lexical.files()?.into_iter().filter(|file| filter.holds_file(file));
            files.map(|file| file.path).collect()
        };
        self.within = Some(Within::of(&self.place.collection, &self.searcher, &paths)?);
        Ok(())
    }
}

impl Within {
    fn of(collection: &Collection, searcher: &Searcher, paths: &[String]) -> Result<Self> {
        let files = collection.lexical.at(paths);
        let places = collection.lexical.places_in(searcher, &files)?;
        Ok(Self { files, places })
    }
}

/// What words put forward.
fn by_words(looks: &mut [Look<'_>]) -> Result<Vec<Forward>> {
    let statistics = Statistics::of(looks.iter().map(Look::counted).collect());
    let mut lists: Vec<Vec<Hit>> = looks.iter().map(|look| look.hits(&statistics)).collect::<Result<_>>()?;
    let (found, looked) = take_hits(looks, &lists)?;
    let mut has_narrowed = false;
    for (look, list) in looks.iter_mut().zip(&mut lists) {
        // There were more, and nobody looked at them.
        let is_cut = list.len() == look.most() && looked.get(&look.number) == Some(&list.len());
        if look.is_filtered() && look.within.is_none() && is_cut {
            look.narrow()?;
            *list = look.hits(&statistics)?;
            has_narrowed = true;
        }
    }
    if has_narrowed { Ok(take_hits(looks, &lists)?.0) } else { Ok(found) }
}

/// The best of all lists that may be answered, and how many of each were looked at.
fn take_hits(looks: &[Look<'_>], lists: &[Vec<Hit>]) -> Result<(Vec<Forward>, HashMap<usize, usize>)> {
    let hits = looks.iter().zip(lists).flat_map(|(look, hits)| hits.iter().map(move |hit| (look, hit)));
    let mut hits: Vec<(&Look<'_>, &Hit)> = hits.collect();
    hits.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score));
    let (mut found, mut looked) = (Vec::new(), HashMap::new());
    for (look, hit) in hits {
        if found.len() == CANDIDATES {
            break;
        }
        *looked.entry(look.number).or_default() += 1;
        found.extend(look.read(hit.address, Some(hit.score))?);
    }
    Ok((found, looked))
}

/// Adds what vectors put forward; which passages these were, also those that words had found.
fn by_vectors(looks: &mut [Look<'_>], models: usize, found: &mut Vec<Forward>) -> Result<HashSet<Key>> {
    let (near, full) = nearest(looks, models)?;
    let (more, looked) = take_near(looks, &near, found)?;
    let mut has_narrowed = false;
    for look in looks.iter_mut().filter(|look| full.contains(&look.number)) {
        let all = near.keys().filter(|(of, _)| *of == look.number).count();
        if look.is_filtered() && looked.get(&look.number) == Some(&all) {
            has_narrowed |= look.within.is_none();
            look.narrow()?;
        }
    }
    if !has_narrowed {
        found.extend(more);
        return Ok(near.into_keys().collect());
    }
    let (near, _) = nearest(looks, models)?;
    let (more, _) = take_near(looks, &near, found)?;
    found.extend(more);
    Ok(near.into_keys().collect())
}

/// The cosines of the nearest passages by place and key, and the places that may have more.
fn nearest(looks: &[Look<'_>], models: usize) -> Result<(HashMap<Key, f32>, HashSet<usize>)> {
    let (mut near, mut full) = (HashMap::new(), HashSet::new());
    for model in 0..models {
        let mut of_model: Vec<(Key, f32)> = Vec::new();
        for look in looks {
            let nearest = look.nearest(model, look.most())?;
            if nearest.len() >= look.most() {
                full.insert(look.number);
            }
            of_model.extend(nearest.into_iter().map(|(key, cosine)| ((look.number, key), cosine)));
        }
        // With a filter, the nearest of all may be none that fits.
        if !looks.iter().any(Look::is_filtered) {
            of_model.sort_by(|(_, a), (_, b)| b.total_cmp(a));
            of_model.truncate(CANDIDATES);
        }
        near.extend(of_model);
    }
    Ok((near, full))
}

/// The nearest that may be answered and that words did not find: each leg has as many places, whatever the other found. And how many
/// keys of each place were looked at.
fn take_near(
    looks: &[Look<'_>],
    near: &HashMap<Key, f32>,
    found: &[Forward],
) -> Result<(Vec<Forward>, HashMap<usize, usize>)> {
    let mut places: HashMap<Key, Vec<DocAddress>> = HashMap::new();
    for look in looks {
        let keys = near.keys().filter(|(of, _)| *of == look.number).map(|(_, key)| *key);
        let of_look = look.places(keys)?.into_iter();
        places.extend(of_look.map(|(key, addresses)| ((look.number, key), addresses)));
    }
    let by_number: HashMap<usize, &Look<'_>> = looks.iter().map(|look| (look.number, look)).collect();
    let mut nearest: Vec<(Key, f32)> = near.iter().map(|(place, near)| (*place, *near)).collect();
    nearest.sort_by(|((of, key), near), ((other, other_key), nearer)| {
        nearer.total_cmp(near).then(key.cmp(other_key)).then(of.cmp(other))
    });
    let mut seen: HashSet<(usize, DocAddress)> = found.iter().map(|one| (one.of, one.address)).collect();
    let (mut more, mut looked) = (Vec::new(), HashMap::new());
    for (place, _) in nearest {
        let Some(look) = by_number.get(&place.0) else { continue };
        // One text may stand in a thousand places, and a filter hold few of them.
        let mut left = PLACES_OF_TEXT;
        for address in places.get(&place).into_iter().flatten().take(CANDIDATES_TO_FILTER) {
            if more.len() == CANDIDATES {
                return Ok((more, looked));
            }
            if left == 0 {
                break;
            }
            let is_new = seen.insert((look.number, *address));
            let read = if is_new { look.read(*address, None)? } else { None };
            left -= usize::from(!is_new || read.is_some());
            more.extend(read);
        }
        *looked.entry(look.number).or_default() += 1;
    }
    Ok((more, looked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{collection::vectors_in, sample::given};
    use globset::Glob;
    use skynet_documents::Format;
    use skynet_models::Model;
    use std::{fs, os::unix::fs::symlink, path::Path};

    const QUESTION: &str = "descale the kettle with vinegar";

    /// Documents of one passage each.
    type Texts = Vec<(String, String)>;

    fn collection(directory: &Path, texts: &Texts) -> Arc<Collection> {
        let documents = texts.iter().map(|(path, text)| (path.clone(), given::text(text)));
        given::collection(directory, documents.collect())
    }

    fn place(collection: &Arc<Collection>, glob: Option<&str>) -> Place {
        let path = glob.map(|glob| Glob::new(glob).unwrap().compile_matcher());
        let filter = Filter { path, ..Filter::default() };
        Place { collection: collection.clone(), filter, bounds: None }
    }

    /// The same for somebody who may see what is called `good`, and nothing else.
    fn bounded(collection: &Arc<Collection>) -> Place {
        let all = place(collection, None);
        let reached = reach(&all, QUESTION, &[]).unwrap();
        let seen: Vec<_> = reached.into_iter().filter(|passage| passage.path.starts_with("good")).collect();
        let paths = seen.iter().map(|passage| passage.path.clone()).collect();
        Place { bounds: Some(Bounds { paths, languages: Languages::of(seen.into_iter()) }), ..all }
    }

    /// What words give each passage, by path.
    fn word_scores(places: &[Place]) -> Vec<(String, f32)> {
        let found = search(places, QUESTION, &[], 50).unwrap().ranked.into_iter();
        let mut scores: Vec<_> =
            found.map(|(_, ranked)| (ranked.passage.path, ranked.legs.words.unwrap())).collect();
        scores.sort_by(|(a, _), (b, _)| a.cmp(b));
        scores
    }

    fn are_alike(some: &[(String, f32)], others: &[(String, f32)]) -> bool {
        some.len() == others.len()
            && some.iter().zip(others).all(|((a, x), (b, y))| a == b && (x - y).abs() < 1e-5)
    }

    fn answers(places: &[Place], asked: &[Asked], most: usize) -> Vec<(String, f32)> {
        let found = search(places, QUESTION, asked, most).unwrap();
        found.ranked.into_iter().map(|(_, ranked)| (ranked.passage.path, ranked.score)).collect()
    }

    fn good() -> Texts {
        let text = |number: usize| {
            let rest = format!("and then rinse{number} dry{number} fill{number}. ").repeat(number + 1);
            (format!("good{number}"), format!("Descale the kettle with vinegar, {rest}"))
        };
        (0..6).map(text).collect()
    }

    fn poor() -> Texts {
        let filler = "The harbour is closed in winter and opens again when the ice has gone. ";
        let text = |number: usize| {
            let word = if number == 0 { "A kettle stands there." } else { "" };
            let own = format!("Pier{number} quay{number} mole{number}.");
            (format!("poor{number}"), format!("{own} {} {word}", filler.repeat(4)))
        };
        (0..3).map(text).collect()
    }

    #[test]
    fn the_best_of_a_poor_collection_is_not_taken_for_the_best_of_all() {
        let directory = tempfile::tempdir().unwrap();
        let (good, poor) = (collection(directory.path(), &good()), collection(directory.path(), &poor()));
        assert_eq!(answers(&[place(&poor, None)], &[], 9), [("poor0".into(), 1.0)], "alone it is the best");
        for places in [[place(&poor, None), place(&good, None)], [place(&good, None), place(&poor, None)]] {
            let found = answers(&places, &[], 20);
            let scores: HashMap<String, f32> = found.iter().cloned().collect();
            assert_eq!(scores.len(), 7, "{found:?}");
            assert_eq!(found.last().unwrap().0, "poor0", "{found:?}");
            assert!(scores["poor0"] < scores["good5"] / 2.0, "{found:?}");
        }
    }

    #[test]
    fn collections_that_are_asked_together_answer_as_one_would() {
        let directory = tempfile::tempdir().unwrap();
        let both: Texts = good().into_iter().chain(poor()).collect();
        let one = collection(directory.path(), &both);
        let (good, poor) = (collection(directory.path(), &good()), collection(directory.path(), &poor()));
        let model = Model { id: "flat".into(), sha256: "0".repeat(64), dimensions: 2 };
        // Vectors find what words do not: `poor2` is nearest, whatever it says.
        for collection in [&one, &good, &poor] {
            let searcher = collection.lexical.searcher();
            let vectors = collection.vectors(&model).unwrap();
            for (key, _, address) in collection.lexical.keys().unwrap() {
                let path = collection.lexical.passage(&searcher, address).unwrap().path;
                let at = both.iter().position(|(name, _)| *name == path).unwrap();
                #[expect(clippy::cast_precision_loss, reason = "few")]
                let angle = (both.len() - 1 - at) as f32 / 10.0;
                vectors.add(&[(key, vec![angle.cos(), angle.sin()])]).unwrap();
            }
        }
        for asked in [Vec::new(), vec![(model, vec![1.0, 0.0])]] {
            let together = answers(&[place(&poor, None), place(&good, None)], &asked, 20);
            let alone = answers(&[place(&one, None)], &asked, 20);
            assert_eq!(together.len(), alone.len());
            for ((path, score), (expected, expected_score)) in together.iter().zip(&alone) {
                assert_eq!(path, expected, "{together:?} {alone:?}");
                assert!((score - expected_score).abs() < 1e-4, "{together:?} {alone:?}");
            }
            assert_eq!(alone.len(), if asked.is_empty() { 7 } else { 9 });
        }
    }

    #[test]
    fn what_fits_a_filter_is_found_however_much_better_the_rest_is() {
        let directory = tempfile::tempdir().unwrap();
        // All of these are better than what is wanted, by words and by vectors.
        let mut texts: Texts = (0..CANDIDATES_TO_FILTER + 200)
            .map(|number| (format!("all/{number}"), format!("Descale the kettle with vinegar {number}.")))
            .collect();
        let long = "The harbour is closed in winter and opens again in spring. ".repeat(9);
        texts.push(("few/words".into(), format!("A kettle. {long}")));
        texts.push(("few/near".into(), long.clone()));
        let collection = collection(directory.path(), &texts);
        let model = Model { id: "flat".into(), sha256: "0".repeat(64), dimensions: 2 };
        let (searcher, vectors) = (collection.lexical.searcher(), collection.vectors(&model).unwrap());
        let keyed = collection.lexical.keys().unwrap().into_iter().filter_map(|(key, _, address)| {
            let path = collection.lexical.passage(&searcher, address).unwrap().path;
            let vector = if path.starts_with("all/") { vec![1.0, 0.0] } else { vec![0.6, 0.8] };
            (path != "few/words").then_some((key, vector))
        });
        vectors.add(&keyed.collect::<Vec<_>>()).unwrap();
        let asked = [(model, vec![1.0, 0.0])];
        let paths = |asked: &[Asked]| -> Vec<String> {
            let found = answers(&[place(&collection, Some("few/*"))], asked, 5);
            found.into_iter().map(|(path, _)| path).collect()
        };
        assert_eq!(paths(&[]), ["few/words"]);
        let mut both = paths(&asked);
        both.sort();
        assert_eq!(both, ["few/near", "few/words"]);
        // Also one that is about more than paths.
        let mut narrow = place(&collection, Some("few/*"));
        narrow.filter.formats = vec![Format::Text];
        assert_eq!(answers(&[narrow], &[], 5).len(), 1);
        let mut none = place(&collection, Some("few/*"));
        none.filter.formats = vec![Format::Pdf];
        assert!(answers(&[none], &[], 5).is_empty());
    }

    #[test]
    fn what_may_not_be_seen_has_no_say_in_a_score() {
        let directory = tempfile::tempdir().unwrap();
        let hidden = |number: usize| {
            let text = format!("Vinegar {number} is kept in the cellar. ").repeat(number % 7 + 1);
            (format!("hidden{number}"), format!("{text} Die Flasche {number} steht dort."))
        };
        let with = |count: usize| {
            let texts: Texts = good().into_iter().chain((0..count).map(hidden)).collect();
            collection(directory.path(), &texts)
        };
        let (none, few, many) = (with(0), with(3), with(90));
        let expected = word_scores(&[bounded(&none)]);
        assert_eq!(expected.len(), 6, "{expected:?}");
        let mut whole = word_scores(&[place(&many, None)]);
        whole.retain(|(path, _)| path.starts_with("good"));
        assert_eq!(whole.len(), 6, "{whole:?}");
        assert!(!are_alike(&whole, &expected), "seen whole, it counts");
        for collection in [&few, &many] {
            let scores = word_scores(&[bounded(collection)]);
            assert!(are_alike(&scores, &expected), "{scores:?} {expected:?}");
        }
        // What was taken out is still on the disk.
        let mut draft = given::draft(&few);
        (0..3).for_each(|number| draft.remove(&few, &hidden(number).0).unwrap());
        draft.commit(&few).unwrap();
        draft.writer.finish().unwrap();
        assert!(are_alike(&word_scores(&[bounded(&few)]), &expected));
        // Nor does it where something else is asked as well.
        let poor = collection(directory.path(), &poor());
        let together = |collection| word_scores(&[place(&poor, None), bounded(collection)]);
        let expected = together(&none);
        assert_eq!(expected.len(), 7, "{expected:?}");
        assert!(are_alike(&together(&many), &expected));
        // Of what nobody may see nothing is found.
        let nothing = Place { bounds: Some(Bounds::default()), ..place(&many, None) };
        assert!(word_scores(&[nothing]).is_empty());
    }

    #[test]
    fn a_rare_word_is_reached_beside_common_ones() {
        let directory = tempfile::tempdir().unwrap();
        let mut texts: Texts = (0..2 * REACHED)
            .map(|number| (format!("common{number}"), format!("Descale the kettle with vinegar {number}.")))
            .collect();
        texts.push(("rare".into(), "The zymurgist sleeps, and so does everybody else in that house.".into()));
        let collection = collection(directory.path(), &texts);
        let reached = reach(&place(&collection, None), "the kettle of the zymurgist", &[]).unwrap();
        assert!(reached.len() <= REACHED, "{}", reached.len());
        assert!(reached.iter().any(|passage| passage.path == "rare"));
        let reached = reach(&place(&collection, Some("common7")), "kettle of the zymurgist", &[]).unwrap();
        assert_eq!(reached.into_iter().map(|passage| passage.path).collect::<Vec<_>>(), ["common7"]);
    }

    #[test]
    fn of_a_question_with_many_words_each_that_counts_has_a_share() {
        let directory = tempfile::tempdir().unwrap();
        let letter = |number: usize| char::from(b'a' + u8::try_from(number).unwrap());
        let word = |number: usize| format!("{}{}xq", letter(number / 26), letter(number % 26));
        let texts: Texts =
            (0..600).map(|number| (format!("one{number}"), format!("Kettle {}.", word(number)))).collect();
        let collection = collection(directory.path(), &texts);
        let question: String = (0..600).map(|number| word(number) + " ").collect();
        let all = place(&collection, None);
        let reached = reach(&all, &question, &[]).unwrap();
        let has = |path: &str| reached.iter().any(|passage| passage.path == path);
        assert!(has("one0") && !has("one599"), "{}", reached.len());
        let bounds = Bounds { paths: vec!["one0".into()], languages: lock(&collection.languages).clone() };
        let seen = Place { bounds: Some(bounds), ..place(&collection, None) };
        let words = |place: &Place| Look::new(0, place, &question, &[]).unwrap().terms.len();
        assert_eq!(words(&seen), MOST_WORDS);
        assert!(words(&all) >= 600, "where all may be seen, all count");
    }

    #[test]
    fn a_filter_is_not_looked_into_for_what_the_best_have_enough_of() {
        let directory = tempfile::tempdir().unwrap();
        let texts: Texts = (0..80)
            .map(|number| {
                let place = if number % 2 == 0 { "open" } else { "other" };
                (format!("{place}/{number}"), format!("Descale the kettle with vinegar {number}."))
            })
            .collect();
        let collection = collection(directory.path(), &texts);
        let place = place(&collection, Some("open/*"));
        let mut look = Look::new(0, &place, QUESTION, &[]).unwrap();
        let paths = |look: &Look<'_>| {
            let passages = reached(look).unwrap().unwrap().into_iter();
            let mut paths: Vec<String> = passages.map(|passage| passage.path).collect();
            paths.sort();
            paths
        };
        let before = paths(&look);
        assert_eq!(before.len(), 40);
        assert!(look.within.is_none());
        look.narrow().unwrap();
        assert_eq!(paths(&look), before, "it is the same answer");
    }

    #[test]
    fn where_vectors_cannot_be_opened_words_answer() {
        let directory = tempfile::tempdir().unwrap();
        let collection = collection(directory.path(), &good());
        let model = Model { id: "flat".into(), sha256: "0".repeat(64), dimensions: 2 };
        let asked = [(model.clone(), vec![1.0, 0.0])];
        let found = || search(&[place(&collection, None)], QUESTION, &asked, 9).unwrap();
        let vectors = vectors_in(collection.directory());
        symlink("vectors", &vectors).unwrap();
        let out_of_reach = found();
        assert_eq!(out_of_reach.ranked.len(), 6);
        assert!(out_of_reach.faults[0].1.contains("by `flat` cannot be opened"), "{:?}", out_of_reach.faults);
        // It was no more than out of reach, and is asked again.
        fs::remove_file(&vectors).unwrap();
        fs::write(&vectors, "no directory").unwrap();
        let damaged = found();
        assert_eq!(damaged.ranked.len(), 6);
        assert!(damaged.faults[0].1.contains("by `flat` were damaged"), "{:?}", damaged.faults);
        assert!(vectors.with_extension("damaged").is_file());
        collection.vectors(&model).unwrap().complete();
        assert!(found().faults.is_empty());
    }

    #[test]
    fn languages_count_what_there_is_now() {
        let directory = tempfile::tempdir().unwrap();
        let collection = collection(directory.path(), &good());
        let counts = || lock(&collection.languages).counts();
        assert_eq!(counts(), [("eng".into(), 6)]);
        let mut draft = given::draft(&collection);
        draft.remove(&collection, "good0").unwrap();
        draft.commit(&collection).unwrap();
        draft.writer.finish().unwrap();
        assert_eq!(counts(), [("eng".into(), 5)]);
        assert_eq!(collection.lexical.languages().unwrap().counts(), [("eng".into(), 5)]);
    }
}
