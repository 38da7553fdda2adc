//! A server of files on this host, and the smallest re-ranker that says something.

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// What is sent, and the headers with it.
type File = (Vec<u8>, Vec<(String, String)>);

#[derive(Default)]
struct State {
    files: HashMap<String, File>,
    /// Paths, and what they were asked from.
    asked: Vec<(String, Option<String>)>,
    break_after: Option<usize>,
}

/// Serves files until the tests end.
pub(super) struct Server {
    address: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let served = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that left is none.
                let _ = answer(&stream.unwrap(), &served);
            }
        });
        Self { address, state }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn put(&self, path: &str, content: Vec<u8>, headers: &[(&str, &str)]) {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        self.state.lock().unwrap().files.insert(path.into(), (content, headers));
    }

    pub(super) fn asked(&self) -> Vec<(String, Option<String>)> {
        self.state.lock().unwrap().asked.clone()
    }

    /// From now on no connection carries more of a long file.
    pub(super) fn break_after(&self, bytes: Option<usize>) {
        self.state.lock().unwrap().break_after = bytes;
    }
}

fn answer(mut stream: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().unwrap()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let mut range = None;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: ") {
            range = Some(value.to_owned());
        }
    }
    let (found, most) = {
        let mut state = state.lock().unwrap();
        state.asked.push((path.clone(), range.clone()));
        (state.files.get(&path).cloned(), state.break_after)
    };
    let Some((content, headers)) = found else {
        return write!(stream, "HTTP/1.1 404 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    };
    let from: usize =
        range.as_deref().and_then(|range| range[6..].strip_suffix('-')?.parse().ok()).unwrap_or(0);
    let rest = &content[from..];
    let mut head = String::from(if from > 0 { "HTTP/1.1 206 X\r\n" } else { "HTTP/1.1 200 X\r\n" });
    if from > 0 {
        write!(head, "content-range: bytes {from}-{}/{}\r\n", content.len() - 1, content.len()).unwrap();
    }
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    write!(head, "content-length: {}\r\nconnection: close\r\n\r\n", rest.len()).unwrap();
    stream.write_all(head.as_bytes())?;
    if method == "HEAD" {
        return Ok(());
    }
    stream.write_all(&rest[..most.unwrap_or(rest.len()).min(rest.len())])
}

const WIDTH: usize = 32;
const WORDS: [&str; 8] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "what", "is"];

/// Adds a tensor of that name and shape, by what is at each place.
type Add<'a> = &'a mut dyn FnMut(&str, &[usize], &dyn Fn(usize) -> f32);

/// Puts a repository there whose model likes what has much of `good` and little of `bad` in it; the size of its weights.
pub(super) fn cross_encoder(server: &Server, repository: &str) -> usize {
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    let mut add = |name: &str, shape: &[usize], value: &dyn Fn(usize) -> f32| {
        let count = shape.iter().product();
        tensors.push((name.to_owned(), shape.to_vec(), (0..count).map(value).collect()));
    };
    let zero = |_| 0.0;
    let one = |_| 1.0;
    let identity = |index: usize| if index / WIDTH == index % WIDTH { 1.0 } else { 0.0 };
    // Every word points its own way.
    let word = |index: usize| if index / WIDTH == index % WIDTH { 4.0 } else { 0.1 };
    add("bert.embeddings.word_embeddings.weight", &[WORDS.len(), WIDTH], &word);
    add("bert.embeddings.position_embeddings.weight", &[64, WIDTH], &zero);
    add("bert.embeddings.token_type_embeddings.weight", &[2, WIDTH], &zero);
    let norm = |name: &str, add: Add<'_>| {
        add(&format!("{name}.weight"), &[WIDTH], &one);
        add(&format!("{name}.bias"), &[WIDTH], &zero);
    };
    norm("bert.embeddings.LayerNorm", &mut add);
    let layer = "bert.encoder.layer.0";
    // All tokens are looked at alike, and passed on as they are.
    for (part, weight) in [
        ("attention.self.query", &zero as &dyn Fn(usize) -> f32),
        ("attention.self.key", &zero),
        ("attention.self.value", &identity),
        ("attention.output.dense", &identity),
    ] {
        add(&format!("{layer}.{part}.weight"), &[WIDTH, WIDTH], weight);
        add(&format!("{layer}.{part}.bias"), &[WIDTH], &zero);
    }
    norm(&format!("{layer}.attention.output.LayerNorm"), &mut add);
    add(&format!("{layer}.intermediate.dense.weight"), &[2 * WIDTH, WIDTH], &zero);
    add(&format!("{layer}.intermediate.dense.bias"), &[2 * WIDTH], &zero);
    add(&format!("{layer}.output.dense.weight"), &[WIDTH, 2 * WIDTH], &zero);
    add(&format!("{layer}.output.dense.bias"), &[WIDTH], &zero);
    norm(&format!("{layer}.output.LayerNorm"), &mut add);
    add("bert.pooler.dense.weight", &[WIDTH, WIDTH], &identity);
    add("bert.pooler.dense.bias", &[WIDTH], &zero);
    let taste = |index: usize| match index {
        4 => 1.0,
        5 => -1.0,
        _ => 0.0,
    };
    add("classifier.weight", &[1, WIDTH], &taste);
    add("classifier.bias", &[1], &zero);

    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, shape, values) in tensors {
        let begin = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        header.insert(name, json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()] }));
    }
    let header = Value::Object(header).to_string();
    let weights = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    let size = weights.len();
    let hash =
        Sha256::digest(&weights).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let path = |file: &str| format!("/{repository}/resolve/main/{file}");
    let etag = format!("\"{hash}\"");
    let length = size.to_string();
    server.put(&path("model.safetensors"), weights, &[("x-linked-etag", &etag), ("x-linked-size", &length)]);
    let config = json!({
        "model_type": "bert", "hidden_act": "gelu", "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH,
        "layer_norm_eps": 1e-12, "max_position_embeddings": 64, "num_attention_heads": 4, "num_hidden_layers": 1,
        "type_vocab_size": 2, "vocab_size": WORDS.len(), "pad_token_id": 0,
    });
    server.put(&path("config.json"), config.to_string().into_bytes(), &[]);
    server.put(&path("tokenizer.json"), tokenizer().to_string().into_bytes(), &[]);
    size
}

/// One token per word.
fn tokenizer() -> Value {
    let vocabulary: Map<String, Value> =
        WORDS.iter().zip(0..).map(|(word, id)| ((*word).to_owned(), Value::from(id))).collect();
    let special = |id: &str, kind: u32| json!({ "SpecialToken": { "id": id, "type_id": kind } });
    let sequence = |id: &str, kind: u32| json!({ "Sequence": { "id": id, "type_id": kind } });
    json!({
        "version": "1.0",
        // As published ones have it; it must not count.
        "truncation": { "max_length": 6, "strategy": "LongestFirst", "stride": 0, "direction": "Right" },
        "padding": { "strategy": { "Fixed": 32 }, "direction": "Right", "pad_to_multiple_of": null,
                     "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]" },
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": { "type": "WhitespaceSplit" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special("[CLS]", 0), sequence("A", 0), special("[SEP]", 0)],
            "pair": [special("[CLS]", 0), sequence("A", 0), special("[SEP]", 0), sequence("B", 1), special("[SEP]", 1)],
            "special_tokens": {
                "[CLS]": { "id": "[CLS]", "ids": [2], "tokens": ["[CLS]"] },
                "[SEP]": { "id": "[SEP]", "ids": [3], "tokens": ["[SEP]"] },
            },
        },
        "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]" },
    })
}
