//! Models of this host, behind the traits that everybody uses.

use crate::{
    Embedder, Model, Reranker, Use,
    pool::Pool,
    process::Files,
    protocol::{Done, Run},
};
use async_trait::async_trait;
use skynet_core::{Error, Result};
use std::sync::Arc;

/// Texts of one batch, which a worker reads one by one: few, so that a question never waits long behind them.
const MOST_TEXTS: usize = 8;

/// Bytes of one batch: eight texts of the usual length, or one that is long.
const MOST_BYTES: usize = 8 << 10;

/// No tokenizer makes longer tokens than that of the text it reads, on average: what is behind would not be read.
const BYTES_OF_A_TOKEN: usize = 32;

pub(crate) struct Local {
    pub(crate) model: Model,
    pub(crate) files: Arc<Files>,
    pub(crate) pool: Arc<Pool>,
    /// What stands before a text.
    pub(crate) query: String,
    pub(crate) passage: String,
}

impl Local {
    /// What the model says of each text, in their order; and how many tokens they have.
    pub(crate) async fn read(
        &self,
        texts: &[String],
        question: Option<&str>,
        used_as: Use,
    ) -> Result<(Vec<Vec<f32>>, u64)> {
        let prefix = match used_as {
            _ if question.is_some() => "",
            Use::Query => &self.query,
            Use::Passage => &self.passage,
        };
        let longest = usize::try_from(self.files.load.max_tokens).unwrap_or(usize::MAX) * BYTES_OF_A_TOKEN;
        let cut = |text: &str| text.get(..text.floor_char_boundary(longest)).unwrap_or(text).to_owned();
        let question = question.map(cut);
        // Side by side with others of their length, so that all workers are busy to the end.
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(texts.get(*index).map(String::len)));
        let prepared = order.iter().filter_map(|index| {
            let text = texts.get(*index)?;
            Some((*index, format!("{prefix}{}", cut(text))))
        });
        let mut waiting = Vec::new();
        for batch in batches(prepared) {
            let (indexes, texts): (Vec<usize>, Vec<String>) = batch.into_iter().unzip();
            let run = Run { id: self.files.load.id.clone(), texts, question: question.clone() };
            waiting.push((indexes, self.pool.put(&self.files, run, used_as).await?));
        }
        let (mut results, mut tokens) = (vec![Vec::new(); texts.len()], 0);
        for (indexes, result) in waiting {
            let gone = |_| Error::unavailable("the workers for models are gone");
            let Done { values, tokens: more } = result.await.map_err(gone)??;
            tokens += more;
            let width = self.model.dimensions.max(1);
            if values.len() != indexes.len() * width || values.iter().any(|value| !value.is_finite()) {
                return Err(Error::internal(format!("`{}` makes vectors that are none", self.model.id)));
            }
            for (index, vector) in indexes.into_iter().zip(values.chunks(width)) {
                if let Some(place) = results.get_mut(index) {
                    *place = vector.to_vec();
                }
            }
        }
        Ok((results, tokens))
    }
}

/// Shares texts out.
fn batches(texts: impl Iterator<Item = (usize, String)>) -> Vec<Vec<(usize, String)>> {
    let mut all: Vec<Vec<(usize, String)>> = Vec::new();
    let mut bytes = 0;
    for (index, text) in texts {
        bytes += text.len();
        match all.last_mut() {
            Some(batch) if batch.len() < MOST_TEXTS && bytes <= MOST_BYTES => batch.push((index, text)),
            _ => {
                bytes = text.len();
                all.push(vec![(index, text)]);
            }
        }
    }
    all
}

#[async_trait]
impl Embedder for Local {
    fn model(&self) -> &Model {
        &self.model
    }

    async fn embed(&self, texts: &[String], used_as: Use) -> Result<Vec<Vec<f32>>> {
        Ok(self.read(texts, None, used_as).await?.0)
    }
}

#[async_trait]
impl Reranker for Local {
    async fn score(&self, query: &str, passages: &[String]) -> Result<Vec<f32>> {
        let (scores, _) = self.read(passages, Some(query), Use::Query).await?;
        Ok(scores.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_few_texts_or_few_bytes() {
        let texts = |lengths: &[usize]| {
            let texts: Vec<_> = lengths.iter().map(|length| "x".repeat(*length)).enumerate().collect();
            batches(texts.into_iter()).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(texts(&[]), Vec::<usize>::new());
        assert_eq!(texts(&[10; 20]), [8, 8, 4]);
        assert_eq!(texts(&[20_000, 5000, 3000, 3000]), [1, 2, 1]);
    }
}
