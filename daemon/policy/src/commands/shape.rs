//! All arguments of a command: whether an entry covers each of them, from the first to the last.

use super::{
    flag::Flag,
    word::{Inside, Word},
};
use std::collections::BTreeSet;

/// What the arguments of a command may look like.
///
/// The words stand for the arguments in order. Words at the beginning that are written out, such as a subcommand, are
/// the first arguments; after them options may stand anywhere, up to `--`. What nothing stands for is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    words: Vec<Word>,
    options: Vec<Flag>,
    /// How many words stand before the first option.
    head: usize,
}

impl Shape {
    pub(super) fn new(words: Vec<Word>, options: Vec<Flag>) -> Self {
        let head = words.iter().take_while(|word| word.is_literal()).count();
        Self { words, options, head }
    }

    /// Reads it as it stands in a configuration.
    ///
    /// # Errors
    /// In words, what is no pattern.
    pub fn parse(words: &[String], options: &[String]) -> Result<Self, String> {
        let words = words.iter().cloned().map(Word::try_from).collect::<Result<_, _>>()?;
        let options = options.iter().cloned().map(Flag::try_from).collect::<Result<_, _>>()?;
        Ok(Self::new(words, options))
    }

    /// The shape of these arguments and of no others.
    #[must_use]
    pub fn exactly(argv: &[&str]) -> Self {
        Self::new(argv.iter().copied().map(Word::exactly).collect(), Vec::new())
    }

    /// Words and options, as they stand in a configuration.
    #[must_use]
    pub fn written(&self) -> (Vec<String>, Vec<String>) {
        (self.words.iter().map(Word::to_string).collect(), self.options.iter().map(Flag::to_string).collect())
    }

    /// Where the first argument stands that is not covered; after the last if one is missing; `None` if all is well.
    #[must_use]
    pub fn gap(&self, argv: &[&str], inside: Inside<'_>) -> Option<usize> {
        // Places in `argv` and in the words, and whether options are over. Each step leads to a larger one, so taking
        // the smallest first takes each once.
        let mut open = BTreeSet::from([(0, 0, false)]);
        let mut furthest = 0;
        while let Some((at, word, is_over)) = open.pop_first() {
            furthest = at;
            let rest = argv.get(at..).unwrap_or_default();
            if rest.is_empty() && word == self.words.len() {
                return None;
            }
            let is_over_after = is_over || rest.first() == Some(&"--");
            if let Some(pattern) = self.words.get(word) {
                if pattern.is_repeated() {
                    open.insert((at, word + 1, is_over));
                }
                if rest.first().is_some_and(|argument| pattern.allows(argument, inside)) {
                    open.insert((at + 1, word + usize::from(!pattern.is_repeated()), is_over_after));
                }
            }
            if !is_over && word >= self.head {
                let taken = self.options.iter().filter_map(|option| option.takes(rest, inside));
                open.extend(taken.map(|count| (at + count, word, is_over_after)));
            }
        }
        Some(furthest)
    }

    /// Whether these arguments have anything of this shape in them, however they are spelled or mixed with others: what
    /// is written out, in order, and at least one of the options. For entries that forbid.
    pub(super) fn resembles(&self, argv: &[&str]) -> bool {
        let mut rest = argv.iter();
        let mut telling = self.words.iter().filter(|word| word.is_telling());
        telling.all(|word| rest.any(|argument| word.resembles(argument)))
            && (self.options.is_empty()
                || argv.iter().any(|argument| self.options.iter().any(|option| option.resembles(argument))))
    }

    pub(super) fn words(&self) -> &[Word] {
        &self.words
    }

    /// Whether an option leaves to the caller more than a path or a number.
    pub(super) fn has_free_option(&self) -> bool {
        self.options.iter().any(Flag::is_free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn own(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    fn is_inside(path: &str) -> bool {
        !path.starts_with('/') && !path.split('/').any(|part| part == "..")
    }

    #[test]
    fn a_gap_is_the_first_argument_that_nothing_stands_for() {
        let shape = Shape::parse(
            &own(&["log|diff", "**"]),
            &own(&[
                "-n <number>",
                "--format=*",
                "--color=always|never",
                "-[pq]",
                "-<number>",
                "-C <path>",
                "--",
            ]),
        )
        .unwrap();
        for (argv, gap) in [
            (&["log"][..], None),
            (&["log", "-n", "3", "HEAD", "-p"], None),
            (&["diff", "-pq", "-5", "--format=-x", "--", "a"], None),
            (&["log", "-C", "sub", "--color=never"], None),
            (&[], Some(0)),
            (&["show"], Some(0)),
            (&["-p", "log"], Some(0)),
            (&["log", "-n"], Some(1)),
            (&["log", "-n", "x"], Some(1)),
            (&["log", "a", "-C", "../x"], Some(2)),
            (&["log", "-pn"], Some(1)),
            (&["log", "--color=auto"], Some(1)),
            (&["log", "--color"], Some(1)),
            (&["log", "--format"], Some(1)),
            (&["log", "--", "-p"], Some(2)),
            (&["log", "--", "--"], Some(2)),
            (&["log", ""], Some(1)),
            (&["log", "a\0"], Some(1)),
        ] {
            assert_eq!(shape.gap(argv, &is_inside), gap, "{argv:?}");
        }
        let shape = Shape::parse(&own(&["<path>", "<text>...", "end", "=*", "of=<path>", "="]), &[]).unwrap();
        for (argv, gap) in [
            (&["a", "end", "*", "of=b", ""][..], None),
            (&["a", "x = y\nz", "end", "end", "*", "of=b", ""], None),
            (&["a", "-x", "end", "*", "of=b", ""], Some(1)),
            (&["a", "end", "x", "of=b", ""], Some(4)),
            (&["a", "end", "*", "of=../b", ""], Some(4)),
            (&["~a", "end", "*", "of=b", ""], Some(0)),
            (&["a:b", "end", "*", "of=b", ""], Some(0)),
            (&["b/a:b", "end", "*", "of=b", ""], None),
        ] {
            assert_eq!(shape.gap(argv, &is_inside), gap, "{argv:?}");
        }
    }

    #[test]
    fn what_forbids_is_recognized_in_any_spelling() {
        let shape =
            Shape::parse(&own(&["push", "*"]), &own(&["--force", "-f", "-exec", "--to=<path>"])).unwrap();
        for (argv, is_recognized) in [
            (&["push", "--force"][..], true),
            (&["-c", "x", "push", "origin", "--forc"], true),
            (&["push", "-uf"], true),
            (&["push", "--exec=x"], true),
            (&["push", "-exe"], true),
            (&["push", "--to", "x"], true),
            (&["push", "--to=x"], true),
            (&["push", "-q"], false),
            (&["push", "--quiet"], false),
            (&["pull", "--force"], false),
        ] {
            assert_eq!(shape.resembles(argv), is_recognized, "{argv:?}");
        }
    }

    /// Arguments and patterns, some of them the same.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            prop::sample::select(vec![
                "*",
                "**",
                "<text>",
                "<number>",
                "<path>",
                "<path>...",
                "--",
                "-x",
                "--flag",
                "--flag=*",
                "--flag *",
                "-n <number>",
                "-j<number>",
                "-[abc]",
                "-ab",
                "a|b",
                "a",
                "b",
                "X=*",
                "X=1",
                "=",
                "=*",
                "../a",
                "/a",
                "@a",
                "+a",
                "12",
                "-n",
                "-",
                "",
            ])
            .prop_map(str::to_owned),
            any::<String>(),
        ]
    }

    proptest! {
        #[test]
        fn what_is_allowed_is_allowed_by_the_written_form(words in vec(text(), 0..5), options in vec(text(), 0..4), argv in vec(text(), 0..6)) {
            let words: Vec<String> = words.into_iter().filter(|word| Word::try_from(word.clone()).is_ok()).collect();
            let options: Vec<String> = options.into_iter().filter(|option| Flag::try_from(option.clone()).is_ok()).collect();
            let shape = Shape::parse(&words, &options).unwrap();
            let (words, options) = shape.written();
            let again = Shape::parse(&words, &options).unwrap();
            prop_assert_eq!(&shape, &again);
            let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
            prop_assert_eq!(shape.gap(&argv, &is_inside), again.gap(&argv, &is_inside));
        }

        #[test]
        fn an_exact_shape_allows_one_command(argv in vec(text(), 0..6), more in text(), at in any::<prop::sample::Index>()) {
            prop_assume!(!argv.iter().any(|argument| argument.contains('\0')));
            let mut argv: Vec<&str> = argv.iter().map(String::as_str).collect();
            let shape = Shape::exactly(&argv);
            prop_assert_eq!(shape.gap(&argv, &is_inside), None);
            let (words, options) = shape.written();
            prop_assert_eq!(&Shape::parse(&words, &options).unwrap(), &shape);
            argv.insert(at.index(argv.len() + 1), &more);
            prop_assert!(shape.gap(&argv, &is_inside).is_some());
        }
    }
}
