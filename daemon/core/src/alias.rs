//! Other names of tools, with other names of their arguments: what a model learnt from another product goes on working.

use serde_json::{Map, Value};
use std::{fmt, sync::Arc};

/// What a call becomes: the tool and its arguments.
pub type Meaning = (&'static str, Map<String, Value>);

/// Another name of a tool. It is not known to policies: a call of it is replaced by the one it means before it enters the
/// pipeline, so that rules, grants and audit see the tool alone.
#[derive(Clone)]
pub struct Alias {
    /// The name; it may be that of a tool, which then takes the arguments of both.
    pub name: &'static str,
    /// For the model, as [`crate::Tool::SUMMARY`].
    pub summary: &'static str,
    /// The tools that a call may become.
    pub means: &'static [&'static str],
    /// Draft 2020-12, of the arguments under this name.
    pub input_schema: Arc<Map<String, Value>>,
    translate: fn(Map<String, Value>) -> Meaning,
}

impl Alias {
    /// A name for the tools in `means`. `translate` keeps the arguments that it does not know: the tool refuses them by their name.
    #[must_use]
    pub fn new(
        name: &'static str,
        summary: &'static str,
        means: &'static [&'static str],
        input_schema: Map<String, Value>,
        translate: fn(Map<String, Value>) -> Meaning,
    ) -> Self {
        Self { name, summary, means, input_schema: Arc::new(input_schema), translate }
    }

    /// The call that one under this name means.
    #[must_use]
    pub fn translate(&self, arguments: Map<String, Value>) -> Meaning {
        (self.translate)(arguments)
    }
}

impl fmt::Debug for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.name, self.means.join(", "))
    }
}
