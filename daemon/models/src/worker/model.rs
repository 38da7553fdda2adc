//! One model: from a text to a vector, or from two texts to a score.

use crate::protocol::Load;
use ort::{
    environment::Environment,
    session::{Session, SessionInputValue, builder::GraphOptimizationLevel},
    value::TensorRef,
};
use skynet_core::{Error, Result};
use tokenizers::{Tokenizer, TruncationParams, utils::truncation::TruncationStrategy};

/// How much of a text there is room for beside a question (transformers, `only_second`, would leave the question whole).
const STRATEGY: TruncationStrategy = TruncationStrategy::LongestFirst;

pub(super) struct Model {
    id: String,
    session: Session,
    tokenizer: Tokenizer,
    dimensions: usize,
    /// What it wants to be told of a sequence.
    inputs: Vec<Input>,
}

/// What a model is told, a number per token.
#[derive(Clone, Copy)]
enum Input {
    Ids,
    /// All ones: nothing is padded.
    Mask,
    Types,
}

impl Input {
    const fn name(self) -> &'static str {
        match self {
            Self::Ids => "input_ids",
            Self::Mask => "attention_mask",
            Self::Types => "token_type_ids",
        }
    }
}

impl Model {
    pub(super) fn new(
        environment: &Environment,
        load: &Load,
        model: &[u8],
        tokenizer: &[u8],
    ) -> Result<Self> {
        let unusable = |what: &str, err: String| {
            Error::unavailable(format!("the {what} of `{}` cannot be used: {err}", load.id))
        };
        let tokenizer =
            prepared(tokenizer, load.max_tokens).map_err(|err| unusable("tokenizer", err.to_string()))?;
        let session = session(environment, model).map_err(|err| unusable("model", err.to_string()))?;
        let inputs = session.inputs().iter().map(|input| match input.name() {
            "input_ids" => Ok(Input::Ids),
            "attention_mask" => Ok(Input::Mask),
            "token_type_ids" => Ok(Input::Types),
            other => Err(unusable("model", format!("it wants `{other}`, which is not known here"))),
        });
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let dimensions = usize::try_from(load.dimensions).unwrap_or_default();
        Ok(Self { id: load.id.clone(), session, tokenizer, dimensions, inputs })
    }

    /// What it says of a text, and how many tokens it has read.
    pub(super) fn read(&mut self, text: String, question: Option<&str>) -> Result<(Vec<f32>, usize)> {
        let encoding = match question {
            Some(question) => self.tokenizer.encode_fast((question, text), true),
            None => self.tokenizer.encode_fast(text, true),
        };
        let encoding =
            encoding.map_err(|err| Error::invalid_input(format!("a text cannot be taken apart: {err}")))?;
        let count = encoding.len();
        let numbers = |values: &[u32]| values.iter().copied().map(i64::from).collect::<Vec<_>>();
        let values = self.inputs.iter().map(|input| {
            let values = match input {
                Input::Ids => numbers(encoding.get_ids()),
                Input::Mask => vec![1; count],
                Input::Types => numbers(encoding.get_type_ids()),
            };
            (input.name(), values)
        });
        let values: Vec<_> = values.collect();
        let failed = |err: String| Error::unavailable(format!("`{}` failed: {err}", self.id));
        let mut inputs: Vec<(&str, SessionInputValue<'_>)> = Vec::with_capacity(values.len());
        for (name, values) in &values {
            let tensor = TensorRef::from_array_view(([1, count], values.as_slice()));
            inputs.push((name, tensor.map_err(|err| failed(err.to_string()))?.into()));
        }
        let outputs = self.session.run(inputs).map_err(|err| failed(err.to_string()))?;
        let output = outputs.values().next().ok_or_else(|| failed("it says nothing".into()))?;
        let (shape, values) = output.try_extract_tensor::<f32>().map_err(|err| failed(err.to_string()))?;
        let width = shape.iter().last().and_then(|width| usize::try_from(*width).ok()).unwrap_or_default();
        let result = if question.is_some() { score(values) } else { pooled(values, width) };
        if result.len() != self.dimensions.max(1) || result.iter().any(|value| !value.is_finite()) {
            return Err(failed(format!("it makes {} numbers of a text", result.len())));
        }
        Ok((result, count))
    }
}

/// Without the padding that some files switch on: unrelated texts would become alike.
fn prepared(bytes: &[u8], max_tokens: u32) -> tokenizers::Result<Tokenizer> {
    let mut tokenizer = Tokenizer::from_bytes(bytes)?;
    let max_length = usize::try_from(max_tokens)?;
    let truncation = TruncationParams { max_length, strategy: STRATEGY, ..TruncationParams::default() };
    tokenizer.with_padding(None);
    tokenizer.with_truncation(Some(truncation))?;
    Ok(tokenizer)
}

fn session(environment: &Environment, model: &[u8]) -> ort::Result<Session> {
    let builder = Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        // Sequences are of any length, so there is no pattern.
        .with_memory_pattern(false)?
        .with_config_entry("session.intra_op.allow_spinning", "0")?
        .with_config_entry("session.inter_op.allow_spinning", "0")?;
    let mut builder = if adds_bytes_exactly() { builder } else { builder.with_precise_qmm()? };
    builder.commit_from_memory(model)
}

/// Whether the processor adds products of bytes in 32 bits (VNNI; on Arm always). Others do so in 16 bits, which overflow, and what
/// avoids that takes twice as long.
#[cfg(target_arch = "x86_64")]
fn adds_bytes_exactly() -> bool {
    std::arch::is_x86_feature_detected!("avx512vnni") || std::arch::is_x86_feature_detected!("avxvnni")
}

#[cfg(not(target_arch = "x86_64"))]
const fn adds_bytes_exactly() -> bool {
    true
}

/// The mean over the tokens, with length 1.
fn pooled(values: &[f32], width: usize) -> Vec<f32> {
    let mut sum = vec![0.0_f32; width];
    for token in values.chunks_exact(width.max(1)) {
        sum.iter_mut().zip(token).for_each(|(sum, value)| *sum += value);
    }
    // That of the sum is that of the mean.
    let length = sum.iter().map(|value| value * value).sum::<f32>().sqrt();
    sum.iter_mut().for_each(|value| *value /= length);
    sum
}

/// Of two classes the second says that it fits.
fn score(values: &[f32]) -> Vec<f32> {
    match values {
        [no, yes] => vec![yes - no],
        values => values.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_has_length_one_and_a_score_is_one_number() {
        let vector = pooled(&[1.0, 0.0, 3.0, 4.0, 2.0, 2.0], 2);
        assert_eq!(vector, [6.0 / 72.0_f32.sqrt(), 6.0 / 72.0_f32.sqrt()]);
        // Which is refused where it is made.
        assert!(pooled(&[0.0, 0.0], 2).iter().all(|value| value.is_nan()));
        assert_eq!((score(&[0.5]), score(&[1.0, 4.0])), (vec![0.5], vec![3.0]));
    }
}
