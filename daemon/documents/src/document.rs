//! What a document is once it was read and cut: what a parser answers, and what an index keeps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lines of the outline of one document; a generated one has more than anybody looks for.
pub const MOST_DEFINITIONS: usize = 5000;

/// How a document is written, which decides how it is read and cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Source code of a language that is parsed.
    Code,
    /// CommonMark.
    Markdown,
    /// HTML.
    Html,
    /// Office Open XML (`.docx`) or OpenDocument (`.odt`).
    Office,
    /// Portable Document Format.
    Pdf,
    /// Comma- or tab-separated values.
    Table,
    /// A page of the manual, as man(7) or mdoc(7) describe.
    Manual,
    /// Anything else that is UTF-8, or Latin-1 with few exceptions.
    Text,
}

impl Format {
    /// The name in answers and filters.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Markdown => "markdown",
            Self::Html => "html",
            Self::Office => "office",
            Self::Pdf => "pdf",
            Self::Table => "table",
            Self::Manual => "manual",
            Self::Text => "text",
        }
    }
}

/// Something that code defines, or a heading of prose: a line of an outline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// `accept`.
    pub name: String,
    /// `function`, `method`, `class`, `interface`, `module`, `type`, `constant`, `macro`; `heading` in prose.
    pub kind: String,
    /// What it is part of, outermost first: `["net", "Server"]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<String>,
    /// Its first line, without the body.
    pub signature: String,
    /// From 1.
    pub first_line: u32,
    /// Inclusive.
    pub last_line: u32,
}

/// A part of a document that is found as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// As it stands in the document, but for markup of formats that are not text.
    pub text: String,
    /// From 1.
    pub first_line: u32,
    /// Inclusive.
    pub last_line: u32,
    /// What it is part of, outermost first: of code the definitions around it (`["Server", "accept"]`), of prose the headings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
    /// Of code that is a part of a definition: the first line of that definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Of code: the names of what begins in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub defines: Vec<String>,
    /// The language that people speak, by ISO 639-3; absent where it cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// So many lines of the text, from its first, are those of a header that stands further up: `first_line` is that of the next.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeated_lines: u32,
    /// Whether it is the next part of the text that the one before it ends with, which was too long for one passage.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continues: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Passage {
    /// What a model is shown: where the passage stands, then the passage. It does not name the file, so that a file that is
    /// renamed keeps its vectors. A heading that the passage begins with is not said twice: models read the beginning of long
    /// texts only.
    #[must_use]
    pub fn in_context(&self) -> String {
        let mut shown = String::with_capacity(self.text.len() + 80);
        let above = match self.chain.split_last() {
            Some((last, above)) if self.begins_with_heading(last) => above,
            _ => &self.chain,
        };
        if !above.is_empty() {
            shown.push_str(&above.join(" > "));
            shown.push('\n');
        }
        if let Some(signature) = &self.signature {
            shown.push_str(signature);
            shown.push('\n');
        }
        shown.push_str(&self.text);
        shown
    }

    fn begins_with_heading(&self, heading: &str) -> bool {
        let line = self.text.trim_start().lines().next().unwrap_or_default();
        line.strip_prefix('#').is_some_and(|line| line.trim_matches(['#', ' ']) == heading)
    }
}

/// What is known of a document besides what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct About {
    /// Who wrote it: a name, with an address where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// When it was written or last changed, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<i64>,
    /// Words that it is filed under, in lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

impl About {
    /// Whether nothing is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.author.is_none() && self.at.is_none() && self.tags.is_empty()
    }

    /// Adds what somebody else knows, who knows less well.
    pub fn complete(&mut self, other: Self) {
        self.author = self.author.take().or(other.author);
        self.at = self.at.or(other.at);
        self.tags.extend(other.tags);
        self.tags.sort();
        self.tags.dedup();
    }
}

/// A document, cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// How it is written.
    pub format: Format,
    /// The programming language, in lower case; absent for prose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The first heading, or what the format says it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// SHA-256 of the file, in hexadecimal.
    pub hash: String,
    /// What it says of itself, and what its source knows.
    #[serde(default, skip_serializing_if = "About::is_empty")]
    pub about: About,
    /// In order.
    pub passages: Vec<Passage>,
    /// In order.
    pub outline: Vec<Definition>,
    /// Passages that were left out, because they look like secrets.
    #[serde(default)]
    pub secrets: u32,
}

impl Document {
    /// All that is said besides the texts of passages: names and signatures, title, author and tags.
    pub fn names_mut(&mut self) -> Vec<&mut String> {
        let of_outline = self.outline.iter_mut().flat_map(|definition| {
            let Definition { name, kind, parents, signature, .. } = definition;
            [name, kind, signature].into_iter().chain(parents)
        });
        let of_passages = self.passages.iter_mut().flat_map(|passage| {
            let Passage { chain, signature, defines, .. } = passage;
            chain.iter_mut().chain(signature).chain(defines)
        });
        let about = self.about.author.iter_mut().chain(&mut self.about.tags);
        let own = self.title.iter_mut().chain(&mut self.code);
        of_outline.chain(of_passages).chain(own).chain(about).collect()
    }
}

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reading {
    /// It was read.
    Document(Document),
    /// It was not, and why.
    Skipped(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_is_shown_once_with_those_above_it() {
        let of = |chain: &[&str], text: &str| {
            let chain = chain.iter().map(|name| (*name).to_owned()).collect();
            Passage { chain, text: text.into(), ..Passage::default() }.in_context()
        };
        assert_eq!(
            of(&["Manual", "Backups"], "## Backups\n\nEvery night."),
            "Manual\n## Backups\n\nEvery night."
        );
        assert_eq!(of(&["Manual", "Backups"], "Every night."), "Manual > Backups\nEvery night.");
        assert_eq!(of(&["Backups"], "# Backups"), "# Backups");
    }
}
