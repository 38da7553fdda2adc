//! Files.

use crate::arguments::{Arguments, schema};
use serde_json::{Value, json};
use skynet_core::Alias;

/// What v1 listed at most is not known; this is what its successors list.
const MOST: u32 = 10_000;

/// Of `files_read`.
const MOST_BYTES: u64 = 4 << 20;

pub(crate) fn aliases() -> Vec<Alias> {
    vec![
        Alias::new(
            "list_directory",
            "List what is in a directory.",
            &["files_list", "files_find"],
            schema(
                json!({
                    "path": { "type": "string", "minLength": 1, "description": "The directory." },
                    "recursive": { "type": "boolean", "description": "Also what is in directories below." },
                    "includeHidden": { "type": "boolean", "description": "Also names that start with a dot." },
                    "pattern": { "type": "string", "description": "Only names that fit this glob." },
                }),
                &["path"],
            ),
            |arguments| {
                let mut arguments =
                    Arguments(arguments).rename("includeHidden", "hidden").without_empty("pattern");
                if !arguments.take_switch("recursive") {
                    return ("files_list", arguments.0);
                }
                let pattern = arguments.take("pattern").unwrap_or_else(|| "*".into());
                let arguments = arguments.with("pattern", pattern).with("ignored", true).with("limit", MOST);
                ("files_find", arguments.0)
            },
        ),
        Alias::new(
            "read_file",
            "Read a text file.",
            &["files_read"],
            schema(
                json!({
                    "filePath": { "type": "string", "minLength": 1, "description": "The file." },
                    "encoding": { "type": "string", "description": "Such as `utf-8`, `latin1`, `utf16le` or `base64`." },
                    "maxSize": { "type": "integer", "minimum": 1, "description": "Most bytes to read." },
                }),
                &["filePath"],
            ),
            |arguments| {
                let arguments =
                    Arguments(arguments).rename("filePath", "path").rename("maxSize", "max_bytes");
                let arguments = arguments.at_most("max_bytes", MOST_BYTES);
                ("files_read", encoded(arguments).0)
            },
        ),
        Alias::new(
            "write_file",
            "Write a file.",
            &["files_write"],
            schema(
                json!({
                    "filePath": { "type": "string", "minLength": 1, "description": "The file." },
                    "content": { "type": "string", "writeOnly": true, "description": "Its new content." },
                    "encoding": { "type": "string", "description": "Such as `utf-8`, `latin1`, `utf16le` or `base64`." },
                    "backup": { "type": "boolean", "description": "Has no effect: what is replaced is kept, and `undo_revert_call` takes it back." },
                    "createDirs": { "type": "boolean", "description": "Has no effect: missing directories are made." },
                }),
                &["filePath", "content"],
            ),
            |arguments| {
                let arguments =
                    Arguments(arguments).rename("filePath", "path").without("createDirs").without("backup");
                ("files_write", encoded(arguments).0)
            },
        ),
    ]
}

/// Encodings as Node spells them (Node, "Buffers and character encodings").
fn encoded(mut arguments: Arguments) -> Arguments {
    let Some(asked) = arguments.take_text("encoding") else { return arguments };
    let encoding = match &*asked.to_ascii_lowercase() {
        "utf8" | "utf-8" => "utf8",
        "utf16le" | "utf-16le" | "ucs2" | "ucs-2" => "utf16le",
        "latin1" | "binary" | "ascii" => "latin1",
        "base64" => "base64",
        _ => return arguments.with("encoding", Value::String(asked)),
    };
    arguments.with("encoding", encoding)
}
