//! All tools of the product, by name.

use crate::{
    Alias, CallCtx, Canonical, CommandLine, Effect, Error, Kind, Place, Result, Subject, Tool, schema,
};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Executes a tool: typed code in this process, or a relay to another.
#[async_trait]
pub trait Run: Send + Sync {
    /// The output as JSON.
    async fn run(&self, ctx: &CallCtx, name: &'static str, input: &Canonical) -> Result<Bytes>;
}

/// Judges how far an input goes.
type EffectOf = Arc<dyn Fn(&Canonical) -> Result<Effect> + Send + Sync>;

/// Says what an input starts.
type CommandOf = Arc<dyn Fn(&Canonical) -> Result<Option<CommandLine>> + Send + Sync>;

/// Says why a human must be asked about an input.
type MustAsk = Arc<dyn Fn(&Canonical, Option<u32>) -> Result<Option<&'static str>> + Send + Sync>;

/// Says which secrets an input will have read.
type SecretsOf = Arc<dyn Fn(&Canonical) -> Result<Vec<String>> + Send + Sync>;

/// Says whose work an input does as well.
type ActsAs = Arc<dyn Fn(&Canonical) -> &'static [&'static str] + Send + Sync>;

/// Says what an input changes.
type ChangesOf = Arc<dyn Fn(&Canonical) -> Result<Vec<Subject>> + Send + Sync>;

/// Says whether the answer to an input may be given again.
type Lasts = Arc<dyn Fn(&Canonical) -> Result<bool> + Send + Sync>;

/// One tool without its types: what every other part of Skynet is derived from.
#[derive(Clone)]
pub struct Entry {
    /// [`Tool::NAME`].
    pub name: &'static str,
    /// [`Tool::SUMMARY`].
    pub summary: &'static str,
    /// [`Tool::KEYWORDS`].
    pub keywords: &'static str,
    /// The name of its [`Toolset`].
    pub toolset: &'static str,
    /// [`Tool::EFFECT`].
    pub effect: Effect,
    /// [`Tool::MOST`].
    pub most: Effect,
    /// [`Tool::PLACE`].
    pub place: Place,
    /// [`Tool::TIMEOUT`].
    pub timeout: Duration,
    /// [`Tool::KIND`].
    pub kind: Option<Kind>,
    /// Whose answers a call that changes something may make untrue.
    pub alters: &'static [Kind],
    /// Draft 2020-12.
    pub input_schema: Arc<Map<String, Value>>,
    /// Draft 2020-12.
    pub output_schema: Arc<Map<String, Value>>,
    effect_of: EffectOf,
    command_of: CommandOf,
    command_before: CommandOf,
    must_ask: MustAsk,
    changes_of: ChangesOf,
    secrets_of: SecretsOf,
    acts_as: ActsAs,
    lasts: Lasts,
    runner: Arc<dyn Run>,
}

impl Entry {
    fn new<T: Tool>(toolset: &'static str, tool: T) -> Self {
        let tool = Arc::new(tool);
        let (judge, starter, asker) = (tool.clone(), tool.clone(), tool.clone());
        let looker = tool.clone();
        let (changer, actor, reader, teller) = (tool.clone(), tool.clone(), tool.clone(), tool.clone());
        Self {
            name: T::NAME,
            summary: T::SUMMARY,
            keywords: T::KEYWORDS,
            toolset,
            effect: T::EFFECT,
            most: T::MOST,
            place: T::PLACE,
            timeout: T::TIMEOUT,
            kind: T::KIND,
            alters: Kind::ALL,
            input_schema: Arc::new(schema::of::<T::Input>()),
            output_schema: Arc::new(schema::of::<T::Output>()),
            effect_of: Arc::new(move |input| {
                let input = input.to_typed()?;
                judge.check(&input)?;
                Ok(judge.effect(&input).max(T::EFFECT))
            }),
            command_of: Arc::new(move |input| starter.command(&input.to_typed()?)),
            command_before: Arc::new(move |input| looker.command_before(&input.to_typed()?)),
            must_ask: Arc::new(move |input, process| {
                let input = input.to_typed()?;
                Ok(match process {
                    Some(process) => asker.must_ask_process(&input, process),
                    None => asker.must_ask(&input),
                })
            }),
            changes_of: Arc::new(move |input| Ok(changer.changes(&input.to_typed()?))),
            secrets_of: Arc::new(move |input| Ok(reader.secrets(&input.to_typed()?))),
            lasts: Arc::new(move |input| Ok(teller.lasts(&input.to_typed()?))),
            acts_as: Arc::new(move |input| {
                // What is no input does nothing.
                let Ok(input) = input.to_typed() else { return &[] };
                match actor.acts_as(&input) {
                    // Of those that run commands, each is a permission of its own.
                    [] if !T::NAME.starts_with("exec_") && matches!(actor.command(&input), Ok(Some(_))) => {
                        &["exec_run"]
                    }
                    others => others,
                }
            }),
            runner: Arc::new(Typed(tool)),
        }
    }

    /// The part of the name before the first `_`.
    #[must_use]
    pub fn family(&self) -> &'static str {
        self.name.split('_').next().unwrap_or(self.name)
    }

    /// What this input does, never less than the tool's own effect.
    ///
    /// # Errors
    /// `InvalidInput` when the input does not fit the tool's type, or [`Tool::check`] refuses it.
    pub fn effect_of(&self, input: &Canonical) -> Result<Effect> {
        (self.effect_of)(input)
    }

    /// The secrets that this input will have read, as they are named after `secret://`.
    ///
    /// # Errors
    /// `InvalidInput` when the input does not fit the tool's type.
    pub fn secrets_of(&self, input: &Canonical) -> Result<Vec<String>> {
        (self.secrets_of)(input)
    }

    /// What this input starts, if the tool starts what its caller names.
    ///
    /// # Errors
    /// `InvalidInput` when the input does not fit the tool's type, or names nothing.
    pub fn command_of(&self, input: &Canonical) -> Result<Option<CommandLine>> {
        (self.command_of)(input)
    }

    /// What this input starts before that, if it looks at something first.
    ///
    /// # Errors
    /// As [`Entry::command_of`].
    pub fn command_before(&self, input: &Canonical) -> Result<Option<CommandLine>> {
        (self.command_before)(input)
    }

    /// Why a human must be asked about this input each time, whatever rules and grants say; `process` is the one that
    /// calls, where there is one.
    ///
    /// # Errors
    /// `InvalidInput` when the input does not fit the tool's type.
    pub fn must_ask(&self, input: &Canonical, process: Option<u32>) -> Result<Option<&'static str>> {
        (self.must_ask)(input, process)
    }

    /// What the answer to this input is about, if it may be given again for a while.
    ///
    /// # Errors
    /// `InvalidInput` when the input does not fit the tool's type.
    pub fn kind_of(&self, input: &Canonical) -> Result<Option<Kind>> {
        match self.kind {
            Some(kind) => Ok((self.lasts)(input)?.then_some(kind)),
            None => Ok(None),
        }
    }

    /// The names of other tools whose work this input does as well.
    #[must_use]
    pub fn acts_as(&self, input: &Canonical) -> &'static [&'static str] {
        (self.acts_as)(input)
    }

    /// What this input changes, and no other call may change at the same time.
    ///
    /// # Errors
    /// `InvalidInput` when the input does not fit the tool's type.
    pub fn changes_of(&self, input: &Canonical) -> Result<Vec<Subject>> {
        (self.changes_of)(input)
    }

    /// Runs it.
    ///
    /// # Errors
    /// The tool's.
    pub async fn run(&self, ctx: &CallCtx, input: &Canonical) -> Result<Bytes> {
        self.runner.run(ctx, self.name, input).await
    }
}

struct Typed<T>(Arc<T>);

#[async_trait]
impl<T: Tool> Run for Typed<T> {
    async fn run(&self, ctx: &CallCtx, _name: &'static str, input: &Canonical) -> Result<Bytes> {
        let output = self.0.call(ctx, input.to_typed()?).await?;
        Ok(T::to_json(&output)?.into())
    }
}

/// Tools that are listed together: a family, or a part of one.
pub struct Toolset {
    name: &'static str,
    summary: &'static str,
    alters: &'static [Kind],
    entries: Vec<Entry>,
}

impl Toolset {
    /// An empty one. `summary` tells a model in a few words what it can do with it.
    #[must_use]
    pub const fn new(name: &'static str, summary: &'static str) -> Self {
        Self { name, summary, alters: Kind::ALL, entries: Vec::new() }
    }

    /// Says that calls of these tools make untrue no other answers than those of `kinds`. Without this word they may be about
    /// anything, as what a command does.
    #[must_use]
    pub fn altering(mut self, kinds: &'static [Kind]) -> Self {
        self.alters = kinds;
        for entry in &mut self.entries {
            entry.alters = kinds;
        }
        self
    }

    /// Adds a tool.
    #[must_use]
    pub fn with<T: Tool>(mut self, tool: T) -> Self {
        self.entries.push(Entry { alters: self.alters, ..Entry::new(self.name, tool) });
        self
    }
}

/// Every tool, ordered by name.
#[derive(Clone, Default)]
pub struct Registry {
    entries: BTreeMap<&'static str, Arc<Entry>>,
    toolsets: BTreeMap<&'static str, &'static str>,
    aliases: BTreeMap<&'static str, Vec<Alias>>,
}

impl Registry {
    /// The tools of these sets.
    ///
    /// # Errors
    /// `Internal` when two tools or two sets have the same name.
    pub fn new(toolsets: impl IntoIterator<Item = Toolset>) -> Result<Self> {
        let mut registry = Self::default();
        for toolset in toolsets {
            if registry.toolsets.insert(toolset.name, toolset.summary).is_some() {
                return Err(Error::internal(format!("two toolsets are named `{}`", toolset.name)));
            }
            for entry in toolset.entries {
                let name = entry.name;
                if registry.entries.insert(name, Arc::new(entry)).is_some() {
                    return Err(Error::internal(format!("two tools are named `{name}`")));
                }
            }
        }
        Ok(registry)
    }

    /// The same tools, with a toolset that adds other names for them.
    ///
    /// # Errors
    /// `Internal` when a set of that name is there, or an alias means no tool.
    pub fn with_aliases(
        mut self,
        toolset: &'static str,
        summary: &'static str,
        mut aliases: Vec<Alias>,
    ) -> Result<Self> {
        if self.toolsets.insert(toolset, summary).is_some() {
            return Err(Error::internal(format!("two toolsets are named `{toolset}`")));
        }
        if let Some(astray) =
            aliases.iter().find(|alias| alias.means.iter().any(|name| self.find(name).is_err()))
        {
            return Err(Error::internal(format!("{astray:?} means no tool")));
        }
        aliases.sort_by_key(|alias| alias.name);
        self.aliases.insert(toolset, aliases);
        Ok(self)
    }

    /// The other names that a toolset adds, in order.
    #[must_use]
    pub fn aliases(&self, toolset: &str) -> &[Alias] {
        self.aliases.get(toolset).map(Vec::as_slice).unwrap_or_default()
    }

    /// The toolsets that add this name, with what it means there.
    pub fn aliases_named(&self, name: &str) -> impl Iterator<Item = (&'static str, &Alias)> {
        self.aliases.iter().filter_map(move |(toolset, aliases)| {
            let place = aliases.binary_search_by_key(&name, |alias| alias.name).ok()?;
            Some((*toolset, aliases.get(place)?))
        })
    }

    /// The same tools, those of `place` run by `runner` instead of this process.
    #[must_use]
    pub fn hosted(mut self, place: Place, runner: &Arc<dyn Run>) -> Self {
        for entry in self.entries.values_mut().filter(|entry| entry.place == place) {
            *entry = Arc::new(Entry { runner: runner.clone(), ..Entry::clone(entry) });
        }
        self
    }

    /// The sets with their summaries, in order of name.
    pub fn toolsets(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.toolsets.iter().map(|(name, summary)| (*name, *summary))
    }

    /// In order of name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.values()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The tool of that name.
    ///
    /// # Errors
    /// `NotFound`, naming the tools that are spelled most alike.
    pub fn find(&self, name: &str) -> Result<&Arc<Entry>> {
        self.entries.get(name).ok_or_else(|| {
            let nearest = nearest(self.entries.keys().copied(), name);
            let nearest: Vec<_> = nearest.iter().take(3).map(|name| format!("`{name}`")).collect();
            Error::not_found(format!("no tool is named `{name}`; nearest: {}", nearest.join(", ")))
        })
    }
}

/// These names, those spelled most like `wanted` first.
pub fn nearest<'a>(names: impl IntoIterator<Item = &'a str>, wanted: &str) -> Vec<&'a str> {
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_by_key(|name| distance(name, wanted));
    names
}

/// Levenshtein's edit distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut last = i + 1;
        for (cell, right) in row.iter_mut().skip(1).zip(&b) {
            let best = (diagonal + usize::from(left != *right)).min(last + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = best;
            last = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "", 0), ("abc", "", 3), ("", "abc", 3), ("kitten", "sitting", 3), ("flaw", "lawn", 2)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
