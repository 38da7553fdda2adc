//! Git. These three have kept their names: while the toolset is on they take either spelling.

use crate::arguments::{Arguments, schema};
use serde_json::{Value, json};
use skynet_core::Alias;

pub(crate) fn aliases() -> Vec<Alias> {
    vec![
        Alias::new(
            "git_status",
            "Show how a repository stands.",
            &["git_status"],
            schema(json!({ "repositoryPath": repository() }), &["repositoryPath"]),
            |arguments| ("git_status", Arguments(arguments).rename("repositoryPath", "repository").0),
        ),
        Alias::new(
            "git_commit",
            "Record a commit.",
            &["git_commit"],
            schema(
                json!({
                    "repositoryPath": repository(),
                    "message": { "type": "string", "minLength": 1, "description": "The message." },
                    "files": {
                        "type": "array", "items": { "type": "string" },
                        "description": "Files to stage first, relative to the repository.",
                    },
                    "author": {
                        "type": "object",
                        "description": "Who wrote it.",
                        "properties": {
                            "name": { "type": "string", "description": "The name." },
                            "email": { "type": "string", "format": "email", "description": "The mail address." },
                        },
                        "required": ["name", "email"],
                        "additionalProperties": false,
                    },
                }),
                &["repositoryPath", "message"],
            ),
            |arguments| {
                let mut arguments = Arguments(arguments);
                let files = arguments.take("files");
                if let Some(Value::Array(files)) = files {
                    let paths = below(&files, arguments.0.get("repositoryPath"));
                    arguments = arguments.with("paths", paths);
                }
                arguments = arguments.rename("repositoryPath", "repository");
                if let Some(Value::Object(author)) = arguments.0.get("author") {
                    let part = |name: &str| author.get(name).and_then(Value::as_str).unwrap_or_default();
                    let author = format!("{} <{}>", part("name"), part("email"));
                    arguments = arguments.with("author", author);
                }
                ("git_commit", arguments.0)
            },
        ),
        Alias::new(
            "git_push",
            "Push to a remote.",
            &["git_push"],
            schema(
                json!({
                    "repositoryPath": repository(),
                    "remote": { "type": "string", "description": "The name of the remote; `origin` by default." },
                    "branch": { "type": "string", "description": "The branch; by default the one that is checked out." },
                    "force": { "type": "boolean", "description": "Replace what is there, if that is what was last fetched." },
                }),
                &["repositoryPath"],
            ),
            |arguments| {
                let arguments = Arguments(arguments).rename("repositoryPath", "repository");
                ("git_push", arguments.without_empty("remote").without_empty("branch").0)
            },
        ),
    ]
}

fn repository() -> Value {
    json!({ "type": "string", "minLength": 1, "description": "The repository." })
}

/// Files that were named from a repository, named from where that one is.
fn below(files: &[Value], repository: Option<&Value>) -> Value {
    let repository = repository.and_then(Value::as_str).unwrap_or(".").trim_end_matches('/');
    let named = |file: &Value| match file.as_str() {
        Some(file) if !file.starts_with('/') => format!("{repository}/{file}").into(),
        _ => file.clone(),
    };
    files.iter().map(named).collect()
}
