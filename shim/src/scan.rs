//! Reads `id` and `method` of a line of JSON without parsing the rest, in one pass and no memory. Works on
//! pieces, so that even a line that is too long to keep gets an answer with its id.

/// Ids and methods longer than that are cut; no client sends such.
const MOST_BYTES: usize = 128;

/// What a line turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Has an id and a method.
    Request,
    /// An array.
    Batch,
    /// Nothing that is answered.
    Other,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Field {
    #[default]
    Other,
    Id,
    Method,
}

/// A line being read.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    depth: u32,
    is_batch: bool,
    in_string: bool,
    escaped: bool,
    /// At depth 1: whether a value is expected, and for which key.
    expects_value: bool,
    field: Field,
    key: Vec<u8>,
    id: Vec<u8>,
    method: Vec<u8>,
}

impl Scanner {
    /// Reads on.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        for &byte in piece {
            self.step(byte);
        }
    }

    /// What it was.
    pub(crate) fn kind(&self) -> Kind {
        if self.is_batch {
            Kind::Batch
        } else if !self.id.is_empty() && self.id != b"null" && !self.method.is_empty() {
            Kind::Request
        } else {
            Kind::Other
        }
    }

    /// The id as JSON; `null` if there was none.
    pub(crate) fn id(&self) -> String {
        let is_whole = self.id.len() < MOST_BYTES && !self.id.is_empty();
        if is_whole { String::from_utf8_lossy(&self.id).into_owned() } else { "null".into() }
    }

    /// Whether the method is this one.
    pub(crate) fn is_method(&self, name: &str) -> bool {
        self.method.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) == Some(name.as_bytes())
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            self.keep(byte);
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => {
                    self.in_string = false;
                    if self.depth == 1 && !self.expects_value {
                        self.field = match self.key.as_slice() {
                            b"\"id\"" => Field::Id,
                            b"\"method\"" => Field::Method,
                            _ => Field::Other,
                        };
                    }
                }
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                if self.depth == 1 && !self.expects_value {
                    self.key.clear();
                }
                self.keep(byte);
            }
            b'{' | b'[' => {
                self.is_batch |= self.depth == 0 && byte == b'[';
                self.depth += 1;
            }
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b':' if self.depth == 1 => self.expects_value = true,
            b',' if self.depth == 1 => {
                self.expects_value = false;
                self.field = Field::Other;
            }
            _ if byte.is_ascii_whitespace() => {}
            _ => self.keep(byte),
        }
    }

    fn keep(&mut self, byte: u8) {
        if self.depth != 1 || self.is_batch {
            return;
        }
        let target = match (self.expects_value, self.field) {
            (false, _) => &mut self.key,
            (true, Field::Id) => &mut self.id,
            (true, Field::Method) => &mut self.method,
            (true, Field::Other) => return,
        };
        if target.len() < MOST_BYTES {
            target.push(byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn scan(line: &str) -> (Kind, String) {
        let mut scanner = Scanner::default();
        // In two pieces, as it may come from a pipe.
        let (head, tail) = line.as_bytes().split_at(line.len() / 2);
        scanner.feed(head);
        scanner.feed(tail);
        (scanner.kind(), scanner.id())
    }

    #[test]
    fn kinds_and_ids() {
        for (line, kind, id) in [
            (
                r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"id":9,"method":"x"}}"#,
                Kind::Request,
                "7",
            ),
            (
                r#" { "params" : { "a" : "\"id\":3" } , "method" : "m" , "id" : "a b\"c" } "#,
                Kind::Request,
                r#""a b\"c""#,
            ),
            (r#"{"id":0,"result":{"method":"x"}}"#, Kind::Other, "0"),
            (r#"{"method":"m","id":null}"#, Kind::Other, "null"),
            (r#"{"method":"m"}"#, Kind::Other, "null"),
            (r#" [{"id":1,"method":"m"}]"#, Kind::Batch, "null"),
            ("nonsense", Kind::Other, "null"),
            ("", Kind::Other, "null"),
        ] {
            assert_eq!(scan(line), (kind, id.to_owned()), "{line}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_parser(id in prop_oneof![any::<i64>().prop_map(Value::from), "[ -~]{0,20}".prop_map(Value::from)], noise in "[ -~]{0,40}") {
            let line = json!({ "id": id.clone(), "method": "m", "params": { "id": noise.clone(), "x": [noise] } }).to_string();
            prop_assert_eq!(scan(&line), (Kind::Request, id.to_string()));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut scanner = Scanner::default();
            scanner.feed(&bytes);
            let _ = (scanner.kind(), scanner.id());
        }
    }
}
