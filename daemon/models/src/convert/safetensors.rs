//! Weights as Hugging Face stores them. Source: the format of safetensors (github.com/huggingface/safetensors, "Format"), and the
//! names of `BertModel` and `XLMRobertaForSequenceClassification` in transformers.

use super::weights::{Shape, Weights, invalid};
use half::{bf16, f16};
use safetensors::{Dtype, tensor::Metadata};
use serde::Deserialize;
use std::{fs::File, io, os::unix::fs::FileExt as _};

/// A header is a list of names; longer ones are none.
const LONGEST_HEADER: u64 = 16 << 20;

/// What is before the header: its length.
const START: u64 = 8;

/// `config.json`, as far as it matters.
#[derive(Debug, Deserialize)]
struct Config {
    hidden_size: usize,
    intermediate_size: usize,
    layer_norm_eps: f32,
    max_position_embeddings: usize,
    model_type: String,
    num_attention_heads: usize,
    num_hidden_layers: usize,
    #[serde(default)]
    pad_token_id: usize,
    type_vocab_size: usize,
    vocab_size: usize,
    #[serde(default)]
    hidden_act: String,
}

/// An open file.
pub(crate) struct Safetensors {
    file: File,
    metadata: Metadata,
    /// Where the values begin.
    start: u64,
    /// In front of every name.
    prefix: &'static str,
    shape: Shape,
}

impl Safetensors {
    /// `config` is the model's `config.json`.
    pub(crate) fn open(file: File, config: &[u8]) -> io::Result<Self> {
        let config: Config = serde_json::from_slice(config)?;
        // RoBERTa numbers positions from the one after that of padding (transformers, `create_position_ids_from_input_ids`).
        let first_position = match config.model_type.as_str() {
            "bert" => 0,
            "xlm-roberta" | "roberta" => config.pad_token_id + 1,
            other => return Err(invalid(format!("`{other}` is no kind of encoder that is known here"))),
        };
        if !matches!(config.hidden_act.as_str(), "" | "gelu") {
            return Err(invalid(format!("`{}` is no activation that is known here", config.hidden_act)));
        }
        let mut length = [0; 8];
        file.read_exact_at(&mut length, 0)?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST_HEADER {
            return Err(invalid("the header of the weights is too long"));
        }
        let mut header = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        file.read_exact_at(&mut header, START)?;
        let metadata: Metadata = serde_json::from_slice(&header)?;
        let prefix = ["", "bert.", "roberta."]
            .into_iter()
            .find(|prefix| metadata.info(&format!("{prefix}embeddings.word_embeddings.weight")).is_some())
            .ok_or_else(|| invalid("the weights are of no encoder"))?;
        let shape = Shape {
            hidden: config.hidden_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            feed_forward: config.intermediate_size,
            vocabulary: config.vocab_size,
            positions: config.max_position_embeddings,
            first_position,
            types: config.type_vocab_size,
            epsilon: config.layer_norm_eps,
        };
        Ok(Self { file, metadata, start: START + length, prefix, shape })
    }

    /// The name there of one of ours.
    fn name(&self, ours: &str) -> io::Result<String> {
        let (part, end) = match ours.rsplit_once('.') {
            Some((part, "w")) => (part, ".weight"),
            Some((part, "b")) => (part, ".bias"),
            _ => (ours, ".weight"),
        };
        let of_bert = self.prefix != "roberta.";
        let prefix = self.prefix;
        let theirs = match part {
            "word" => format!("{prefix}embeddings.word_embeddings"),
            "pos" => format!("{prefix}embeddings.position_embeddings"),
            "type" => format!("{prefix}embeddings.token_type_embeddings"),
            "eln" => format!("{prefix}embeddings.LayerNorm"),
            "pool" if of_bert => format!("{prefix}pooler.dense"),
            "pool" => "classifier.dense".into(),
            "class" if of_bert => "classifier".into(),
            "class" => "classifier.out_proj".into(),
            _ => {
                let (layer, part) = part
                    .strip_prefix('l')
                    .and_then(|rest| rest.split_once('.'))
                    .ok_or_else(|| invalid(format!("`{ours}` is no weight")))?;
                let part = match part {
                    "q" => "attention.self.query",
                    "k" => "attention.self.key",
                    "v" => "attention.self.value",
                    "ao" => "attention.output.dense",
                    "aln" => "attention.output.LayerNorm",
                    "fi" => "intermediate.dense",
                    "fo" => "output.dense",
                    "oln" => "output.LayerNorm",
                    _ => return Err(invalid(format!("`{ours}` is no weight"))),
                };
                format!("{prefix}encoder.layer.{layer}.{part}")
            }
        };
        Ok(theirs + end)
    }

    /// `count` values from the one of that number on; all of them without.
    fn read(&self, ours: &str, range: Option<(usize, usize)>) -> io::Result<Vec<f32>> {
        let name = self.name(ours)?;
        let info = self.metadata.info(&name).ok_or_else(|| invalid(format!("the weights lack `{name}`")))?;
        let size = match info.dtype {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
            other => return Err(invalid(format!("`{name}` is of {other:?}, which is not read here"))),
        };
        let (begin, end) = info.data_offsets;
        let (from, bytes) = match range {
            Some((first, count)) => (begin + first * size, count * size),
            None => (begin, end.saturating_sub(begin)),
        };
        if from + bytes > end {
            return Err(invalid(format!("`{name}` has another size")));
        }
        let mut raw = vec![0; bytes];
        self.file.read_exact_at(&mut raw, self.start + from as u64)?;
        Ok(match info.dtype {
            Dtype::F16 => pairs(&raw).map(|pair| f16::from_le_bytes(pair).to_f32()).collect(),
            Dtype::BF16 => pairs(&raw).map(|pair| bf16::from_le_bytes(pair).to_f32()).collect(),
            _ => floats(&raw),
        })
    }
}

fn pairs(raw: &[u8]) -> impl Iterator<Item = [u8; 2]> {
    raw.as_chunks::<2>().0.iter().copied()
}

/// Little-endian ones.
pub(super) fn floats(raw: &[u8]) -> Vec<f32> {
    raw.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

impl Weights for Safetensors {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn tensor(&self, name: &str) -> io::Result<Vec<f32>> {
        self.read(name, None)
    }

    fn word(&self, token: usize, row: &mut [f32]) -> io::Result<()> {
        row.copy_from_slice(&self.read("word", Some((token * row.len(), row.len())))?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Write as _;

    fn file(tensors: &[(&str, &str, &[u8])]) -> File {
        let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
        for (name, kind, bytes) in tensors {
            let begin = data.len();
            data.extend_from_slice(bytes);
            let count = bytes.len() / if *kind == "F32" { 4 } else { 2 };
            let entry = json!({ "dtype": kind, "shape": [count], "data_offsets": [begin, data.len()] });
            header.insert((*name).to_owned(), entry);
        }
        let header = serde_json::to_vec(&header).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
        file.write_all(&header).unwrap();
        file.write_all(&data).unwrap();
        file
    }

    fn config(kind: &str) -> Vec<u8> {
        let config = json!({
            "model_type": kind, "hidden_size": 2, "intermediate_size": 4, "layer_norm_eps": 1e-5,
            "max_position_embeddings": 4, "num_attention_heads": 1, "num_hidden_layers": 1, "pad_token_id": 1,
            "type_vocab_size": 1, "vocab_size": 2, "hidden_act": "gelu", "architectures": ["X"],
        });
        serde_json::to_vec(&config).unwrap()
    }

    #[test]
    fn weights_are_found_under_the_names_of_their_kind() {
        let words: Vec<u8> =
            [1.0, 2.0, 3.0, -0.5].iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
        let bias = 7.0_f32.to_le_bytes();
        for (kind, prefix, class, pool, first) in [
            ("bert", "bert.", "classifier.bias", "bert.pooler.dense.bias", 0),
            ("xlm-roberta", "roberta.", "classifier.out_proj.bias", "classifier.dense.bias", 2),
            ("bert", "", "classifier.bias", "pooler.dense.bias", 0),
        ] {
            let (word, key) = (
                format!("{prefix}embeddings.word_embeddings.weight"),
                format!("{prefix}encoder.layer.3.attention.self.key.bias"),
            );
            let tensors = [
                (word.as_str(), "F16", &words[..]),
                (&key, "F32", &bias),
                (class, "F32", &bias),
                (pool, "F32", &bias),
            ];
            let weights = Safetensors::open(file(&tensors), &config(kind)).unwrap();
            assert_eq!(weights.shape().first_position, first);
            let mut row = [0.0; 2];
            weights.word(1, &mut row).unwrap();
            assert_eq!(row, [3.0, -0.5]);
            assert!(weights.word(2, &mut row).is_err());
            for name in ["l3.k.b", "class.b", "pool.b"] {
                assert_eq!(weights.tensor(name).unwrap(), [7.0], "{kind} {name}");
            }
            assert!(weights.tensor("l4.k.b").unwrap_err().to_string().contains("encoder.layer.4"));
        }
        assert!(Safetensors::open(file(&[]), &config("gpt2")).is_err());
        assert!(Safetensors::open(file(&[]), &config("bert")).is_err());
    }
}
