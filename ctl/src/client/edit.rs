//! Changes one entry of a configuration file and nothing else: comments, order and layout are the user's, and so is what he
//! added to the entry. A file that is not understood is left alone.

use super::known::{ENTRY, Format, OWNED, REMOTE};
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

/// The text with our entry; `None` if it has it. Of an entry that is there, what starts the server is changed and what is
/// missing is added: the rest is its user's (`env`, `disabled`, `timeout`).
pub(crate) fn add(format: Format, text: &str, table: &str, entry: &Value) -> Result<Option<String>, Refusal> {
    let old = read(format, text, table)?;
    let wanted = merged(old.as_ref(), entry);
    if old.as_ref().is_some_and(|old| plain(old) == plain(&wanted)) {
        return Ok(None);
    }
    // A client that finds both a command and an address refuses its whole file, or takes the address.
    if let Some(name) = REMOTE.iter().find(|name| old.as_ref().is_some_and(|old| old.get(name).is_some())) {
        return Err(format!(
            "its entry `{ENTRY}` reaches a server by `{name}`; take that entry out first, with `skynetctl client remove`"
        ));
    }
    let changed = match format {
        Format::Json => add_json(text, table, &wanted)?,
        Format::Toml => add_toml(text, table, &wanted)?,
        Format::Yaml => add_yaml(text, table, &wanted)?,
    };
    // Whatever the library made of it: it must be there, and the rest must be what it was.
    if read(format, &changed, table)?.as_ref().map(plain) != Some(plain(&wanted)) {
        return Err("the entry could not be written so that it reads back".into());
    }
    keeps(format, text, &changed, table)?;
    Ok(Some(changed))
}

/// The entry as it is to be, with what its user added to it.
fn merged(old: Option<&Value>, entry: &Value) -> Value {
    let (Some(Value::Object(old)), Value::Object(entry)) = (old, entry) else { return entry.clone() };
    let mut whole = old.clone();
    for (name, value) in entry {
        if OWNED.contains(&name.as_str()) || !whole.contains_key(name) {
            whole.insert(name.clone(), value.clone());
        }
    }
    Value::Object(whole)
}

/// What of the entry is not as it is to be.
fn differing<'a>(old: &'a Value, wanted: &'a Value) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let members = wanted.as_object().into_iter().flatten();
    members.filter(|(name, value)| old.get(name.as_str()).map(plain) != Some(plain(value)))
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
        Some(property) => match property.object_value() {
            Some(ours) => {
                let old = ours.to_serde_value().unwrap_or_default();
                for (name, value) in differing(&old, entry) {
                    unique(&ours, name)?;
                    match ours.get(name) {
                        Some(property) => property.set_value(input(value)),
                        None => drop(ours.append(name, input(value))),
                    }
                }
            }
            None => property.set_value(input(entry)),
        },
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
    let item_of = |value| toml_item(value).ok_or("the entry has a value that TOML has not");
    let old = servers.get(ENTRY).map(toml_value).unwrap_or_default();
    if let Some(ours) = servers.get_mut(ENTRY).and_then(Item::as_table_like_mut) {
        for (name, value) in differing(&old, entry) {
            let mut item = item_of(value)?;
            match ours.get_mut(name) {
                // In place: what is inserted anew loses the comments around it.
                Some(place) => {
                    if let (Some(before), Some(after)) = (place.as_value(), item.as_value_mut()) {
                        *after.decor_mut() = before.decor().clone();
                    }
                    *place = item;
                }
                None => drop(ours.insert(name, item)),
            }
        }
        return Ok(document.to_string());
    }
    let mut ours = Table::new();
    for (name, value) in entry.as_object().into_iter().flatten() {
        ours.insert(name, item_of(value)?);
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
            if let Some(ours) = servers.get_mapping(ENTRY) {
                let old = yaml_value(&YamlNode::Mapping(ours.clone()));
                for (name, value) in differing(&old, entry) {
                    let alone = Value::Object([(name.clone(), value.clone())].into_iter().collect());
                    let alone = Document::from_str(&yaml_text(&alone, 0)).map_err(|err| err.to_string())?;
                    let value = alone.as_mapping().and_then(|alone| alone.get(name.as_str()));
                    ours.set(name.as_str(), &value.ok_or("the entry has a value that YAML has not")?);
                }
                return Ok(document.to_string());
            }
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;
    use serde_json::json;

    fn entry() -> Value {
        json!({ "command": "/bin/skynet-shim", "args": ["--workspace", "/a b"], "enabled": true, "timeout": 300 })
    }

    fn added(format: Format, text: &str, table: &str) -> String {
        let added = add(format, text, table, &entry()).unwrap_or_else(|err| panic!("{err}: {text}"));
        added.unwrap_or_else(|| panic!("it was there: {text}"))
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
            let added = added(format, text, table);
            assert_eq!(plain(&read(format, &added, table).unwrap().unwrap()), plain(&entry()), "{added}");
            assert_eq!(add(format, &added, table, &entry()).unwrap(), None, "{text}");
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
            let added = added(format, text, "t");
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
            (Format::Yaml, "t:\n  skynet:\n    command: old\n  b: 1\n"),
        ] {
            let added = added(format, text, "t");
            assert!(!added.contains("old") && added.contains('b'), "{added}");
        }
    }

    /// `env`, `disabled` and the like are the user's, and so are the order of the entry and what is written beside it.
    #[test]
    fn what_the_user_added_to_the_entry_stays() {
        for (format, text, expected) in [
            (
                Format::Json,
                "{\n  \"t\": {\n    \"skynet\": {\n      // why\n      \"env\": { \"A\": \"b\" }, // keep\n      \"command\": \"old\", // ours\n      \"disabled\": true,\n      \"args\": [],\n      \"alwaysAllow\": [\"files_read\"],\n      \"timeout\": 7\n    },\n    \"b\": 1\n  }\n}\n",
                "{\n  \"t\": {\n    \"skynet\": {\n      // why\n      \"env\": { \"A\": \"b\" }, // keep\n      \"command\": \"/bin/skynet-shim\", // ours\n      \"disabled\": true,\n      \"args\": [\"--workspace\", \"/a b\"],\n      \"alwaysAllow\": [\"files_read\"],\n      \"timeout\": 7,\n      \"enabled\": true\n    },\n    \"b\": 1\n  }\n}\n",
            ),
            (
                Format::Toml,
                "[t.skynet] # mine\nstartup_timeout_sec = 2.5 # why\n# above\ncommand = \"old\" # ours\nargs = []\nenabled = false\ntimeout = 7\n\n[t.skynet.env] # keep\nA = \"b\"\n\n[t.b]\nc = 1\n",
                "[t.skynet] # mine\nstartup_timeout_sec = 2.5 # why\n# above\ncommand = \"/bin/skynet-shim\" # ours\nargs = [\"--workspace\", \"/a b\"]\nenabled = false\ntimeout = 7\n\n[t.skynet.env] # keep\nA = \"b\"\n\n[t.b]\nc = 1\n",
            ),
            (
                Format::Yaml,
                "t:\n  skynet:\n    # why\n    envs: # keep\n      A: b\n    command: old # ours\n    enabled: false\n    args:\n      - x\n    timeout: 7\n    available_tools: [a]\n  b: 1\n",
                "t:\n  skynet:\n    # why\n    envs: # keep\n      A: b\n    command: \"/bin/skynet-shim\" # ours\n    enabled: false\n    args:\n      - \"--workspace\"\n      - \"/a b\"\n    timeout: 7\n    available_tools: [a]\n  b: 1\n",
            ),
        ] {
            let added = added(format, text, "t");
            assert_eq!(added, expected);
            assert_eq!(add(format, &added, "t", &entry()).unwrap(), None, "{added}");
        }
    }

    /// Written on one line, it stays there.
    #[test]
    fn an_entry_on_one_line_is_changed_too() {
        for (format, text) in [
            (
                Format::Json,
                "{ \"t\": { \"skynet\": { \"env\": { \"A\": \"b\" }, \"command\": \"old\" } } }\n",
            ),
            (Format::Toml, "[t]\nskynet = { env = { A = \"b\" }, command = \"old\" }\n"),
            (Format::Yaml, "t:\n  skynet: {env: {A: b}, command: old}\n"),
        ] {
            let added = added(format, text, "t");
            let entry = read(format, &added, "t").unwrap().unwrap();
            assert_eq!(entry["env"], json!({ "A": "b" }), "{added}");
            assert_eq!(entry["args"], json!(["--workspace", "/a b"]), "{added}");
            assert!(!added.contains("old"), "{added}");
        }
    }

    /// A client that finds a command beside an address may refuse all of its file.
    #[test]
    fn an_entry_that_names_an_address_is_left() {
        for (format, text) in [
            (Format::Json, "{ \"t\": { \"skynet\": { \"url\": \"http://127.0.0.1:7460/mcp\" } } }\n"),
            (Format::Toml, "[t.skynet]\nurl = \"http://127.0.0.1:7460/mcp\"\n"),
            (Format::Yaml, "t:\n  skynet:\n    uri: http://127.0.0.1:7460/mcp\n"),
        ] {
            let refused = add(format, text, "t", &entry()).unwrap_err();
            assert!(refused.contains("client remove"), "{refused}");
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
