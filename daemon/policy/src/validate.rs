//! The tool's own schema decides whether an input is one, and how far it goes.

use crate::{project::Projects, rules::InForce};
use async_trait::async_trait;
use jsonschema::{Draft, Validator, error::ValidationErrorKind};
use serde_json::{Map, Value};
use skynet_core::{Answer, Call, Canonical, Entry, Error, Layer, Next, Registry, Result};
use std::{collections::HashMap, sync::Arc};

/// A caller may ask for that much answer at most, in bytes.
const MOST_BYTES: u64 = 4 << 20;

pub(crate) struct Validate {
    validators: HashMap<&'static str, Validator>,
    rules: InForce,
    projects: Arc<Projects>,
}

impl Validate {
    pub(crate) fn new(registry: &Registry, rules: InForce, projects: Arc<Projects>) -> Result<Self> {
        let compile = |entry: &Arc<Entry>| {
            let schema = Value::Object(Map::clone(&entry.input_schema));
            let validator =
                jsonschema::options().with_draft(Draft::Draft202012).build(&schema).map_err(|err| {
                    Error::internal(format!("the schema of `{}` does not compile: {err}", entry.name))
                })?;
            Ok((entry.name, validator))
        };
        Ok(Self { validators: registry.iter().map(compile).collect::<Result<_>>()?, rules, projects })
    }

    fn check(&self, tool: &Entry, raw: &[u8]) -> Result<Canonical> {
        let parsed = Canonical::parse(raw)?;
        let properties = tool.input_schema.get("properties").and_then(Value::as_object);
        // Some clients send `null` for an argument they leave out.
        let is_absent = |(name, value): (&String, &Value)| {
            value.is_null() && properties.is_some_and(|known| known.contains_key(name))
        };
        let input = if parsed.members().iter().any(is_absent) {
            let kept = parsed.members().iter().filter(|member| !is_absent(*member));
            Canonical::from_map(kept.map(|(name, value)| (name.clone(), value.clone())).collect())?
        } else {
            parsed
        };
        let validator = self
            .validators
            .get(tool.name)
            .ok_or_else(|| Error::internal(format!("`{}` has no validator", tool.name)))?;
        let instance = Value::Object(input.members().clone());
        // To ask whether there is a fault costs a tenth of asking which.
        if validator.is_valid(&instance) {
            return Ok(input);
        }
        let faults: Vec<String> =
            validator.iter_errors(&instance).take(3).map(|fault| explain(&fault, properties)).collect();
        Err(Error::invalid_input(format!("`{}`: {}", tool.name, faults.join("; "))))
    }
}

fn explain(fault: &jsonschema::ValidationError<'_>, properties: Option<&Map<String, Value>>) -> String {
    let place = fault.instance_path().to_string();
    let place = place.trim_start_matches('/').replace('/', ".");
    // The value itself may be large or secret, so it is left out.
    let what = fault.masked_with("the value").to_string();
    let hint = match fault.kind() {
        ValidationErrorKind::AdditionalProperties { .. } if place.is_empty() => {
            let known: Vec<&str> =
                properties.into_iter().flat_map(|all| all.keys()).map(String::as_str).collect();
            format!(" (arguments are: {})", known.join(", "))
        }
        _ => String::new(),
    };
    if place.is_empty() { format!("{what}{hint}") } else { format!("argument `{place}`: {what}{hint}") }
}

#[async_trait]
impl Layer for Validate {
    fn name(&self) -> &'static str {
        "validate"
    }

    fn describe(&self) -> String {
        format!("JSON Schema 2020-12 of {} tools", self.validators.len())
    }

    async fn handle(&self, call: &mut Call, next: Next<'_>) -> Result<Answer> {
        let input = self.check(&call.tool, &call.raw)?;
        call.effect = call.tool.effect_of(&input)?;
        if call.effect.is_mutating() && skynet_secrets::has_mark(input.bytes()) {
            return Err(Error::invalid_input(
                "the input holds a mark like `[redacted:NAME]`, which stands for a value that you were not shown; writing it would put the mark in the value's place. Edit around it, or leave the file to a command that gets the secret as a variable (`secret://NAME`)",
            ));
        }
        if let Some(wanted) = input.members().get("max_bytes").and_then(Value::as_u64) {
            call.max_bytes = usize::try_from(wanted.min(MOST_BYTES)).unwrap_or(call.max_bytes);
        }
        call.input = Some(input.clone());
        // The input may go further than the tool's declared effect, and rules may be about it: they judge it again.
        let rules = self.rules.load_full();
        let verdict = rules.judge(call)?;
        if call.has_lent_engine {
            check_names(&input)?;
        }
        let verdict = rules.judge_command(call, &input, verdict)?;
        self.projects.judge(call, &input, verdict).await?;
        // Last, because nothing that is said before it takes it back.
        let of_process = call.caller.look_at_process(|pid| call.tool.must_ask(&input, Some(pid)));
        if let Some(why) = of_process.unwrap_or_else(|| call.tool.must_ask(&input, None))? {
            // For that it is not lent: whoever has the engine himself uses his own right.
            call.has_lent_engine = false;
            call.must_be_asked(why);
        }
        next.run(call).await
    }
}

/// The arguments of the engine's tools that name containers.
const NAMING: [&str; 3] = ["container", "containers", "name"];

/// Refuses what the engine might take for another container than a rule that lends it does: to it the beginning of an id is a name too.
fn check_names(input: &Canonical) -> Result<()> {
    let named = NAMING.iter().filter_map(|argument| input.members().get(*argument));
    let texts = named.flat_map(|value| match value {
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
        value => value.as_str().into_iter().collect::<Vec<_>>(),
    });
    let may_be_id = |text: &&str| text.starts_with('/') || text.bytes().all(|byte| byte.is_ascii_hexdigit());
    texts.into_iter().find(may_be_id).map_or(Ok(()), |text| {
        Err(Error::denied(format!(
            "`{text}` may be the beginning of an id; the container engine is lent for containers by their names alone"
        )))
    })
}
