//! Changes one entry of a configuration file and nothing else: comments, order and layout are the user's. A file
//! that is not understood is left alone.

use super::known::{ENTRY, Format};
use jsonc_parser::{
    ParseOptions,
    cst::{CstInputValue, CstObject, CstRootNode},
};
use serde_json::Value;
use std::str::FromStr as _;
use toml_edit::{DocumentMut, Item, Table};
use yaml_edit::{Document, YamlNode};

/// Why a file is left alone.
type Refusal = String;

/// Our entry in the file, if it is there.
pub(crate) fn read(format: Format, text: &str, table: &str) -> Result<Option<Value>, Refusal> {
    let whole = match format {
        Format::Json => json(text)?.to_serde_value().unwrap_or_default(),
        Format::Toml => {
            let document = toml(text)?;
            return Ok(document.get(table).and_then(|table| table.get(ENTRY)).map(toml_value));
        }
        Format::Yaml => {
            let servers = yaml(text)?.as_mapping().and_then(|whole| whole.get_mapping(table));
            return Ok(servers.and_then(|servers| servers.get(ENTRY)).map(|node| yaml_value(&node)));
        }
    };
    Ok(whole.get(table).and_then(|table| table.get(ENTRY)).cloned())
}

/// The text with our entry.
pub(crate) fn add(format: Format, text: &str, table: &str, entry: &Value) -> Result<String, Refusal> {
    let changed = match format {
        Format::Json => add_json(text, table, entry)?,
        Format::Toml => add_toml(text, table, entry)?,
        Format::Yaml => add_yaml(text, table, entry)?,
    };
    // Whatever the library made of it: it must be there, and the rest must be what it was.
    if read(format, &changed, table)?.as_ref().map(plain) != Some(plain(entry)) {
        return Err("the entry could not be written so that it reads back".into());
    }
    keeps(format, text, &changed, table)?;
    Ok(changed)
}

/// The text without our entry; `None` if it has none.
pub(crate) fn remove(format: Format, text: &str, table: &str) -> Result<Option<String>, Refusal> {
    if read(format, text, table)?.is_none() {
        return Ok(None);
    }
    let changed = match format {
        Format::Json => {
            let root = json(text)?;
            let servers = root.object_value().and_then(|whole| whole.object_value(table));
            if let Some(property) = servers.and_then(|servers| servers.get(ENTRY)) {
                property.remove();
            }
            root.to_string()
        }
        Format::Toml => {
            let mut document = toml(text)?;
            let removed = document
                .get_mut(table)
                .and_then(Item::as_table_like_mut)
                .and_then(|servers| servers.remove(ENTRY));
            // What stands above a header belongs to it for the library, but not for people.
            let above =
                removed.as_ref().and_then(Item::as_table).and_then(|table| table.decor().prefix()?.as_str());
            if let Some(above) = above.filter(|above| above.contains('#')) {
                let trailing = document.trailing().as_str().unwrap_or_default();
                document.set_trailing(format!("{trailing}{above}"));
            }
            document.to_string()
        }
        Format::Yaml => {
            let document = yaml(text)?;
            if let Some(servers) = document.as_mapping().and_then(|whole| whole.get_mapping(table)) {
                servers.remove(ENTRY);
            }
            document.to_string()
        }
    };
    if read(format, &changed, table)?.is_some() {
        return Err("the entry could not be removed".into());
    }
    keeps(format, text, &changed, table)?;
    Ok(Some(changed))
}

/// Whether all but our entry is what it was: every value, and every line of comment.
fn keeps(format: Format, before: &str, after: &str, table: &str) -> Result<(), Refusal> {
    if others(format, before, table)? != others(format, after, table)? {
        return Err("the change would have touched something else".into());
    }
    let is_comment = |line: &&str| ["//", "/*", "#"].iter().any(|mark| line.starts_with(mark));
    let lost = before.lines().map(str::trim).filter(is_comment).find(|line| !after.contains(line));
    lost.map_or(Ok(()), |line| Err(format!("the change would have lost the comment `{line}`")))
}

/// Everything in a file but our entry, and a table that holds nothing else.
fn others(format: Format, text: &str, table: &str) -> Result<Value, Refusal> {
    let mut whole = match format {
        Format::Json => json(text)?.to_serde_value().unwrap_or_default(),
        Format::Toml => toml_value(toml(text)?.as_item()),
        Format::Yaml => {
            yaml(text)?.as_mapping().map(|whole| yaml_value(&YamlNode::Mapping(whole))).unwrap_or_default()
        }
    };
    if let Some(servers) = whole.get_mut(table).and_then(Value::as_object_mut) {
        servers.remove(ENTRY);
        if servers.is_empty() {
            whole.as_object_mut().map(|whole| whole.remove(table));
        }
    }
    Ok(plain(&whole))
}

fn json(text: &str) -> Result<CstRootNode, Refusal> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    CstRootNode::parse(text, &ParseOptions::default()).map_err(|err| err.to_string())
}

/// The only property of that name; two would be read differently by different programs.
fn unique(object: &CstObject, name: &str) -> Result<(), Refusal> {
    let named =
        |property: &jsonc_parser::cst::CstObjectProp| property.decoded_name().as_deref() == Some(name);
    if object.properties().iter().filter(|property| named(property)).count() > 1 {
        return Err(format!("`{name}` is there twice"));
    }
    Ok(())
}

fn add_json(text: &str, table: &str, entry: &Value) -> Result<String, Refusal> {
    let root = json(text)?;
    let whole = root.object_value_or_create().ok_or("it does not hold an object")?;
    unique(&whole, table)?;
    let servers = whole.object_value_or_create(table).ok_or_else(|| format!("`{table}` is not an object"))?;
    unique(&servers, ENTRY)?;
    match servers.get(ENTRY) {
        Some(property) => property.set_value(input(entry)),
        None => drop(servers.append(ENTRY, input(entry))),
    }
    let text = root.to_string();
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(value) => CstInputValue::Bool(*value),
        Value::Number(value) => CstInputValue::Number(value.to_string()),
        Value::String(value) => CstInputValue::String(value.clone()),
        Value::Array(items) => CstInputValue::Array(items.iter().map(input).collect()),
        Value::Object(map) => {
            CstInputValue::Object(map.iter().map(|(name, value)| (name.clone(), input(value))).collect())
        }
    }
}

fn toml(text: &str) -> Result<DocumentMut, Refusal> {
    text.parse::<DocumentMut>().map_err(|err| err.to_string())
}

fn add_toml(text: &str, table: &str, entry: &Value) -> Result<String, Refusal> {
    let mut document = toml(text)?;
    if !document.contains_key(table) {
        let mut servers = Table::new();
        // Only its entries have headers.
        servers.set_implicit(true);
        document.insert(table, Item::Table(servers));
    }
    let servers = document.get_mut(table).and_then(Item::as_table_like_mut);
    let servers = servers.ok_or_else(|| format!("`{table}` is not a table"))?;
    let mut ours = Table::new();
    for (name, value) in entry.as_object().into_iter().flatten() {
        let item = toml_item(value).ok_or("the entry has a value that TOML has not")?;
        ours.insert(name, item);
    }
    servers.insert(ENTRY, Item::Table(ours));
    Ok(document.to_string())
}

fn toml_item(value: &Value) -> Option<Item> {
    Some(match value {
        Value::String(text) => toml_edit::value(text),
        Value::Bool(value) => toml_edit::value(*value),
        Value::Number(number) => toml_edit::value(number.as_i64()?),
        Value::Array(items) => {
            let items: Option<toml_edit::Array> =
                items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            toml_edit::value(items?)
        }
        Value::Null | Value::Object(_) => return None,
    })
}

fn toml_value(item: &Item) -> Value {
    if let Some(text) = item.as_str() {
        text.into()
    } else if let Some(value) = item.as_bool() {
        value.into()
    } else if let Some(number) = item.as_integer() {
        number.into()
    } else if let Some(items) = item.as_array() {
        items.iter().map(|value| toml_value(&Item::Value(value.clone()))).collect()
    } else if let Some(table) = item.as_table_like() {
        table.iter().map(|(name, item)| (name.to_owned(), toml_value(item))).collect()
    } else {
        // Floats and dates, which only have to stay what they are.
        item.to_string().trim().into()
    }
}

fn yaml(text: &str) -> Result<Document, Refusal> {
    let text = if text.trim().is_empty() { "{}\n" } else { text };
    if text.lines().skip(1).any(|line| line.starts_with("---")) {
        return Err("it holds more than one document".into());
    }
    Document::from_str(text).map_err(|err| err.to_string())
}

/// Block style, as people write it. A JSON value is a YAML value (YAML 1.2, section 1.3).
fn yaml_text(entry: &Value, indent: usize) -> String {
    let pad = " ".repeat(indent);
    let mut text = String::new();
    for (name, value) in entry.as_object().into_iter().flatten() {
        match value {
            Value::Array(items) if !items.is_empty() => {
                text.push_str(&format!("{pad}{name}:\n"));
                items.iter().for_each(|item| text.push_str(&format!("{pad}  - {item}\n")));
            }
            _ => text.push_str(&format!("{pad}{name}: {value}\n")),
        }
    }
    text
}

/// The library edits what is there; a table that is missing is written below the rest, where nothing can be harmed.
fn add_yaml(text: &str, table: &str, entry: &Value) -> Result<String, Refusal> {
    let document = yaml(text)?;
    let whole = document.as_mapping().ok_or("it does not hold a mapping")?;
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    match whole.get(table) {
        None if whole.is_empty() => Ok(format!("{table}:\n  {ENTRY}:\n{}", yaml_text(entry, 4))),
        None => Ok(format!("{text}{end}{table}:\n  {ENTRY}:\n{}", yaml_text(entry, 4))),
        Some(YamlNode::Mapping(servers)) => {
            let value = Document::from_str(&yaml_text(entry, 0)).map_err(|err| err.to_string())?;
            servers.set(ENTRY, &value);
            Ok(document.to_string())
        }
        Some(_) => Err(format!("`{table}` is not a mapping")),
    }
}

fn yaml_value(node: &YamlNode) -> Value {
    match node {
        YamlNode::Mapping(mapping) => {
            let keys: Vec<YamlNode> = mapping.keys().collect();
            let members = keys.iter().filter_map(|key| {
                let name = key.as_scalar()?.as_string();
                Some((name.clone(), yaml_value(&mapping.get(name.as_str())?)))
            });
            members.collect()
        }
        YamlNode::Sequence(sequence) => sequence.values().map(|item| yaml_value(&item)).collect(),
        YamlNode::Scalar(scalar) => scalar.as_string().into(),
        YamlNode::Alias(_) | YamlNode::TaggedNode(_) => Value::Null,
    }
}

/// With every scalar as text: YAML has its own opinion of what a number is.
fn plain(value: &Value) -> Value {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) | Value::Number(_) => value.to_string().into(),
        Value::String(_) => value.clone(),
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
    }
}

/// Whether two entries say the same.
pub(crate) fn is_same(a: &Value, b: &Value) -> bool {
    plain(a) == plain(b)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry() -> Value {
        json!({ "command": "/bin/skynet-shim", "args": ["--workspace", "/a b"], "enabled": true, "timeout": 300 })
    }

    /// Adding twice is adding once, removing brings back what was there, and every comment stays.
    #[test]
    fn what_is_the_users_stays() {
        for (format, table, text) in [
            (
                Format::Json,
                "mcpServers",
                "{\n  // mine\n  \"theme\": \"dark\", /* why */\n  \"mcpServers\": {\n    \"other\": { \"command\": \"x\" }, // keep\n  },\n  \"z\": [1, 2]\n}\n",
            ),
            (Format::Json, "servers", "{\n\t\"servers\": {\n\t\t\"a\": {}\n\t}\n}\n"),
            (
                Format::Toml,
                "mcp_servers",
                "# mine\nmodel = \"o\"   # why\n\n[mcp_servers.other] # keep\ncommand = 'x'\n# end\n\n[tui]\ntheme = \"dark\"\n",
            ),
            (
                Format::Yaml,
                "extensions",
                "# mine\nGOOSE_MODEL: x # why\nextensions:\n  other: # keep\n    cmd: 'y'\n    enabled: true\n  # end\nlast: 1\n",
            ),
        ] {
            let added = add(format, text, table, &entry()).unwrap_or_else(|err| panic!("{err}: {text}"));
            assert!(is_same(&read(format, &added, table).unwrap().unwrap(), &entry()), "{added}");
            assert_eq!(add(format, &added, table, &entry()).unwrap(), added, "{text}");
            for word in ["mine", "why", "keep", "other", "dark", "end", "last"]
                .iter()
                .filter(|word| text.contains(**word))
            {
                assert!(added.contains(word), "{word}: {added}");
            }
            let removed = remove(format, &added, table).unwrap().unwrap();
            let squeezed = |text: &str| text.replace(char::is_whitespace, "").replace(",}", "}");
            assert_eq!(squeezed(&removed), squeezed(text), "{added}");
            assert_eq!(remove(format, &removed, table).unwrap(), None);
        }
    }

    #[test]
    fn a_file_that_is_empty_or_has_no_table_gets_one() {
        for (format, text) in [
            (Format::Json, ""),
            (Format::Json, "{}"),
            (Format::Json, "{ \"a\": 1 }"),
            (Format::Toml, ""),
            (Format::Toml, "a = 1\n"),
            (Format::Yaml, ""),
            (Format::Yaml, "a: 1"),
        ] {
            let added = add(format, text, "t", &entry()).unwrap_or_else(|err| panic!("{err}: {text}"));
            assert!(read(format, &added, "t").unwrap().is_some() && added.ends_with('\n'), "{added}");
        }
    }

    #[test]
    fn an_old_entry_is_replaced() {
        for (format, text) in [
            (
                Format::Json,
                "{\n  \"t\": {\n    \"skynet\": {\n      \"command\": \"old\",\n      \"args\": []\n    },\n    \"b\": 1\n  }\n}\n",
            ),
            (Format::Toml, "[t.skynet]\ncommand = \"old\"\n\n[t.b]\nc = 1\n"),
            (Format::Yaml, "t:\n  skynet:\n    cmd: old\n  b: 1\n"),
        ] {
            let added = add(format, text, "t", &entry()).unwrap_or_else(|err| panic!("{err}: {text}"));
            assert!(!added.contains("old") && added.contains('b'), "{added}");
        }
    }

    #[test]
    fn a_file_that_is_not_understood_is_refused() {
        for (format, text) in [
            (Format::Json, "{ \"t\": "),
            (Format::Json, "[1]"),
            (Format::Json, "{ \"t\": [] }"),
            (Format::Json, "{ \"t\": {}, \"t\": {} }"),
            (Format::Toml, "t = 1\n"),
            (Format::Toml, "t = [\n"),
            (Format::Yaml, "- a\n"),
            (Format::Yaml, "t: 1\n"),
            (Format::Yaml, "a: 1\n---\nb: 2\n"),
        ] {
            assert!(add(format, text, "t", &entry()).is_err(), "{text}");
        }
    }
}
