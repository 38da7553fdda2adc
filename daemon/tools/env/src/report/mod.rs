//! What programs report, read into one shape. Each is bounded by what a command may write, and none of it is trusted: what does not
//! parse is no report, and the answer then shows what the program wrote.

pub(crate) mod advisories;
pub(crate) mod findings;
pub(crate) mod go;
pub(crate) mod jest;
pub(crate) mod junit;
pub(crate) mod libtest;
pub(crate) mod outdated;

use schemars::JsonSchema;
use serde::Serialize;

/// Of the tests that failed, in an answer.
const MOST_FAILURES: usize = 50;

/// Of what one of them says.
const MESSAGE_BYTES: usize = 2 << 10;

/// A test that failed.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Failure {
    /// Its name, with that of its suite or module.
    pub(crate) name: String,
    /// Where it failed, relative to where the tests ran or as the runner says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<String>,
    /// The line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<u32>,
    /// What it says; the beginning of that.
    pub(crate) message: String,
}

/// How tests went.
#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Tests {
    /// How many passed.
    pub(crate) passed: u64,
    /// How many failed, those that could not be run included.
    pub(crate) failed: u64,
    /// How many were left out.
    pub(crate) skipped: u64,
    /// Those that failed; at most 50.
    pub(crate) failures: Vec<Failure>,
}

impl Tests {
    /// Counts one that failed.
    pub(crate) fn fail(&mut self, mut failure: Failure) {
        self.failed += 1;
        if self.failures.len() < MOST_FAILURES {
            if failure.message.len() > MESSAGE_BYTES {
                failure.message.truncate(failure.message.floor_char_boundary(MESSAGE_BYTES));
                failure.message.push_str("\n[...]");
            }
            self.failures.push(failure);
        }
    }

    /// None at all.
    pub(crate) const fn is_empty(&self) -> bool {
        self.passed + self.failed + self.skipped == 0
    }
}

/// `FILE:LINE` at the beginning of the text, a column after it or not.
pub(crate) fn place(text: &str) -> Option<(String, u32)> {
    let (file, rest) = text.split_once(':')?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((file.trim().to_owned(), digits.parse().ok()?))
}
