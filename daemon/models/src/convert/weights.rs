//! The weights of an encoder, whatever file they are in.
//!
//! Names are the same for every file: `word`, `pos`, `type`, `eln.w` and `eln.b` of the embeddings; of layer N `lN.q`, `.k`,
//! `.v`, `.ao` (attention and its output), `.fi`, `.fo` (feed-forward) and the norms `.aln`, `.oln`, each with `.w` and `.b`;
//! `pool` and `class` of a cross-encoder's head.

use std::io;

/// Numbers of an encoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Shape {
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) feed_forward: usize,
    pub(crate) vocabulary: usize,
    /// How many positions have weights, and which is the first token's.
    pub(crate) positions: usize,
    pub(crate) first_position: usize,
    /// Kinds of text in one sequence that have weights.
    pub(crate) types: usize,
    pub(crate) epsilon: f32,
}

/// A file of weights.
pub(crate) trait Weights {
    fn shape(&self) -> Shape;

    /// Row after row, each of as many as the layer has inputs.
    fn tensor(&self, name: &str) -> io::Result<Vec<f32>>;

    /// The row of one token in `word`.
    fn word(&self, token: usize, row: &mut [f32]) -> io::Result<()>;
}

pub(crate) fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
