//! How far a command is that talks to a remote: Git says so on stderr (git-fetch(1), `--progress`), between other words.

use crate::execute::MOST_STDERR_BYTES;
use skynet_core::{CallCtx, Result, error::IoContext as _};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// What Git does, and the part of the whole that it is taken for, in percent.
const STEPS: [(&str, f64, f64); 9] = [
    ("Enumerating objects", 0.0, 1.0),
    ("Counting objects", 1.0, 5.0),
    ("Compressing objects", 5.0, 10.0),
    ("Receiving objects", 10.0, 80.0),
    ("Unpacking objects", 10.0, 80.0),
    ("Writing objects", 10.0, 80.0),
    ("Resolving deltas", 80.0, 95.0),
    ("Checking connectivity", 95.0, 96.0),
    ("Updating files", 96.0, 100.0),
];

/// Words that come with it.
const BESIDES: [&str; 3] = ["Cloning into ", "Delta compression using ", "Total "];

/// Often enough for who looks at it.
const SHOW_EVERY: Duration = Duration::from_millis(250);

/// Of one line. What is longer is none of Git's own.
const LONGEST_LINE: usize = 64 << 10;

/// Passes progress on, until nobody can write any more, and keeps in `said` the rest of what was written: the last of it.
pub(crate) async fn follow(ctx: &CallCtx, mut stderr: impl AsyncRead + Unpin, said: &mut Tail) -> Result<()> {
    let mut meter = Meter::default();
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stderr.read(&mut buffer).await.on("git")?;
        for byte in buffer.get(..count).unwrap_or_default() {
            if !matches!(byte, b'\r' | b'\n') && line.len() < LONGEST_LINE {
                line.push(*byte);
                continue;
            }
            end_line(ctx, &mut meter, said, &std::mem::take(&mut line));
        }
        if count == 0 {
            end_line(ctx, &mut meter, said, &line);
            return Ok(());
        }
    }
}

fn end_line(ctx: &CallCtx, meter: &mut Meter, said: &mut Tail, line: &[u8]) {
    let line = String::from_utf8_lossy(line);
    let line = line.trim_end();
    match Step::read(line) {
        Some(step) => {
            if let Some(done) = meter.advance(&step, Instant::now()) {
                ctx.progress(done, Some(100.0), step.text);
            }
        }
        None if line.is_empty() || BESIDES.iter().any(|words| line.starts_with(words)) => {}
        None => said.push(line),
    }
}

/// One line of progress.
#[derive(Debug, PartialEq)]
struct Step<'a> {
    /// Of the whole, in percent.
    done: f64,
    text: &'a str,
}

impl<'a> Step<'a> {
    /// `Receiving objects:  50% (1/2), 3.00 KiB | 1.00 MiB/s`, with `remote: ` in front for what the other end does.
    fn read(line: &'a str) -> Option<Self> {
        let text = line.strip_prefix("remote: ").unwrap_or(line);
        // A remote may write anything.
        let text = text.split(char::is_control).next().unwrap_or_default();
        let (title, rest) = text.split_once(": ")?;
        let (_, from, to) = STEPS.iter().find(|(known, ..)| *known == title)?;
        let percent = rest.split_once('%').and_then(|(percent, _)| percent.trim_start().parse::<u8>().ok());
        let percent = percent.filter(|percent| *percent <= 100).unwrap_or(0);
        Some(Self { done: from + (to - from) * f64::from(percent) / 100.0, text })
    }
}

/// Lets through what is new, now and then.
#[derive(Default)]
struct Meter {
    last: Option<(f64, Instant)>,
}

impl Meter {
    fn advance(&mut self, step: &Step<'_>, now: Instant) -> Option<f64> {
        let is_shown = self
            .last
            .is_none_or(|(done, shown_at)| step.done > done && now.duration_since(shown_at) >= SHOW_EVERY);
        is_shown.then(|| {
            self.last = Some((step.done, now));
            step.done
        })
    }
}

/// The last lines of a text: the reason for a failure is at its end.
#[derive(Default)]
pub(crate) struct Tail {
    lines: VecDeque<String>,
    bytes: usize,
}

impl Tail {
    /// As they were written.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.lines.into_iter().flat_map(String::into_bytes).collect()
    }

    fn push(&mut self, line: &str) {
        self.bytes += line.len() + 1;
        self.lines.push_back(format!("{line}\n"));
        while self.bytes as u64 > MOST_STDERR_BYTES && self.lines.len() > 1 {
            self.bytes -= self.lines.pop_front().map_or(0, |gone| gone.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_parts_of_the_whole() {
        let read = |line| Step::read(line).map(|step| (step.done, step.text));
        assert_eq!(
            read("Receiving objects:  50% (1/2), 3.00 KiB | 1.00 MiB/s"),
            Some((45.0, "Receiving objects:  50% (1/2), 3.00 KiB | 1.00 MiB/s"))
        );
        assert_eq!(
            read("remote: Counting objects: 100% (3/3), done."),
            Some((5.0, "Counting objects: 100% (3/3), done."))
        );
        assert_eq!(
            read("remote: Enumerating objects: 3, done."),
            Some((0.0, "Enumerating objects: 3, done."))
        );
        assert_eq!(
            read("remote: Counting objects: 20% (1/5)\x1b[2J\x07"),
            Some((1.8, "Counting objects: 20% (1/5)"))
        );
        for other in ["", "remote: Resolving doubts: 50% (1/2)", "fatal: Counting objects: 1% (1/2)", "a: b"]
        {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn progress_never_goes_back_and_is_not_shown_all_the_time() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        let mut at =
            |quarters: u32, done| meter.advance(&Step { done, text: "" }, start + SHOW_EVERY / 4 * quarters);
        assert_eq!(at(0, 10.0), Some(10.0));
        assert_eq!(at(3, 11.0), None, "just shown");
        assert_eq!(at(4, 10.0), None, "nothing new");
        assert_eq!(at(4, 12.0), Some(12.0));
        assert_eq!(at(7, 13.0), None, "just shown");
    }

    #[test]
    fn of_a_long_text_the_end_is_kept() {
        let mut tail = Tail::default();
        (0..1000).for_each(|number| tail.push(&format!("line {number}")));
        let text: String = tail.lines.iter().map(String::as_str).collect();
        assert!(text.len() as u64 <= MOST_STDERR_BYTES && text.ends_with("line 999\n"), "{text}");
    }
}
