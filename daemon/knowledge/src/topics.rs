//! Where a text that is too long for one passage is cut: where it turns to something else. Words are searched as it was cut in
//! the beginning, into parts of about the same length; before vectors are made, those of its sentences tell where what is said
//! changes most (after TextTiling, Hearst 1997, Computational Linguistics 23(1), with vectors in place of counts of words).

use crate::{
    collection::{Collection, blocking, lock},
    ranking::cosine,
    stored::{FileState, StoredPassage, key_of, short_hash},
};
use serde::{Deserialize, Serialize};
use skynet_core::Result;
use skynet_documents::{Passage, Section};
use skynet_models::{Embedder, Language, Use};
use std::{collections::HashMap, ops::Range, sync::Arc};

/// Bytes of the sections of one document that a model reads for that.
const MOST_READ: usize = 200_000;

/// A shorter passage says too little, in characters, if there is another way.
const LEAST: usize = 400;

/// Documents that are written at once.
const BATCH: usize = 32;

/// Pieces that a model gets at once.
const PIECES: usize = 64;

/// Documents of which a model refuses to read a section, one after the other, before it is the model that is taken for broken.
const MOST_FAILURES: usize = 3;

/// Where a section was cut. It is kept with its document, so that only what is changed there is read again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topics {
    /// A hash of its text without blanks: those where it is cut are lost.
    section: u64,
    /// Where its passages end, but for the last: so many characters that are no blanks are before.
    ends: Vec<usize>,
}

/// Cuts the sections of a document where it is known where; which of that was used, and whether there are others.
pub(crate) fn apply(passages: Vec<Passage>, known: &[Topics]) -> (Vec<Passage>, Vec<Topics>, bool) {
    let sections = Section::of(&passages);
    let known: HashMap<u64, &Topics> = known.iter().map(|topics| (topics.section, topics)).collect();
    let (mut used, mut is_coarse) = (Vec::new(), false);
    let mut cut = Vec::with_capacity(passages.len());
    let mut passages = passages.into_iter();
    let mut taken = 0;
    for section in sections {
        cut.extend(passages.by_ref().take(section.passages.start - taken));
        let own = passages.by_ref().take(section.passages.len()).collect::<Vec<_>>();
        taken = section.passages.end;
        match known.get(&name_of(&section.text)).filter(|_| !section.is_too_long()) {
            Some(topics) => {
                cut.extend(section.cut(&places(&section.text, &topics.ends)));
                used.push((*topics).clone());
            }
            None => {
                is_coarse |= !section.is_too_long();
                cut.extend(own);
            }
        }
    }
    cut.extend(passages);
    (cut, used, is_coarse)
}

/// Cuts what was not cut by what it says yet. A document for whose language there is no model waits.
///
/// # Errors
/// Those of a model that reads nothing, and `Unavailable` when the index cannot be read or written.
pub(crate) async fn settle(
    collection: &Arc<Collection>,
    embedders: &[(Language, Arc<dyn Embedder>)],
) -> Result<()> {
    let opened = collection.lexical.clone();
    let coarse = blocking(move || opened.coarse()).await?;
    let all = coarse.len() as u64;
    let mut failures = 0;
    for (batch, done) in coarse.chunks(BATCH).zip((0_u64..).step_by(BATCH)) {
        collection.progress.send_modify(|progress| progress.vectors = Some((done, all)));
        let mut found = Vec::new();
        for file in batch {
            let (opened, path) = (collection.lexical.clone(), file.path.clone());
            let passages = blocking(move || opened.passages_of(&path)).await?;
            match topics_of(&passages, &file.topics, embedders).await {
                Ok(Some(topics)) => {
                    failures = 0;
                    found.push((file.clone(), topics));
                }
                Ok(None) => {}
                // It is tried again at the next look.
                Err(err) if failures < MOST_FAILURES => {
                    failures += 1;
                    tracing::debug!(path = file.path, error = %err, "a document is not cut by what it says");
                }
                Err(err) => return Err(err),
            }
        }
        if found.is_empty() {
            continue;
        }
        let _writing = collection.writing.lock().await;
        let opened = collection.clone();
        blocking(move || write(&opened, found)).await?;
    }
    Ok(())
}

/// Where the sections of a document turn to something else, as far as a model may read it. `None` where there is none for one of them.
async fn topics_of(
    passages: &[StoredPassage],
    known: &[Topics],
    embedders: &[(Language, Arc<dyn Embedder>)],
) -> Result<Option<Vec<Topics>>> {
    let plain: Vec<Passage> = passages.iter().map(|stored| stored.passage.clone()).collect();
    let known: HashMap<u64, &Topics> = known.iter().map(|topics| (topics.section, topics)).collect();
    let (mut all, mut unread, mut read) = (Vec::new(), Vec::new(), 0);
    for section in Section::of(&plain).into_iter().filter(|section| !section.is_too_long()) {
        let name = name_of(&section.text);
        if let Some(topics) = known.get(&name) {
            all.push((*topics).clone());
            continue;
        }
        read += section.text.len();
        if read > MOST_READ {
            continue;
        }
        let is_foreign = passages.get(section.passages.start).is_some_and(StoredPassage::is_foreign);
        let wanted = if is_foreign { Language::Other } else { Language::English };
        let Some((_, embedder)) = embedders.iter().find(|(language, _)| *language == wanted) else {
            return Ok(None);
        };
        unread.push((name, section, embedder));
    }
    for (name, section, embedder) in unread {
        let pieces = section.pieces();
        let texts: Vec<String> =
            pieces.iter().filter_map(|piece| section.text.get(piece.clone())).map(str::to_owned).collect();
        let mut vectors = Vec::with_capacity(texts.len());
        for part in texts.chunks(PIECES) {
            vectors.extend(embedder.embed(part, Use::Passage).await?);
        }
        if let Some(ends) = boundaries(&section.text, &pieces, &vectors) {
            all.push(Topics { section: name, ends: counts(&section.text, &ends) });
        }
    }
    Ok(Some(all))
}

/// Writes documents as they are cut now, unless they are others by now.
fn write(collection: &Collection, found: Vec<(FileState, Vec<Topics>)>) -> Result<()> {
    let mut writer = collection.lexical.write()?;
    let mut languages = lock(&collection.languages).clone();
    for (file, topics) in found {
        let now = collection.lexical.file(&file.path)?;
        let Some(now) = now.filter(|now| now.hash == file.hash && now.is_coarse) else { continue };
        let stored = collection.lexical.passages_of(&now.path)?;
        let passages = stored.iter().map(|stored| stored.passage.clone()).collect();
        let (passages, topics, _) = apply(passages, &topics);
        // What a passage is taken for is what those are taken for that had its lines before.
        let mut like = stored.iter().peekable();
        let mut of = Vec::with_capacity(passages.len());
        for (sequence, passage) in (0..).zip(passages) {
            while like.peek().is_some_and(|stored| stored.passage.last_line < passage.first_line)
                && like.len() > 1
            {
                like.next();
            }
            let Some(StoredPassage { path, words, format, code, about, .. }) = like.peek() else { break };
            of.push(StoredPassage {
                path: path.clone(),
                sequence,
                key: key_of(&passage),
                words: words.clone(),
                format: *format,
                code: code.clone(),
                about: about.clone(),
                passage,
            });
        }
        let count = u32::try_from(of.len()).unwrap_or(u32::MAX);
        stored.iter().for_each(|passage| languages.remove(passage));
        of.iter().for_each(|passage| languages.add(passage));
        writer.put(&FileState { topics, is_coarse: false, passages: count, ..now }, &of)?;
    }
    writer.commit(&languages, collection.lexical.cursor().as_deref())?;
    lock(&collection.languages).clone_from(&languages);
    writer.finish()
}

/// Where a text is cut: into as few passages as it takes, where its pieces differ most from each other. `None` if no way of that fits.
fn boundaries(text: &str, pieces: &[Range<usize>], vectors: &[Vec<f32>]) -> Option<Vec<usize>> {
    let lengths: Vec<usize> =
        pieces.iter().map(|piece| text.get(piece.clone()).map_or(0, |piece| piece.chars().count())).collect();
    let depths = depths(vectors);
    let least = lengths.iter().sum::<usize>().div_ceil(Section::longest());
    let cuts = (least..=least + 1).find_map(|parts| best(&lengths, &depths, parts))?;
    cuts.into_iter().map(|cut| Some(pieces.get(cut)?.end)).collect()
}

/// After each piece but the last, how much less is alike there than on either side of it.
fn depths(vectors: &[Vec<f32>]) -> Vec<f32> {
    let sum = |from: usize, to: usize| {
        let mut sum = vec![0.0_f32; vectors.first().map_or(0, Vec::len)];
        for vector in vectors.get(from..to.min(vectors.len())).unwrap_or_default() {
            sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
        }
        let length = sum.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::EPSILON);
        sum.iter_mut().for_each(|value| *value /= length);
        sum
    };
    // Two pieces on each side, as one sentence may be about anything.
    let alike: Vec<f32> =
        (1..vectors.len()).map(|at| cosine(&sum(at.saturating_sub(2), at), &sum(at, at + 2))).collect();
    let peak = |towards: &mut dyn Iterator<Item = &f32>, from: f32| {
        let mut highest = from;
        for value in towards {
            if *value < highest {
                break;
            }
            highest = *value;
        }
        highest
    };
    let depth = |(at, value): (usize, &f32)| {
        let left = peak(&mut alike.iter().take(at).rev(), *value);
        let right = peak(&mut alike.iter().skip(at + 1), *value);
        left + right - 2.0 * value
    };
    alike.iter().enumerate().map(depth).collect()
}

/// After which pieces so many parts end, but for the last, with the largest sum of depths; each part between the least and the most
/// characters.
fn best(lengths: &[usize], depths: &[f32], parts: usize) -> Option<Vec<usize>> {
    let count = lengths.len();
    // By number of parts, then by pieces that are in them: the sum, and how many pieces were in the parts before the last.
    let mut sums: Vec<Vec<Option<(f32, usize)>>> = vec![vec![None; count + 1]; parts + 1];
    *sums.first_mut()?.first_mut()? = Some((0.0, 0));
    for part in 1..=parts {
        for end in 1..=count {
            let mut length = 0;
            let mut best: Option<(f32, usize)> = None;
            for start in (0..end).rev() {
                length += lengths.get(start)?;
                if length > Section::longest() {
                    break;
                }
                let Some((sum, _)) = *sums.get(part - 1)?.get(start)? else { continue };
                let gained = if start == 0 { 0.0 } else { *depths.get(start - 1)? };
                if length >= LEAST && best.is_none_or(|(most, _)| sum + gained > most) {
                    best = Some((sum + gained, start));
                }
            }
            *sums.get_mut(part)?.get_mut(end)? = best;
        }
    }
    let mut cuts = Vec::with_capacity(parts);
    let mut end = count;
    for part in (1..=parts).rev() {
        let (_, start) = (*sums.get(part)?.get(end)?)?;
        if start > 0 {
            cuts.push(start - 1);
        }
        end = start;
    }
    cuts.reverse();
    Some(cuts)
}

/// [`Topics::section`].
fn name_of(text: &str) -> u64 {
    let dense: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    short_hash(dense.as_bytes())
}

/// How many characters that are no blanks are before each of these places, which are in order.
fn counts(text: &str, places: &[usize]) -> Vec<usize> {
    let mut counts = Vec::with_capacity(places.len());
    let (mut count, mut from) = (0, 0);
    for place in places {
        let part = text.get(from..*place).unwrap_or_default();
        count += part.chars().filter(|letter| !letter.is_whitespace()).count();
        counts.push(count);
        from = *place;
    }
    counts
}

/// The places of a text after so many characters that are no blanks.
fn places(text: &str, counts: &[usize]) -> Vec<usize> {
    let mut letters = text.char_indices().filter(|(_, letter)| !letter.is_whitespace());
    let mut taken = 0;
    let after = |count: &usize| {
        let (at, letter) = letters.nth(count.checked_sub(taken + 1)?)?;
        taken = *count;
        Some(at + letter.len_utf8())
    };
    counts.iter().filter_map(after).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces of 200 characters, each about one thing.
    fn cut(topics: &[usize]) -> Option<Vec<usize>> {
        let text = "x".repeat(topics.len() * 200);
        let pieces: Vec<_> = (0..topics.len()).map(|piece| piece * 200..(piece + 1) * 200).collect();
        let vector = |topic: &usize| {
            let mut vector = vec![0.1_f32; 4];
            vector.iter_mut().skip(*topic).take(1).for_each(|value| *value = 1.0);
            vector
        };
        let vectors: Vec<_> = topics.iter().map(vector).collect();
        let ends = boundaries(&text, &pieces, &vectors)?;
        Some(ends.into_iter().map(|end| end / 200).collect())
    }

    #[test]
    fn a_text_is_cut_where_it_turns_to_something_else() {
        assert_eq!(cut(&[0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]).unwrap(), [3]);
        assert_eq!(cut(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]).unwrap(), [8]);
        assert_eq!(cut(&[0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2]).unwrap(), [4, 12]);
        // A part is neither a sentence nor longer than a passage.
        assert_eq!(cut(&[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap().len(), 1);
        assert_eq!(cut(&[0; 12]).unwrap().len(), 1);
    }

    #[test]
    fn what_is_known_of_a_section_is_used_and_the_rest_is_not_touched() {
        let text = |topic: &str| format!("What is said here is about {topic} and nothing else. ").repeat(50);
        let section = |topic: &str, first_line: u32| {
            let whole = Section::of(&coarse(&text(topic), first_line)).remove(0);
            (name_of(&whole.text), coarse(&text(topic), first_line))
        };
        let ((bread, first), (steel, second)) = (section("bread", 1), section("steel", 10));
        let all: Vec<Passage> = first.iter().chain(&second).cloned().collect();
        let known = [Topics { section: steel, ends: vec![500] }, Topics { section: 7, ends: vec![3] }];
        let (cut, used, is_coarse) = apply(all, &known);
        assert!(is_coarse, "nobody knows of bread yet: {bread}");
        assert_eq!(used, [known[0].clone()]);
        assert_eq!(cut[..first.len()], first);
        let dense = cut[first.len()].text.chars().filter(|letter| !letter.is_whitespace()).count();
        assert_eq!(dense, 500, "{cut:?}");
        assert!(cut[first.len() + 1].text.contains("steel"), "{cut:?}");
    }

    #[test]
    fn a_place_is_found_again_whatever_the_blanks() {
        let (one, two) = ("Bread rises.  Steel\r\nmelts.", "Bread rises. Steel melts.");
        assert_eq!(name_of(one), name_of(two));
        let ends = counts(one, &[12, 19]);
        assert_eq!(ends, [11, 16]);
        assert_eq!((places(one, &ends), places(two, &ends)), (vec![12, 19], vec![12, 18]));
    }

    /// As a parser cuts it.
    fn coarse(text: &str, first_line: u32) -> Vec<Passage> {
        let (first, second) = text.split_at(text.len() / 2);
        let part = |text: &str, continues| Passage {
            text: text.trim().to_owned(),
            first_line,
            last_line: first_line,
            continues,
            ..Passage::default()
        };
        vec![part(first, false), part(second, true)]
    }
}
