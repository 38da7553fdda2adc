//! `skynetctl tools`.

use crate::{
    daemon::Daemon,
    output::{Failure, Output, table},
};
use clap::Subcommand;
use serde_json::{Value, json};
use skynet_proto::{
    CallToolRequest, DescribeToolRequest, ListToolsRequest, Tool, call_tool_response::Outcome,
};
use std::{io::Read as _, path::PathBuf};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the tools.
    List,
    /// Show a tool's schemas.
    Describe {
        /// Its name.
        name: String,
    },
    /// Call a tool, through the same pipeline as an agent.
    Call {
        /// Its name.
        name: String,
        /// The input, as a JSON object; `-` reads it from stdin.
        #[arg(default_value = "{}")]
        input: String,
        /// Work in this directory instead of the current one.
        #[arg(long, value_name = "DIR")]
        workspace: Option<PathBuf>,
    },
}

pub(crate) async fn run(daemon: &Daemon, command: Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::List => list(daemon, output).await,
        Command::Describe { name } => describe(daemon, name, output).await,
        Command::Call { name, input, workspace } => call(daemon, name, input, workspace, output).await,
    }
}

async fn list(daemon: &Daemon, output: &mut Output) -> Result<(), Failure> {
    let tools = daemon.tools().await?.list(ListToolsRequest {}).await?.into_inner().tools;
    let json = tools.iter().map(|tool| {
        json!({ "name": tool.name, "family": tool.family, "effect": tool.effect, "summary": tool.summary })
    });
    output.show(&json.collect(), || {
        let rows = tools.iter().map(|tool| {
            let point = tool.summary.split(". ").next().unwrap_or_default();
            let point = point.split(':').next().unwrap_or_default().trim_end_matches('.');
            [tool.name.clone(), tool.effect.clone(), point.to_owned()]
        });
        table(["tool", "effect", "summary"], rows)
    })
}

async fn describe(daemon: &Daemon, name: String, output: &mut Output) -> Result<(), Failure> {
    let tool: Tool = daemon.tools().await?.describe(DescribeToolRequest { name }).await?.into_inner();
    let schema = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    let (input, answer) = (schema(&tool.input_schema), schema(&tool.output_schema));
    let json = json!({
        "name": tool.name,
        "family": tool.family,
        "effect": tool.effect,
        "summary": tool.summary,
        "timeout_seconds": tool.timeout_seconds,
        "input_schema": input,
        "output_schema": answer,
    });
    output.show(&json, || {
        let pretty = |schema: &Value| serde_json::to_string_pretty(schema).unwrap_or_default();
        format!(
            "{} ({}, at most {} s)\n{}\n\ninput\n{}\n\noutput\n{}",
            tool.name,
            tool.effect,
            tool.timeout_seconds,
            tool.summary,
            pretty(&input),
            pretty(&answer)
        )
    })
}

async fn call(
    daemon: &Daemon,
    name: String,
    input: String,
    workspace: Option<PathBuf>,
    output: &mut Output,
) -> Result<(), Failure> {
    let input = if input == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        text
    } else {
        input
    };
    let here = std::env::current_dir()?;
    let workspace = workspace.map_or_else(|| here.clone(), |given| here.join(given));
    let request =
        CallToolRequest { name, input: input.into(), workspace: workspace.to_string_lossy().into_owned() };
    let response = daemon.tools().await?.call(request).await?.into_inner();
    match response.outcome {
        Some(Outcome::Output(json)) if output.is_json() => {
            output.bytes(&json)?;
            output.line("")
        }
        Some(Outcome::Output(json)) => {
            let value: Value = serde_json::from_slice(&json).unwrap_or_default();
            output.line(&serde_json::to_string_pretty(&value).unwrap_or_default())?;
            for link in response.links {
                output.line(&format!("whole result: {} ({} bytes)", link.uri, link.size_bytes))?;
            }
            for notice in response.notices {
                output.line(&format!("note: {notice}"))?;
            }
            Ok(())
        }
        Some(Outcome::Error(error)) => Err(Failure::tool(error.kind, error.message)),
        None => Err(Failure::refused("the daemon answered nothing")),
    }
}
