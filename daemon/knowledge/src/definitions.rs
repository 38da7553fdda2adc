//! Where names are defined. A file that the caller may not see takes no place of one that he may.

use crate::{
    Knowledge,
    collection::{Collection, blocking},
};
use skynet_core::{CallCtx, Result};
use skynet_documents::Definition;
use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

/// Passages that define a name, and such as define one that has it as a part, which are looked at.
const MOST_DEFINING: usize = 10_000;

/// How well a name that is defined is the one that was asked for: the best is the least.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    Exact,
    /// But for capital letters.
    Folded,
    Part,
}

impl Match {
    /// `None` where it is not even a part.
    fn of(asked: &str, defined: &str) -> Option<Self> {
        if defined == asked {
            Some(Self::Exact)
        } else if defined.eq_ignore_ascii_case(asked) {
            Some(Self::Folded)
        } else {
            defined.to_lowercase().contains(&asked.to_lowercase()).then_some(Self::Part)
        }
    }
}

/// A definition in a file, by its path.
type Defined = (Match, String, Definition);

impl Knowledge {
    /// Where a name is defined, exact ones first: collection, file and its outline entry.
    ///
    /// # Errors
    /// `NotFound` when there is no collection; `Unavailable` when an index cannot be read.
    pub async fn definitions(
        self: &Arc<Self>,
        ctx: &CallCtx,
        collections: &[String],
        name: &str,
        most: usize,
    ) -> Result<Vec<(String, String, Definition)>> {
        let mut all: Vec<(String, Defined)> = Vec::new();
        for view in self.asked(ctx, collections).await? {
            // That some may be missing is told by searches.
            self.wait_for_changes(&view, ctx).await;
            let (collection, asked) = (view.collection.clone(), name.to_owned());
            let defining = blocking(move || collection.lexical.defining(&asked, MOST_DEFINING)).await?;
            let paths = defining.iter().flatten().cloned().collect();
            let seen = self.seen(ctx, &view, paths).await?;
            let (collection, asked) = (view.collection.clone(), name.to_owned());
            let found = blocking(move || defined(&collection, &defining, &seen, &asked, most)).await?;
            let outside =
                |(how, path, definition): Defined| (view.name.clone(), (how, view.outside(path), definition));
            all.extend(found.into_iter().map(outside));
        }
        all.sort_by(|(_, (how, path, one)), (_, (other_how, other_path, other))| {
            (how, path, one.first_line).cmp(&(other_how, other_path, other.first_line))
        });
        all.truncate(most);
        Ok(all.into_iter().map(|(name, (_, path, definition))| (name, path, definition)).collect())
    }
}

/// The definitions of a name in those of the files that may be seen, at least the first `most` of them. Files have an order, so that no
/// outline is read that could not be one of these.
fn defined(
    collection: &Collection,
    [exact, part]: &[BTreeSet<String>; 2],
    seen: &HashSet<String>,
    name: &str,
    most: usize,
) -> Result<Vec<Defined>> {
    let mut found: Vec<Defined> = Vec::new();
    let part = part.difference(exact).map(|path| (Match::Part, path));
    let files = exact.iter().map(|path| (Match::Exact, path)).chain(part);
    for (best, path) in files.filter(|(_, path)| seen.contains(*path)) {
        let before = found.iter().filter(|(how, other, _)| (how, other) < (&best, path));
        if before.count() >= most {
            break;
        }
        let Some(file) = collection.lexical.file(path)? else { continue };
        let matching = file
            .outline
            .into_iter()
            .filter_map(|definition| Some((Match::of(name, &definition.name)?, path.clone(), definition)));
        found.extend(matching);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::given;

    /// One that defines a name.
    fn defining(path: &str, name: &str) -> (String, skynet_documents::Document) {
        let mut document = given::text(&format!("def {name}():"));
        document.code = Some("python".into());
        document.passages[0].defines = vec![name.into()];
        document.outline = vec![Definition {
            name: name.into(),
            kind: "function".into(),
            parents: Vec::new(),
            signature: format!("def {name}()"),
            first_line: 1,
            last_line: 1,
        }];
        (path.into(), document)
    }

    #[test]
    fn what_is_hidden_takes_no_place_of_what_is_defined() {
        let directory = tempfile::tempdir().unwrap();
        let mut documents: Vec<_> =
            (0..100).map(|number| defining(&format!("vault/{number}"), "brew")).collect();
        documents.extend((0..100).map(|number| defining(&format!("vault/more{number}"), "brewery")));
        documents.extend([
            defining("open/d", "brew_tea"),
            defining("open/c", "brew"),
            defining("open/b", "Brew"),
            defining("open/a", "rebrew"),
        ]);
        let collection = given::collection(directory.path(), documents);
        let found = |most: usize, sees: &str| -> Vec<String> {
            let defining = collection.lexical.defining("brew", MOST_DEFINING).unwrap();
            let all = defining.iter().flatten().filter(|path| path.starts_with(sees)).cloned();
            let seen: HashSet<String> = all.collect();
            let mut found = defined(&collection, &defining, &seen, "brew", most).unwrap();
            found.sort_by(|(how, path, _), (other_how, other, _)| (how, path).cmp(&(other_how, other)));
            found.into_iter().take(most).map(|(_, path, _)| path).collect()
        };
        assert_eq!(found(9, "open/"), ["open/c", "open/b", "open/a", "open/d"]);
        assert_eq!(found(1, "open/"), ["open/c"]);
        assert_eq!(found(3, "open/"), ["open/c", "open/b", "open/a"]);
        assert_eq!(found(300, "").len(), 204);
        assert!(found(9, "elsewhere/").is_empty());
    }
}
