//! An answer is as long as the caller can take, and tells no secret. What does not fit is kept whole and offered as a
//! link, and the answer shows head and tail in the shape that the tool's schema promises.

use crate::scan;
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Map, Value};
use skynet_core::{Answer, Call, Error, Layer, Link, Next, Result};
use skynet_secrets::Keyring;
use skynet_store::Blobs;
use std::sync::Arc;

/// Members smaller than this are never cut.
const SMALL_BYTES: usize = 256;

pub(crate) struct Bound {
    blobs: Blobs,
    keyring: Arc<Keyring>,
}

impl Bound {
    pub(crate) const fn new(blobs: Blobs, keyring: Arc<Keyring>) -> Self {
        Self { blobs, keyring }
    }

    async fn keep(&self, owner: String, tool: &str, json: Bytes) -> Result<Link> {
        let blobs = self.blobs.clone();
        let stored = tokio::task::spawn_blocking(move || blobs.put(&format!("result/{owner}"), &json[..]))
            .await
            .map_err(|err| Error::internal("storing a large answer failed").with_source(err))?
            .map_err(|err| {
                Error::unavailable("the answer is too large and could not be stored").with_source(err)
            })?;
        Ok(Link {
            uri: format!("skynet://result/{}", stored.digest),
            name: format!("{tool}.json"),
            media_type: "application/json".into(),
            size_bytes: stored.size_bytes,
        })
    }
}

#[async_trait]
impl Layer for Bound {
    fn name(&self) -> &'static str {
        "bound"
    }

    fn describe(&self) -> String {
        "64 KiB of answer, up to 4 MiB by `max_bytes`; the rest as a resource link; secrets marked".into()
    }

    async fn handle(&self, call: &mut Call, next: Next<'_>) -> Result<Answer> {
        // What could not be looked for must not be told, so the tool need not run.
        let early = scan::scanner(&self.keyring, call.caller.uid).await?;
        let mut answer = next.run(call).await?;
        // A secret may have been set meanwhile.
        let scanner = scan::scanner(&self.keyring, call.caller.uid).await.unwrap_or(early);
        answer.json = scan::redact(&scanner, answer.json).await?;
        // JSON escapes make text longer, and a tool that respects the limit counts its text.
        let limit = call.max_bytes.saturating_mul(2);
        if answer.json.len() <= limit {
            return Ok(answer);
        }
        let mut value: Value = serde_json::from_slice(&answer.json)
            .map_err(|err| Error::internal("the answer of the tool is not JSON").with_source(err))?;
        answer.links.push(self.keep(call.caller.owner(), call.tool.name, answer.json).await?);
        shrink(&mut value, call.max_bytes);
        answer.json = serde_json::to_vec(&value)
            .map_err(|err| Error::internal("a shortened answer cannot be written").with_source(err))?
            .into();
        Ok(answer)
    }
}

/// Cuts strings and arrays until the value takes about `budget` bytes as JSON. Types stay as they are, so a
/// value that follows a schema still does.
fn shrink(value: &mut Value, budget: usize) {
    if size(value) <= budget {
        return;
    }
    match value {
        Value::String(text) => *text = head_and_tail(text, budget),
        Value::Array(items) => cut_array(items, budget),
        Value::Object(map) => cut_object(map, budget),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn cut_array(items: &mut Vec<Value>, budget: usize) {
    let mut left = budget;
    let fits = |item: &Value| {
        let size = size(item) + 1;
        let is_in = size <= left;
        left = left.saturating_sub(size);
        is_in
    };
    let kept = items.iter().map_while({
        let mut fits = fits;
        move |item| fits(item).then_some(())
    });
    let kept = kept.count();
    if let (0, Some(first)) = (kept, items.first_mut()) {
        shrink(first, budget);
    }
    items.truncate(kept.max(1));
}

fn cut_object(map: &mut Map<String, Value>, budget: usize) {
    let sizes: Vec<usize> = map.values().map(size).collect();
    let small: usize = sizes.iter().filter(|&&bytes| bytes <= SMALL_BYTES).sum();
    let large: usize = sizes.iter().filter(|&&bytes| bytes > SMALL_BYTES).sum();
    let for_large = budget.saturating_sub(small);
    for (member, bytes) in map.values_mut().zip(sizes) {
        if bytes > SMALL_BYTES {
            // In proportion, but never so little that nothing is left.
            shrink(member, (for_large.saturating_mul(bytes) / large.max(1)).max(SMALL_BYTES));
        }
    }
}

fn head_and_tail(text: &str, budget: usize) -> String {
    let head_end = text.floor_char_boundary(budget / 4 * 3);
    let tail_start = text.ceil_char_boundary(text.len().saturating_sub(budget / 4));
    if head_end >= tail_start {
        return text.to_owned();
    }
    let (head, tail) = (text.get(..head_end).unwrap_or_default(), text.get(tail_start..).unwrap_or_default());
    format!("{head}\n[... {} bytes left out ...]\n{tail}", tail_start - head_end)
}

/// Of the value as JSON, in bytes.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| size(item) + 1).sum::<usize>(),
        Value::Object(map) => {
            2 + map.iter().map(|(name, member)| name.len() + 4 + size(member)).sum::<usize>()
        }
        Value::Null | Value::Bool(_) => 5,
        Value::Number(number) => number.to_string().len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_cut_keeps_its_shape() {
        let text = "a".repeat(3000) + "é" + &"z".repeat(3000);
        let mut value = json!({ "path": "p", "text": text, "lines": vec!["line"; 1000], "size": 6001 });
        shrink(&mut value, 2000);
        let length = value.to_string().len();
        assert!((1000..2400).contains(&length), "{length}");
        assert_eq!((&value["path"], &value["size"]), (&json!("p"), &json!(6001)));
        let text = value["text"].as_str().unwrap();
        assert!(
            text.starts_with("aaa") && text.ends_with("zzz") && text.contains("bytes left out"),
            "{text}"
        );
        assert!(value["lines"].as_array().unwrap().len() > 10);
    }
}
