//! Begins a new project.

use crate::{manager::plain, templates};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{
    CallCtx, Effect, Error, ErrorKind, Place, Result, Subject, Tool,
    target::{Existing, Target, make_parents, new_file_mode},
};

pub(crate) struct EnvCreateProject;

/// What it is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Python,
    Node,
    Rust,
    Go,
    Java,
    /// Only a README and what Git leaves out.
    Generic,
}

/// What it becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Template {
    /// A program to start.
    #[default]
    App,
    /// Code that others use.
    Library,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Its name: letters, digits, `-` and `_`.
    #[schemars(length(min = 1, max = 100), regex(pattern = "^[A-Za-z0-9_-]+$"))]
    name: String,
    /// What it is written in.
    kind: Kind,
    /// What it becomes.
    #[serde(default)]
    template: Template,
    /// Where, relative to the workspace; by default a new directory of that name. Files that are there stay, and are an error.
    #[serde(default)]
    directory: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Where it is, relative to the workspace.
    directory: String,
    /// What was written, relative to the workspace.
    files: Vec<String>,
    /// What to do next.
    next: &'static str,
}

impl Tool for EnvCreateProject {
    const NAME: &'static str = "env_create_project";
    const SUMMARY: &'static str = "Begin a new project from a small template, with manifest, source, one test and a README: python, node, rust, go, java or generic.";
    const KEYWORDS: &'static str = "new project scaffold skeleton boilerplate template init start bootstrap create app library structure | nouveau projet créer squelette modèle structure initialiser démarrer";
    const EFFECT: Effect = Effect::Write;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    fn changes(&self, input: &Input) -> Vec<Subject> {
        vec![Subject::Path(input.directory.as_ref().unwrap_or(&input.name).clone())]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        plain("name", &input.name)?;
        let workspace = ctx.workspace()?;
        let directory = workspace.relative(input.directory.as_deref().unwrap_or(&input.name))?;
        let files = templates::files(&input.name, input.kind, input.template);
        let paths: Vec<_> = files.iter().map(|(file, _)| directory.join(file.as_ref())).collect();
        // Nothing is written unless all of it can be.
        let mut there = Vec::new();
        for path in &paths {
            match Target::entry(workspace, path).and_then(|target| target.stat()) {
                Ok(Some(_)) => there.push(format!("`{path}`")),
                Ok(None) => {}
                Err(err) if err.kind == ErrorKind::NotFound => {}
                Err(err) => return Err(err),
            }
        }
        if !there.is_empty() {
            return Err(Error::conflict(format!(
                "{} is there already; give another `directory`, or write the missing files with `files_write`",
                there.join(", ")
            )));
        }
        let mut written = Vec::new();
        for (path, (_, content)) in paths.iter().zip(&files) {
            ctx.check_canceled()?;
            make_parents(ctx, workspace, path).await?;
            let target = Target::file(workspace, path)?;
            target.keep_before(ctx).await?;
            target.replace(content.as_bytes(), new_file_mode(), Existing::Fail)?;
            written.push(target.path.to_string());
        }
        Ok(Output {
            directory: directory.to_string(),
            files: written,
            next: "`env_show_project` says which calls install, test, lint and format it",
        })
    }
}
