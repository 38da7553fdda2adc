//! Where a text that is too long for one passage is cut: where it turns to something else. Words are searched as it was cut in
//! the beginning, into parts of about the same length; before vectors are made, those of its sentences tell where what is said
//! changes most (after TextTiling, Hearst 1997, Computational Linguistics 23(1), with vectors in place of counts of words).

use crate::{
    collection::{Collection, blocking, lock},
    ranking::cosine,
    stored::{FileState, StoredPassage, key_of},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use skynet_core::Result;
use skynet_documents::{Passage, Section};
use skynet_models::{Embedder, Language, Use};
use std::{ops::Range, sync::Arc};

/// Longer sections are logs and data, in bytes: they stay as they are.
const LONGEST_SECTION: usize = 60_000;

/// Bytes of the sections of one document that a model reads for that.
const MOST_READ: usize = 200_000;

/// A shorter passage says too little, in characters, if there is another way.
const LEAST: usize = 400;

/// Documents that are written at once.
const BATCH: usize = 32;

/// Pieces that a model gets at once.
const PIECES: usize = 64;

/// Where a section was cut. It is kept with its document, so that only what is changed there is read again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topics {
    /// Eight bytes of a SHA-256 of its text.
    section: u64,
    /// Where its passages end, in bytes, but for the last.
    ends: Vec<usize>,
}

/// Cuts the sections of a document where it is known where; which of that was used, and whether there are others.
pub(crate) fn apply(passages: Vec<Passage>, known: &[Topics]) -> (Vec<Passage>, Vec<Topics>, bool) {
    let sections = Section::of(&passages);
    let (mut used, mut is_coarse) = (Vec::new(), false);
    let mut cut = Vec::with_capacity(passages.len());
    let mut passages = passages.into_iter();
    let mut taken = 0;
    for section in sections {
        cut.extend(passages.by_ref().take(section.passages.start - taken));
        let own = passages.by_ref().take(section.passages.len()).collect::<Vec<_>>();
        taken = section.passages.end;
        match known.iter().find(|topics| topics.section == hash(&section.text)) {
            Some(topics) => {
                cut.extend(section.cut(&topics.ends));
                used.push(topics.clone());
            }
            None => {
                is_coarse |= section.text.len() <= LONGEST_SECTION;
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
/// `Unavailable` when the index cannot be read or written.
pub(crate) async fn settle(
    collection: &Arc<Collection>,
    embedders: &[(Language, Arc<dyn Embedder>)],
) -> Result<()> {
    let opened = collection.lexical.clone();
    let coarse = blocking(move || opened.coarse()).await?;
    for batch in coarse.chunks(BATCH) {
        let mut found = Vec::new();
        for file in batch {
            let (opened, path) = (collection.lexical.clone(), file.path.clone());
            let passages = blocking(move || opened.passages_of(&path)).await?;
            if let Some(topics) = topics_of(&passages, &file.topics, embedders).await {
                found.push((file.clone(), topics));
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

/// Where the sections of a document turn to something else, as far as a model may read it. `None` where there is none for it.
async fn topics_of(
    passages: &[StoredPassage],
    known: &[Topics],
    embedders: &[(Language, Arc<dyn Embedder>)],
) -> Option<Vec<Topics>> {
    let plain: Vec<Passage> = passages.iter().map(|stored| stored.passage.clone()).collect();
    let mut all = Vec::new();
    let mut read = 0;
    for section in Section::of(&plain) {
        let name = hash(&section.text);
        if let Some(topics) = known.iter().find(|topics| topics.section == name) {
            all.push(topics.clone());
            continue;
        }
        read += section.text.len();
        if section.text.len() > LONGEST_SECTION || read > MOST_READ {
            continue;
        }
        let is_foreign = passages.get(section.passages.start).is_some_and(StoredPassage::is_foreign);
        let wanted = if is_foreign { Language::Other } else { Language::English };
        let (_, embedder) = embedders.iter().find(|(language, _)| *language == wanted)?;
        let pieces = section.pieces();
        let texts: Vec<String> =
            pieces.iter().filter_map(|piece| section.text.get(piece.clone())).map(str::to_owned).collect();
        let mut vectors = Vec::with_capacity(texts.len());
        for part in texts.chunks(PIECES) {
            match embedder.embed(part, Use::Passage).await {
                Ok(made) => vectors.extend(made),
                Err(err) => {
                    // It stays as it was cut; its vectors say themselves what is wrong.
                    tracing::debug!(error = %err, "a section is not cut by what it says");
                    break;
                }
            }
        }
        if vectors.len() == pieces.len()
            && let Some(ends) = boundaries(&section.text, &pieces, &vectors)
        {
            all.push(Topics { section: name, ends });
        }
    }
    Some(all)
}

/// Writes documents as they are cut now, unless they are others by now.
fn write(collection: &Collection, found: Vec<(FileState, Vec<Topics>)>) -> Result<()> {
    let mut writer = collection.lexical.write()?;
    for (file, topics) in found {
        let now = collection.lexical.file(&file.path)?;
        let Some(now) = now.filter(|now| now.hash == file.hash && now.is_coarse) else { continue };
        let stored = collection.lexical.passages_of(&now.path)?;
        let passages = stored.iter().map(|stored| stored.passage.clone()).collect();
        let (passages, topics, _) = apply(passages, &topics);
        // What a passage is taken for is what those are taken for that had its lines before.
        let like = |passage: &Passage| {
            let has = |stored: &&StoredPassage| stored.passage.last_line >= passage.first_line;
            stored.iter().find(has).or(stored.last())
        };
        let passages: Vec<StoredPassage> = (0..)
            .zip(passages)
            .filter_map(|(sequence, passage)| {
                let like = like(&passage)?.clone();
                Some(StoredPassage { sequence, key: key_of(&passage), passage, ..like })
            })
            .collect();
        let count = u32::try_from(passages.len()).unwrap_or(u32::MAX);
        writer.put(&FileState { topics, is_coarse: false, passages: count, ..now }, &passages)?;
    }
    let languages = lock(&collection.languages).clone();
    writer.commit(&languages, collection.lexical.cursor().as_deref())?;
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

fn hash(text: &str) -> u64 {
    let digest = Sha256::digest(text);
    digest.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
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
            (hash(&whole.text), coarse(&text(topic), first_line))
        };
        let ((bread, first), (steel, second)) = (section("bread", 1), section("steel", 10));
        let all: Vec<Passage> = first.iter().chain(&second).cloned().collect();
        let known = [Topics { section: steel, ends: vec![500] }, Topics { section: 7, ends: vec![3] }];
        let (cut, used, is_coarse) = apply(all, &known);
        assert!(is_coarse, "nobody knows of bread yet: {bread}");
        assert_eq!(used, [known[0].clone()]);
        assert_eq!(cut[..first.len()], first);
        assert!(cut[first.len()].text.len() <= 500, "{cut:?}");
        assert!(cut[first.len() + 1].text.contains("steel"), "{cut:?}");
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
