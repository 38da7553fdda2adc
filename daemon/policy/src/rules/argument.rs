//! Holds one argument of a call against what a rule says about it. What nobody can say counts against the call: a rule that
//! denies or asks takes it for a match, a rule that allows does not.

use super::{
    Paths,
    matcher::{Matcher, relative},
};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde_json::{Map, Number, Value};
use skynet_core::{
    Workspace,
    place::{places, resolve},
};
use std::{
    cmp::Ordering,
    path::{Component, Path, PathBuf},
};

/// In which direction a rule errs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Of a rule that allows: every member of a list must match, and surely.
    Strict,
    /// Of a rule that denies or asks: one member that may match is enough.
    Loose,
}

/// Whether one value is what a condition wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Yes,
    No,
    /// It cannot be said.
    Unknown,
}

impl Fit {
    const fn of(is_fitting: bool) -> Self {
        if is_fitting { Self::Yes } else { Self::No }
    }

    /// Of two conditions that must both hold.
    const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::Yes, Self::Yes) => Self::Yes,
        }
    }
}

/// What one rule says about one argument, ready to judge.
pub(super) struct Argument {
    /// From the input inwards.
    path: Vec<String>,
    matcher: Matcher,
    globs: GlobSet,
    reading: Reading,
}

impl Argument {
    /// # Errors
    /// In words, a glob that is none or a name that is empty.
    pub(super) fn new(name: &str, matcher: Matcher, reading: Reading) -> Result<Self, String> {
        let path: Vec<String> = name.split('.').map(str::to_owned).collect();
        if path.iter().any(String::is_empty) {
            return Err(format!("`{name}` in `arguments` is no name of an argument"));
        }
        if reading == Reading::Strict && !matcher.touches.is_empty() {
            return Err(format!(
                "`{name}` in `arguments`: `touches` is for rules that deny or ask; a rule that allows says `under`"
            ));
        }
        let mut globs = GlobSetBuilder::new();
        for pattern in &matcher.glob {
            // As lists of commands do (decision 10): what forbids matches more, what allows less.
            let glob = GlobBuilder::new(pattern).literal_separator(reading == Reading::Strict).build();
            globs
                .add(glob.map_err(|err| format!("`{pattern}` for `{name}` in `arguments`: {}", err.kind()))?);
        }
        let globs = globs.build().map_err(|err| format!("`{name}` in `arguments`: {err}"))?;
        Ok(Self { path, matcher, globs, reading })
    }

    /// The name in the input itself.
    pub(super) fn first(&self) -> &str {
        self.path.first().map_or("", String::as_str)
    }

    /// Whether the rule is about an input of this schema, as far as this argument goes.
    pub(super) fn matches(
        &self,
        input: &Map<String, Value>,
        schema: &Map<String, Value>,
        workspace: Option<&Workspace>,
        paths: Paths,
    ) -> bool {
        let mut found = Vec::new();
        look(input, schema.get("properties"), &self.path, &mut found);
        let mut fits = Vec::new();
        for value in found {
            match value {
                None | Some(Value::Null) => fits.push(Fit::of(self.matcher.or_absent)),
                Some(value @ Value::Array(_))
                    if self.matcher.equals.as_ref().is_some_and(Value::is_array) =>
                {
                    fits.push(self.fit(value, workspace, paths));
                }
                // A list that is given and empty names nothing, like one that is left out.
                Some(Value::Array(items)) if items.is_empty() => fits.push(Fit::of(self.matcher.or_absent)),
                Some(Value::Array(items)) => {
                    fits.extend(items.iter().map(|item| self.fit(item, workspace, paths)));
                }
                Some(value) => fits.push(self.fit(value, workspace, paths)),
            }
        }
        match self.reading {
            Reading::Strict => !fits.is_empty() && fits.iter().all(|fit| *fit == Fit::Yes),
            Reading::Loose => fits.iter().any(|fit| *fit != Fit::No),
        }
    }

    /// All conditions on one value.
    fn fit(&self, value: &Value, workspace: Option<&Workspace>, paths: Paths) -> Fit {
        let Matcher { glob, under, touches, min, max, equals, or_absent: _ } = &self.matcher;
        let mut fit = Fit::Yes;
        if !glob.is_empty() {
            fit = fit.and(self.fits_glob(value));
        }
        if !under.is_empty() {
            let is_under = |place: &Path, base: &Path| place.starts_with(base);
            fit = fit.and(fits_place(value, under, workspace, paths, is_under));
        }
        if !touches.is_empty() {
            let touches_it = |place: &Path, base: &Path| place.starts_with(base) || base.starts_with(place);
            fit = fit.and(fits_place(value, touches, workspace, paths, touches_it));
        }
        for (bound, wanted) in [(min, Ordering::Greater), (max, Ordering::Less)] {
            if let Some(bound) = bound {
                let order = value.as_number().and_then(|number| compare(number, bound));
                let is_within = |order: Ordering| order == wanted || order.is_eq();
                fit = fit.and(order.map_or(Fit::Unknown, |order| Fit::of(is_within(order))));
            }
        }
        if let Some(equals) = equals {
            fit = fit.and(Fit::of(is_same(value, equals)));
        }
        fit
    }

    fn fits_glob(&self, value: &Value) -> Fit {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Bool(is_set) => is_set.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => return Fit::Unknown,
        };
        // `src/../secret` is below `src` by its text alone.
        if Path::new(&text).components().any(|part| part == Component::ParentDir) {
            return Fit::Unknown;
        }
        Fit::of(self.globs.is_match(&text))
    }
}

/// Whether a path of the workspace is in a relation to one of `bases`. Both are taken as the kernel resolves them now, and
/// the bases as they are written besides, for a link may have been put in their place.
fn fits_place(
    value: &Value,
    bases: &[String],
    workspace: Option<&Workspace>,
    paths: Paths,
    is_related: impl Fn(&Path, &Path) -> bool,
) -> Fit {
    if paths == Paths::Elsewhere {
        return fits_as_written(value, bases, is_related);
    }
    let (Some(workspace), Value::String(path)) = (workspace, value) else { return Fit::Unknown };
    let Some(places) = places(workspace, path) else { return Fit::Unknown };
    let mut is_known = true;
    let mut all: Vec<PathBuf> = Vec::new();
    for base in bases {
        let place = workspace.relative(base).ok().and_then(|base| resolve(workspace, &base));
        is_known &= place.is_some();
        all.extend(place.into_iter().chain(relative(base)));
    }
    let related = places.iter().filter(|place| all.iter().any(|base| is_related(place, base))).count();
    match related {
        0 if is_known => Fit::No,
        related if related == places.len() => Fit::Yes,
        // The link is there and leads elsewhere, or the other way round; what a tool makes of it is its own affair.
        _ => Fit::Unknown,
    }
}

/// The same for a path of a workspace that is not looked into. A whole path is below nothing that is relative to a workspace.
fn fits_as_written(value: &Value, bases: &[String], is_related: impl Fn(&Path, &Path) -> bool) -> Fit {
    let Value::String(path) = value else { return Fit::Unknown };
    if Path::new(path).is_absolute() {
        return Fit::No;
    }
    let (Some(path), Some(bases)) =
        (relative(path), bases.iter().map(|base| relative(base)).collect::<Option<Vec<_>>>())
    else {
        return Fit::Unknown;
    };
    Fit::of(bases.iter().any(|base| is_related(&path, base)))
}

/// Collects what is at `path`; `None` for what is absent. A list on the way stands for each of its members, and what is left
/// out for the default that the schema tells.
fn look<'a>(
    map: &'a Map<String, Value>,
    properties: Option<&'a Value>,
    path: &[String],
    found: &mut Vec<Option<&'a Value>>,
) {
    let Some((first, rest)) = path.split_first() else { return };
    let schema = properties.and_then(|properties| properties.get(first));
    let given = map.get(first).filter(|value| !value.is_null());
    let Some(value) = given.or_else(|| schema?.get("default")) else {
        found.push(None);
        return;
    };
    if rest.is_empty() {
        found.push(Some(value));
        return;
    }
    let below = |schema: Option<&'a Value>| schema.and_then(|schema| schema.get("properties"));
    match value {
        Value::Object(map) => look(map, below(schema), rest, found),
        Value::Array(items) => {
            let schema = schema.and_then(|schema| schema.get("items"));
            for item in items {
                match item {
                    Value::Object(map) => look(map, below(schema), rest, found),
                    _ => found.push(None),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => found.push(None),
    }
}

/// Exactly for whole numbers, as floating-point numbers otherwise.
fn compare(left: &Number, right: &Number) -> Option<Ordering> {
    let whole = |number: &Number| number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
    match (whole(left), whole(right)) {
        (Some(left), Some(right)) => Some(left.cmp(&right)),
        _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
    }
}

/// Equal as JSON; 1 and 1.0 are one number.
fn is_same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => compare(left, right) == Some(Ordering::Equal),
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| is_same(left, right))
        }
        _ => left == right,
    }
}
