//! The graph of a BERT encoder in 8 bits.
//!
//! Weights are quantized once, each row of a layer with its own scale; what flows between layers is quantized as it comes
//! (ONNX Runtime, `DynamicQuantizeMatMul`). A sequence is whole: nothing is padded, so there is no mask. Source: Devlin et
//! al., "BERT", 2018, and for the reading of two texts together Nogueira and Cho, "Passage Re-ranking with BERT", 2019.

use super::{
    graph::{Graph, MICROSOFT},
    onnx::{AttributeProto, DataType, Extent, ValueInfoProto},
    weights::{Shape, Weights, invalid},
};
use std::io::{self, Write};

/// The largest of a signed byte; -128 is not used, so that zero is in the middle.
const MOST: f32 = 127.0;

/// What a model says of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// A vector per token.
    Tokens,
    /// One number for the whole.
    Score,
}

/// Writes the graph to `file`. `done` is told how many layers are written, of how many.
pub(crate) fn write<W: Write>(
    weights: &dyn Weights,
    head: Head,
    file: W,
    done: &mut dyn FnMut(usize, usize),
) -> io::Result<W> {
    let shape = weights.shape();
    if shape.heads == 0 || !shape.hidden.is_multiple_of(shape.heads) {
        return Err(invalid("the encoder's heads do not share its width out evenly"));
    }
    let mut builder = Builder { graph: Graph::new(file), weights, shape };
    let mut hidden = builder.embeddings(head)?;
    for layer in 0..shape.layers {
        done(layer, shape.layers);
        hidden = builder.layer(layer, &hidden)?;
    }
    let named = |name: &str| Extent::Param(name.to_owned());
    let (name, output) = match head {
        Head::Tokens => {
            builder.graph.node("", "Identity", &[&hidden], vec!["last_hidden_state".into()], Vec::new());
            let width = i64::try_from(shape.hidden).map_err(io::Error::other)?;
            ("last_hidden_state", vec![named("batch"), named("length"), Extent::Value(width)])
        }
        Head::Score => {
            let score = builder.score(&hidden)?;
            builder.graph.node("", "Identity", &[&score], vec!["logits".into()], Vec::new());
            ("logits", vec![named("batch"), Extent::Value(1)])
        }
    };
    let input = |name: &str| ValueInfoProto::new(name, DataType::Int64, ["batch", "length"].map(named));
    let mut inputs = vec![input("input_ids")];
    if has_types(head, shape) {
        inputs.push(input("token_type_ids"));
    }
    done(shape.layers, shape.layers);
    builder.graph.finish(inputs, vec![ValueInfoProto::new(name, DataType::Float, output)])
}

/// Whether a sequence of two texts says which is which.
const fn has_types(head: Head, shape: Shape) -> bool {
    matches!(head, Head::Score) && shape.types > 1
}

struct Builder<'a, W> {
    graph: Graph<W>,
    weights: &'a dyn Weights,
    shape: Shape,
}

impl<W: Write> Builder<'_, W> {
    /// What the tokens are and where they stand.
    fn embeddings(&mut self, head: Head) -> io::Result<String> {
        let Shape { hidden, positions, first_position, types, .. } = self.shape;
        let words = self.words()?;
        let kinds = self.tensor("type", types * hidden)?;
        let (first_kind, other_kinds) = kinds.split_at(hidden);
        let mut places = self.tensor("pos", positions * hidden)?;
        // The first kind is added once and for all.
        for row in places.chunks_mut(hidden) {
            row.iter_mut().zip(first_kind).for_each(|(place, kind)| *place += kind);
        }
        let places = places.get(first_position * hidden..).unwrap_or_default();
        let place = self.graph.floats("pos", &[positions - first_position, hidden], places)?;
        let one = self.graph.integers("one", &[], &[1])?;
        let zero = self.graph.integers("zero", &[], &[0])?;
        let shape = self.graph.op("", "Shape", &["input_ids"], Vec::new());
        let length = self.graph.op("", "Gather", &[&shape, &one], Vec::new());
        let numbers = self.graph.op("", "Range", &[&zero, &length, &one], Vec::new());
        let places = self.graph.op("", "Gather", &[&place, &numbers], Vec::new());
        let mut sum = self.graph.op("", "Add", &[&words, &places], Vec::new());
        if has_types(head, self.shape) {
            let mut differences = vec![0.0; hidden];
            for row in other_kinds.chunks(hidden) {
                differences.extend(row.iter().zip(first_kind).map(|(kind, first)| kind - first));
            }
            let kinds = self.graph.floats("type", &[types, hidden], &differences)?;
            let kinds = self.graph.op("", "Gather", &[&kinds, "token_type_ids"], Vec::new());
            sum = self.graph.op("", "Add", &[&sum, &kinds], Vec::new());
        }
        let (weight, bias) = self.norm("eln")?;
        let axis =
            vec![AttributeProto::int("axis", -1), AttributeProto::float("epsilon", self.shape.epsilon)];
        Ok(self.graph.op("", "LayerNormalization", &[&sum, &weight, &bias], axis))
    }

    /// The table of all tokens, each with its own scale: the only part that would not fit into memory twice.
    fn words(&mut self) -> io::Result<String> {
        let Shape { hidden, vocabulary, .. } = self.shape;
        let (weights, mut scales) = (self.weights, Vec::with_capacity(vocabulary));
        let mut row = vec![0.0; hidden];
        let table = self.graph.tensor_with(
            "word",
            DataType::Int8,
            &[vocabulary, hidden],
            vocabulary * hidden,
            |file| {
                for token in 0..vocabulary {
                    weights.word(token, &mut row)?;
                    let (bytes, scale) = quantize(&row)?;
                    scales.push(scale);
                    file.write_all(&bytes)?;
                }
                Ok(())
            },
        )?;
        let scales = self.graph.floats("word.scale", &[vocabulary, 1], &scales)?;
        let bytes = self.graph.op("", "Gather", &[&table, "input_ids"], Vec::new());
        let to_float = vec![AttributeProto::int("to", DataType::Float as i64)];
        let rows = self.graph.op("", "Cast", &[&bytes], to_float);
        let scales = self.graph.op("", "Gather", &[&scales, "input_ids"], Vec::new());
        Ok(self.graph.op("", "Mul", &[&rows, &scales], Vec::new()))
    }

    fn layer(&mut self, layer: usize, input: &str) -> io::Result<String> {
        let Shape { hidden, heads, feed_forward, epsilon, .. } = self.shape;
        let name = |part: &str| format!("l{layer}.{part}");
        // Queries, keys and values come of the same input, so one multiplication makes all three.
        let parts = [name("q"), name("k"), name("v")];
        let all = self.linear(&name("qkv"), &parts, hidden, hidden, input)?;
        let split: Vec<String> = ["q", "k", "v"].iter().map(|part| name(&format!("{part}.out"))).collect();
        let sizes = self.graph.integers(
            &name("sizes"),
            &[3],
            &[i64::try_from(hidden).map_err(io::Error::other)?; 3],
        )?;
        self.graph.node("", "Split", &[&all, &sizes], split.clone(), vec![AttributeProto::int("axis", -1)]);
        let split: Vec<&str> = split.iter().map(String::as_str).collect();
        let count = i64::try_from(heads).map_err(io::Error::other)?;
        let attended = self.graph.op(
            MICROSOFT,
            "MultiHeadAttention",
            &split,
            vec![AttributeProto::int("num_heads", count)],
        );
        let attended = self.linear(&name("ao"), &[name("ao")], hidden, hidden, &attended)?;
        let middle = self.join(&name("aln"), input, &attended, epsilon)?;
        let wide = self.linear(&name("fi"), &[name("fi")], hidden, feed_forward, &middle)?;
        let wide = self.graph.op(MICROSOFT, "Gelu", &[&wide], Vec::new());
        let narrow = self.linear(&name("fo"), &[name("fo")], feed_forward, hidden, &wide)?;
        self.join(&name("oln"), &middle, &narrow, epsilon)
    }

    /// The norm of a sum.
    fn join(&mut self, norm: &str, left: &str, right: &str, epsilon: f32) -> io::Result<String> {
        let (weight, bias) = self.norm(norm)?;
        let epsilon = vec![AttributeProto::float("epsilon", epsilon)];
        Ok(self.graph.op(MICROSOFT, "SkipLayerNormalization", &[left, right, &weight, &bias], epsilon))
    }

    /// What the first token says of the whole: it stands for it.
    fn score(&mut self, hidden: &str) -> io::Result<String> {
        let width = self.shape.hidden;
        let zero = "zero";
        let first = self.graph.op("", "Gather", &[hidden, zero], vec![AttributeProto::int("axis", 1)]);
        let pooled = self.gemm("pool", width, width, &first)?;
        let pooled = self.graph.op("", "Tanh", &[&pooled], Vec::new());
        self.gemm("class", width, 1, &pooled)
    }

    /// A small layer, which is not quantized.
    fn gemm(&mut self, name: &str, inputs: usize, outputs: usize, input: &str) -> io::Result<String> {
        let weight = self.tensor(&format!("{name}.w"), inputs * outputs)?;
        let bias = self.tensor(&format!("{name}.b"), outputs)?;
        let weight = self.graph.floats(&format!("{name}.w"), &[outputs, inputs], &weight)?;
        let bias = self.graph.floats(&format!("{name}.b"), &[outputs], &bias)?;
        let transposed = vec![AttributeProto::int("transB", 1)];
        Ok(self.graph.op("", "Gemm", &[input, &weight, &bias], transposed))
    }

    /// One multiplication with the weights of `parts`, side by side.
    fn linear(
        &mut self,
        name: &str,
        parts: &[String],
        inputs: usize,
        outputs: usize,
        input: &str,
    ) -> io::Result<String> {
        let all = outputs * parts.len();
        let (mut columns, mut scales, mut biases) = (Vec::new(), Vec::new(), Vec::new());
        for part in parts {
            let weight = self.tensor(&format!("{part}.w"), inputs * outputs)?;
            for row in weight.chunks(inputs) {
                let (bytes, scale) = quantize(row)?;
                columns.push(bytes);
                scales.push(scale);
            }
            biases.extend(self.tensor(&format!("{part}.b"), outputs)?);
        }
        // A file has the weights of one output after the other, the multiplication wants those of one input.
        let weight = self.graph.tensor_with(
            &format!("{name}.w"),
            DataType::Int8,
            &[inputs, all],
            inputs * all,
            |file| {
                let mut row = Vec::with_capacity(all);
                for index in 0..inputs {
                    row.clear();
                    row.extend(columns.iter().filter_map(|column| column.get(index)));
                    file.write_all(&row)?;
                }
                Ok(())
            },
        )?;
        let scale = self.graph.floats(&format!("{name}.s"), &[all], &scales)?;
        let bias = self.graph.floats(&format!("{name}.b"), &[all], &biases)?;
        Ok(self.graph.op(
            MICROSOFT,
            "DynamicQuantizeMatMul",
            &[input, &weight, &scale, "", &bias],
            Vec::new(),
        ))
    }

    fn norm(&mut self, name: &str) -> io::Result<(String, String)> {
        let hidden = self.shape.hidden;
        let (weight, bias) = (format!("{name}.w"), format!("{name}.b"));
        let (weights, biases) = (self.tensor(&weight, hidden)?, self.tensor(&bias, hidden)?);
        Ok((self.graph.floats(&weight, &[hidden], &weights)?, self.graph.floats(&bias, &[hidden], &biases)?))
    }

    fn tensor(&self, name: &str, length: usize) -> io::Result<Vec<f32>> {
        let values = self.weights.tensor(name)?;
        if values.len() == length { Ok(values) } else { Err(invalid(format!("`{name}` has another size"))) }
    }
}

/// A row as signed bytes, and what one step of them is.
fn quantize(row: &[f32]) -> io::Result<(Vec<u8>, f32)> {
    if row.iter().any(|value| !value.is_finite()) {
        return Err(invalid("a weight is not a number"));
    }
    let largest = row.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let scale = if largest == 0.0 { 1.0 } else { largest / MOST };
    // In range after the division, and a cast saturates.
    let bytes = row.iter().map(|value| ((value / scale).round() as i8).cast_unsigned()).collect();
    Ok((bytes, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_keeps_its_values_to_half_a_step() {
        let row = [0.5_f32, -1.27, 0.0, 0.004, 1.27];
        let (bytes, scale) = quantize(&row).unwrap();
        assert_eq!(bytes, [50, 129, 0, 0, 127]);
        for (byte, value) in bytes.iter().zip(row) {
            assert!((f32::from(byte.cast_signed()) * scale - value).abs() <= scale / 2.0 + f32::EPSILON);
        }
        assert_eq!(quantize(&[0.0; 3]).unwrap(), (vec![0; 3], 1.0));
        assert!(quantize(&[f32::NAN]).is_err());
    }
}
