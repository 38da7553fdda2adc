//! Source code, cut where its syntax tree says: a definition stays whole if it is not long, and what is short keeps company.

use crate::{
    document::{Definition, MOST_DEFINITIONS, Passage},
    languages::Grammar,
    lines::Lines,
    prose,
};
use std::{collections::HashMap, ops::Range};
use tree_sitter::{Node, Parser, Query, QueryCursor, StreamingIterator as _, Tree};

/// Bytes of a passage, unless a line is longer. About what models of 256 tokens read of code.
const LONGEST: usize = 1500;

/// A definition of so many bytes is a passage of its own.
const ALONE: usize = 400;

/// Of what a definition is in, the innermost, and so many bytes of the name of each.
const MOST_PARENTS: usize = 8;
const LONGEST_PARENT: usize = 100;

/// Bytes of a signature.
const LONGEST_SIGNATURE: usize = 200;

/// A definition, and where it is.
struct Found {
    definition: Definition,
    range: Range<usize>,
}

/// Cuts code. Queries are compiled once for each language.
#[derive(Default)]
pub(crate) struct Cutter {
    parser: Parser,
    queries: HashMap<&'static str, Option<Query>>,
}

impl Cutter {
    /// The passages and the outline of a file; `None` for what the grammar cannot begin with.
    pub(crate) fn cut(
        &mut self,
        grammar: &'static Grammar,
        text: &str,
    ) -> Option<(Vec<Passage>, Vec<Definition>)> {
        let language = grammar.language();
        self.parser.set_language(&language).ok()?;
        let tree = self.parser.parse(text, None)?;
        let query =
            self.queries.entry(grammar.name).or_insert_with(|| Query::new(&language, &grammar.query()).ok());
        let lines = Lines::new(text);
        let found = query.as_ref().map(|query| definitions(query, &tree, text, &lines)).unwrap_or_default();
        let passages = ranges(&tree, text, &found)
            .into_iter()
            .flat_map(|range| prose::no_longer_than(text, range, LONGEST * 2))
            .filter_map(|range| passage(text, range, &lines, &found))
            .collect();
        Some((passages, found.into_iter().map(|found| found.definition).collect()))
    }
}

/// Everything that is defined, in order, each with what it is part of.
fn definitions(query: &Query, tree: &Tree, text: &str, lines: &Lines) -> Vec<Found> {
    let names = query.capture_names();
    let mut cursor = QueryCursor::new();
    let mut matches = cursor.matches(query, tree.root_node(), text.as_bytes());
    // By where the name is: grammars tell of some things twice, and the larger one has the body.
    let mut by_name: HashMap<usize, (Range<usize>, Range<usize>, &str)> = HashMap::new();
    while let Some(found) = matches.next() {
        let (mut name, mut whole, mut kind) = (None, None, "");
        for capture in found.captures() {
            match names.get(capture.index as usize).copied().unwrap_or_default() {
                "name" => name = Some(capture.node.byte_range()),
                "scope" => (whole, kind) = (Some(capture.node.byte_range()), "scope"),
                other => {
                    if let Some(defined) = other.strip_prefix("definition.") {
                        (whole, kind) = (Some(capture.node.byte_range()), defined);
                    }
                }
            }
        }
        let (Some(name), Some(whole)) = (name, whole) else { continue };
        let known = by_name.entry(name.start).or_insert_with(|| (name.clone(), whole.clone(), kind));
        if whole.len() > known.1.len() {
            *known = (name, whole, kind);
        }
    }
    let mut all: Vec<_> = by_name.into_values().collect();
    all.sort_by_key(|(_, whole, _)| (whole.start, std::cmp::Reverse(whole.end)));
    let mut open: Vec<(usize, String)> = Vec::new();
    let mut found = Vec::new();
    for (name, whole, kind) in all {
        if found.len() == MOST_DEFINITIONS {
            break;
        }
        open.retain(|(end, _)| *end > whole.start);
        let name = text.get(name).unwrap_or_default();
        let name = name.get(..name.floor_char_boundary(LONGEST_SIGNATURE)).unwrap_or_default().to_owned();
        if kind != "scope" {
            let definition = Definition {
                name: name.clone(),
                kind: kind.to_owned(),
                // Each repeats them.
                parents: open.iter().rev().take(MOST_PARENTS).rev().map(|(_, name)| short(name)).collect(),
                signature: signature(text, &whole),
                first_line: lines.of(whole.start),
                last_line: lines.of(whole.end.saturating_sub(1)),
            };
            found.push(Found { definition, range: whole.clone() });
        }
        open.push((whole.end, name));
    }
    found
}

fn short(name: &str) -> String {
    name.get(..name.floor_char_boundary(LONGEST_PARENT)).unwrap_or_default().to_owned()
}

/// The first line of a definition, without what opens its body.
fn signature(text: &str, whole: &Range<usize>) -> String {
    let line = text.get(whole.clone()).unwrap_or_default().lines().next().unwrap_or_default();
    let line = line.trim_end().trim_end_matches(['{', ':']).trim_end();
    match line.char_indices().nth(LONGEST_SIGNATURE) {
        Some((end, _)) => line.get(..end).unwrap_or(line).to_owned(),
        None => line.to_owned(),
    }
}

/// A part of the tree that is not taken apart.
struct Piece {
    range: Range<usize>,
    /// It is about what follows it: a comment, an attribute.
    is_preface: bool,
}

/// Where the passages are.
fn ranges(tree: &Tree, text: &str, found: &[Found]) -> Vec<Range<usize>> {
    let mut pieces = Vec::new();
    take_apart(tree.root_node(), &mut pieces);
    let is_large_definition = |range: &Range<usize>| {
        range.len() >= ALONE
            && found.iter().any(|found| range.contains(&found.range.start) && found.range.end <= range.end)
    };
    let mut ranges = Vec::new();
    let mut current: Option<Range<usize>> = None;
    // Where the comments begin that the current passage ends with.
    let mut preface: Option<usize> = None;
    for piece in pieces {
        let is_large = is_large_definition(&piece.range);
        current = match current.take() {
            None => Some(piece.range.clone()),
            Some(range) if !is_large && piece.range.end - range.start <= LONGEST => {
                Some(range.start..piece.range.end)
            }
            Some(range) => {
                let start = match preface {
                    Some(preface) if piece.range.end - preface <= LONGEST.max(piece.range.len() + ALONE) => {
                        preface
                    }
                    _ => piece.range.start,
                };
                if start > range.start {
                    ranges.push(range.start..range.end.min(start));
                }
                Some(start..piece.range.end)
            }
        };
        preface = if piece.is_preface { preface.or(Some(piece.range.start)) } else { None };
        if is_large {
            ranges.extend(current.take());
        }
    }
    ranges.extend(current);
    // What lies between pieces, such as a brace, belongs to the passage before it.
    let ends: Vec<usize> = ranges.iter().skip(1).map(|range| range.start).chain([text.len()]).collect();
    ranges.into_iter().zip(ends).map(|(range, end)| range.start..end.max(range.start)).collect()
}

/// Nodes that are short enough, in order. Deep trees are walked without recursion.
fn take_apart(root: Node<'_>, pieces: &mut Vec<Piece>) {
    let mut cursor = root.walk();
    let mut todo = vec![root];
    while let Some(node) = todo.pop() {
        // A file is never one piece, however short: its definitions are found by themselves.
        let is_long = node.byte_range().len() > LONGEST || node == root;
        if is_long && node.child_count() > 0 {
            let children: Vec<_> = node.children(&mut cursor).collect();
            todo.extend(children.into_iter().rev());
            continue;
        }
        if node.byte_range().is_empty() {
            continue;
        }
        let kind = node.kind();
        let is_preface =
            ["comment", "attribute", "decorator", "annotation"].iter().any(|word| kind.contains(word));
        pieces.push(Piece { range: node.byte_range(), is_preface });
    }
}

fn passage(text: &str, range: Range<usize>, lines: &Lines, found: &[Found]) -> Option<Passage> {
    let range = prose::without_blank_ends(text, range)?;
    let inside = |found: &&Found| range.contains(&found.range.start);
    let defines: Vec<&Found> = found.iter().filter(inside).collect();
    let around = found.iter().rfind(|found| found.range.start < range.start && range.start < found.range.end);
    let chain = match around {
        Some(found) => [&found.definition.parents[..], std::slice::from_ref(&found.definition.name)].concat(),
        None => defines.first().map(|found| found.definition.parents.clone()).unwrap_or_default(),
    };
    Some(Passage {
        first_line: lines.of(range.start),
        last_line: lines.of(range.end - 1),
        text: text.get(range)?.to_owned(),
        chain,
        signature: around.map(|found| found.definition.signature.clone()),
        defines: defines.iter().map(|found| found.definition.name.clone()).collect(),
        ..Passage::default()
    })
}
