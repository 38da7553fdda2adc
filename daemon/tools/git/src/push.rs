//! Brings commits to a remote.

use crate::{
    remote::{check_name, default_remote},
    repository::Repository,
    revision::{Revision, default_repository},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use skynet_core::{CallCtx, Effect, Error, Place, Result, Tool};
use std::time::Duration;

pub(crate) struct GitPush;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// Any directory of the repository.
    #[serde(default = "default_repository")]
    repository: String,
    /// The name of the remote.
    #[serde(default = "default_remote")]
    remote: String,
    /// The branch or tag to bring there; the branch that is checked out, if left out.
    #[serde(default)]
    branch: Option<Revision>,
    /// Its name there; the same, if left out.
    #[serde(default)]
    to: Option<Revision>,
    /// Replace what is there, if that is what was last fetched.
    #[serde(default)]
    force: bool,
    /// Have the branch follow the one it is pushed to.
    #[serde(default)]
    set_upstream: bool,
}

/// What became of one reference.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Pushed {
    /// Its full name at the remote.
    name: String,
    /// What Git says, such as `[new branch]` or two commits.
    result: String,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// What was pushed.
    pushed: Vec<Pushed>,
}

impl Tool for GitPush {
    const NAME: &'static str = "git_push";
    const SUMMARY: &'static str = "Push a branch or tag to a remote. `force` replaces what is there only if it is what was last fetched. Reaches the remote's host and no other.";
    const KEYWORDS: &'static str =
        "upload publish send commits remote origin force | pousser publier envoyer commits distant";
    const EFFECT: Effect = Effect::External;
    const PLACE: Place = Place::Remote;
    const TIMEOUT: Duration = Duration::from_secs(600);
    type Input = Input;
    type Output = Output;

    async fn call(&self, ctx: &CallCtx, input: Input) -> Result<Output> {
        let repository = Repository::find(ctx.workspace()?, &input.repository)?;
        check_name(&input.remote)?;
        repository.check_transport()?;
        let from = match &input.branch {
            Some(branch) => branch.as_str().to_owned(),
            None => {
                let head = repository.run(ctx, &[], ["symbolic-ref", "--short", "--quiet", "HEAD"]).await?;
                let head = head.text()?.trim_end().to_owned();
                if head.is_empty() {
                    return Err(Error::invalid_input("no branch is checked out; name one with `branch`"));
                }
                head
            }
        };
        let to = input.to.as_ref().map_or(from.as_str(), Revision::as_str);
        if [from.as_str(), to].iter().any(|name| name.contains(':') || name.starts_with('+')) {
            return Err(Error::invalid_input("a branch is a name, without `:` and `+`"));
        }
        let reference = format!("{from}:{to}");
        let mut arguments = vec![
            "push",
            "--progress",
            "--porcelain",
            "--no-verify",
            "--no-signed",
            "--recurse-submodules=no",
        ];
        arguments.extend(input.force.then_some("--force-with-lease"));
        arguments.extend(input.set_upstream.then_some("--set-upstream"));
        arguments.extend(["--end-of-options", &input.remote, &reference]);
        let reached = repository.reach(ctx, arguments).await?;
        let said = reached.output.text()?;
        if reached.output.status.success() {
            return Ok(Output { pushed: said.lines().filter_map(pushed).collect() });
        }
        match said.lines().filter(|line| line.starts_with('!')).find_map(pushed) {
            Some(Pushed { name, result }) => Err(Error::conflict(format!(
                "`{name}` stays what it is: {result}; fetch, then merge or rebase, and push again"
            ))),
            None => Err(reached.into_error()),
        }
    }
}

/// A line of git-push(1), `--porcelain`: a flag, what went where, and a summary.
fn pushed(line: &str) -> Option<Pushed> {
    let mut fields = line.split('\t').skip(1);
    let (_, to) = fields.next()?.split_once(':')?;
    Some(Pushed { name: to.to_owned(), result: fields.next()?.to_owned() })
}
