//! Prompts: tasks that a user picks from a menu, worded so that the tools are used well. And the completion of their
//! arguments from what is there: paths, branches, tools.

use super::{handler::Handler, wire::RawRequest};
use rmcp::{
    ErrorData,
    model::{
        CompleteRequestParams, CompletionInfo, GetPromptResult, JsonObject, Prompt, PromptArgument,
        PromptMessage, Role,
    },
};
use serde_json::{Value, json};

/// One prompt: its text has `{name}` where an argument goes.
struct Declared {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    arguments: &'static [Argument],
    text: &'static str,
}

struct Argument {
    name: &'static str,
    description: &'static str,
    /// What it is when it is left out; without, it is required.
    default: Option<&'static str>,
}

const PROMPTS: [Declared; 5] = [
    Declared {
        name: "review_changes",
        title: "Review my changes",
        description: "Read the changes of the working tree as a strict reviewer would.",
        arguments: &[Argument {
            name: "branch",
            description: "Compare with this branch.",
            default: Some("HEAD"),
        }],
        text: "Review what I changed in this workspace compared with `{branch}`. Call git_status, then git_diff; read the surrounding \
            code with files_read where a change cannot be judged alone. Report faults first, by severity, each with file and line, why it is \
            wrong and what would be right. Then say what is missing: tests, documentation, error handling. Do not change anything.",
    },
    Declared {
        name: "write_commit",
        title: "Commit what is staged",
        description: "Word a commit message from the staged changes and commit after I agree.",
        arguments: &[],
        text: "Look at git_status and at git_diff with `staged`. If nothing is staged, say so and stop. Look at git_log for how messages are \
            worded here. Propose a message: what it does now in the first line, why below. When I agree, call git_commit.",
    },
    Declared {
        name: "explain_file",
        title: "Explain a file",
        description: "Explain what a file or directory is for and how it hangs together with the rest.",
        arguments: &[Argument {
            name: "path",
            description: "File or directory in the workspace.",
            default: None,
        }],
        text: "Explain `{path}` to somebody who is new here: what it is for, its main parts, what uses it and what it uses. Read it with \
            files_read (or files_tree for a directory), and find its users with files_search. Quote no more than needed.",
    },
    Declared {
        name: "diagnose_host",
        title: "Find out what is wrong with this host",
        description: "Measure this machine and name the cause of a trouble.",
        arguments: &[Argument {
            name: "symptom",
            description: "What is wrong, in your words.",
            default: Some("something is slow"),
        }],
        text: "On this machine: {symptom}. Find the cause with the tools of the `system` set, called through skynet_call_tool: first \
            system_show_resources, then what it points to. Change nothing. Report what you measured, the most likely cause, and what to do.",
    },
    Declared {
        name: "use_tool",
        title: "Use a tool",
        description: "Reach a goal with one particular tool.",
        arguments: &[
            Argument { name: "tool", description: "Name of the tool.", default: None },
            Argument { name: "goal", description: "What to reach with it.", default: None },
        ],
        text: "Goal: {goal}. Use the tool `{tool}`. If it is not in your list, look at skynet_describe_tool and call it with skynet_call_tool.",
    },
];

/// All of them.
pub(super) fn all() -> Vec<Prompt> {
    let prompt = |declared: &Declared| {
        let arguments = declared.arguments.iter().map(|argument| {
            PromptArgument::new(argument.name)
                .with_description(argument.description)
                .with_required(argument.default.is_none())
        });
        let arguments: Vec<PromptArgument> = arguments.collect();
        Prompt::new(declared.name, Some(declared.description), (!arguments.is_empty()).then_some(arguments))
            .with_title(declared.title)
    };
    let prompts = PROMPTS.iter().map(prompt);
    #[cfg(feature = "conformance")]
    let prompts = prompts.chain(super::fixtures::prompts());
    prompts.collect()
}

/// One, with its arguments filled in.
///
/// # Errors
/// Invalid parameters, naming what is wrong.
pub(super) fn get(name: &str, given: Option<&JsonObject>) -> Result<GetPromptResult, ErrorData> {
    let invalid = |message: String| ErrorData::invalid_params(message, None);
    let declared = PROMPTS.iter().find(|prompt| prompt.name == name).ok_or_else(|| {
        let names: Vec<_> = PROMPTS.iter().map(|prompt| format!("`{}`", prompt.name)).collect();
        invalid(format!("there is no prompt `{name}`; there are {}", names.join(", ")))
    })?;
    let unknown = given.into_iter().flatten().map(|(name, _)| name);
    for name in unknown {
        if !declared.arguments.iter().any(|argument| argument.name == name) {
            return Err(invalid(format!("the prompt has no argument `{name}`")));
        }
    }
    // In one pass, so that a value which looks like a placeholder stays what it is.
    let mut text = String::new();
    for (index, part) in declared.text.split(['{', '}']).enumerate() {
        if index % 2 == 0 {
            text.push_str(part);
            continue;
        }
        let argument = declared.arguments.iter().find(|argument| argument.name == part);
        let value = given.and_then(|given| given.get(part));
        let value = match value {
            Some(value) => {
                Some(value.as_str().ok_or_else(|| invalid(format!("argument `{part}` must be a string")))?)
            }
            None => argument.and_then(|argument| argument.default),
        };
        text.push_str(value.ok_or_else(|| invalid(format!("argument `{part}` is missing")))?);
    }
    Ok(GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)])
        .with_description(declared.description))
}

/// What an argument could be.
pub(super) async fn complete(
    handler: &Handler,
    raw: &RawRequest,
    request: &CompleteRequestParams,
) -> Result<CompletionInfo, ErrorData> {
    let (name, begun) = (request.argument.name.as_str(), request.argument.value.as_str());
    if let Some(prompt) = request.r#ref.as_prompt_name()
        && !all().iter().any(|declared| declared.name == prompt)
    {
        return Err(ErrorData::invalid_params(format!("there is no prompt `{prompt}`"), None));
    }
    let mut values = match name {
        "path" => paths(handler, raw, begun).await,
        "branch" => branches(handler, raw).await,
        "tool" => handler.desk.calls.registry().iter().map(|entry| entry.name.to_owned()).collect(),
        _ => Vec::new(),
    };
    values.retain(|value| value.starts_with(begun));
    let total = u32::try_from(values.len()).unwrap_or(u32::MAX);
    let has_more = values.len() > CompletionInfo::MAX_VALUES;
    values.truncate(CompletionInfo::MAX_VALUES);
    CompletionInfo::with_pagination(values, Some(total), has_more)
        .map_err(|err| ErrorData::internal_error(err.to_string(), None))
}

/// Entries of the directory that is being typed. What cannot be listed completes to nothing.
async fn paths(handler: &Handler, raw: &RawRequest, begun: &str) -> Vec<String> {
    let (directory, prefix) =
        begun.rsplit_once('/').map_or((".", ""), |(directory, _)| (directory, directory));
    let input = json!({ "path": if directory.is_empty() { "." } else { directory }, "hidden": true });
    let Ok(found) = handler.call_inside(raw, "files_list", &input).await else {
        return Vec::new();
    };
    let entries = found.get("entries").and_then(Value::as_array).cloned().unwrap_or_default();
    let shown = entries.iter().filter_map(|entry| {
        let name = entry.get("name")?.as_str()?;
        let end = if entry.get("kind").and_then(Value::as_str) == Some("directory") { "/" } else { "" };
        Some(if prefix.is_empty() { format!("{name}{end}") } else { format!("{prefix}/{name}{end}") })
    });
    shown.collect()
}

async fn branches(handler: &Handler, raw: &RawRequest) -> Vec<String> {
    let Ok(found) = handler.call_inside(raw, "git_branch", &json!({})).await else {
        return Vec::new();
    };
    let branches = found.get("branches").and_then(Value::as_array).cloned().unwrap_or_default();
    branches.iter().filter_map(|branch| Some(branch.get("name")?.as_str()?.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_filled_in_once() {
        let text = |name: &str, arguments: Value| {
            let result = get(name, arguments.as_object()).map_err(|err| err.message.to_string());
            result.map(|result| {
                serde_json::to_value(&result.messages).unwrap()[0]["content"]["text"].to_string()
            })
        };
        assert!(text("explain_file", json!({ "path": "{goal}" })).unwrap().contains("`{goal}`"));
        assert!(text("review_changes", json!({})).unwrap().contains("`HEAD`"));
        for (name, arguments, expected) in [
            ("explain_file", json!({}), "argument `path` is missing"),
            ("explain_file", json!({ "path": 5 }), "must be a string"),
            ("explain_file", json!({ "path": "a", "x": "b" }), "no argument `x`"),
            ("nonsense", json!({}), "there are `review_changes`"),
        ] {
            assert!(text(name, arguments).unwrap_err().contains(expected), "{name}");
        }
    }
}
