//! Lists, creates, renames and deletes branches.

use crate::{
    repository::Repository,
    revision::{Revision, default_repository},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Subject, Tool};

pub(crate) struct GitBranch;

/// What to do.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    #[default]
    List,
    Create,
    Rename,
    Delete,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Any directory of the repository.
    #[serde(default = "default_repository")]
    repository: String,
    /// What to do.
    #[serde(default)]
    action: Action,
    /// The branch to create, rename or delete.
    #[serde(default)]
    name: Option<Revision>,
    /// With `create`: where it starts; the head if left out.
    #[serde(default)]
    start: Option<Revision>,
    /// With `rename`: the new name.
    #[serde(default)]
    new_name: Option<Revision>,
    /// With `delete`: even if its commits are on no other branch; this asks a human.
    #[serde(default)]
    force: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// All branches afterwards, local ones first.
    branches: Vec<Branch>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Branch {
    /// Such as `main` or `origin/main`.
    name: String,
    /// Whether it is checked out here.
    current: bool,
    /// Where it points.
    commit: String,
    /// First line of that commit's message.
    subject: String,
    /// What it follows.
    #[serde(skip_serializing_if = "String::is_empty")]
    upstream: String,
}

impl Tool for GitBranch {
    const NAME: &'static str = "git_branch";
    const SUMMARY: &'static str = "List, create, rename or delete branches. Deleting one with unmerged commits needs `force` and a human.";
    const KEYWORDS: &'static str =
        "branches list new rename delete feature | branche branches lister créer nouvelle renommer supprimer";
    const EFFECT: Effect = Effect::Read;
    const MOST: Effect = Effect::Destroy;
    const PLACE: Place = Place::Hands;
    type Input = Input;
    type Output = Output;

    fn effect(&self, input: &Input) -> Effect {
        match (input.action, input.force) {
            (Action::List, _) => Effect::Read,
            (Action::Delete, true) => Effect::Destroy,
            (Action::Create | Action::Rename | Action::Delete, _) => Effect::Write,
        }
    }

    fn changes(&self, input: &Input) -> Vec<Subject> {
        vec![Subject::Path(input.repository.clone())]
    }

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let repository = Repository::find(ctx.workspace()?, &input.repository)?;
        let name = || {
            input
                .name
                .as_ref()
                .map(Revision::as_str)
                .ok_or_else(|| Error::invalid_input("this action needs `name`"))
        };
        let arguments = match input.action {
            Action::List => Vec::new(),
            Action::Create => {
                let mut arguments = vec!["branch", "--no-track", "--end-of-options", name()?];
                arguments.extend(input.start.as_ref().map(Revision::as_str));
                arguments
            }
            Action::Rename => {
                let new_name = input.new_name.as_ref().map(Revision::as_str);
                let new_name = new_name.ok_or_else(|| Error::invalid_input("`rename` needs `new_name`"))?;
                vec!["branch", "--move", "--end-of-options", name()?, new_name]
            }
            Action::Delete if input.force => vec!["branch", "-D", "--end-of-options", name()?],
            Action::Delete => vec!["branch", "-d", "--end-of-options", name()?],
        };
        if !arguments.is_empty() {
            let names = [&input.name, &input.new_name];
            let names: Vec<_> = names.into_iter().flatten().map(Revision::as_str).collect();
            repository.keep_state(ctx, &names).await?;
            repository.check(ctx, &[], arguments).await?;
        }
        let format =
            "--format=%(refname:short)%1f%(HEAD)%1f%(objectname)%1f%(contents:subject)%1f%(upstream:short)";
        let listed =
            repository.check(ctx, &[], ["for-each-ref", format, "refs/heads", "refs/remotes"]).await?;
        Ok(Output { branches: listed.text()?.lines().filter_map(parse).collect() })
    }
}

fn parse(line: &str) -> Option<Branch> {
    let mut fields = line.split('\u{1f}').map(str::to_owned);
    Some(Branch {
        name: fields.next()?,
        current: fields.next()? == "*",
        commit: fields.next()?,
        subject: fields.next()?,
        upstream: fields.next()?,
    })
}
