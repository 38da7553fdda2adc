//! Lines of output: put together from the pieces they come in, kept up to a limit, shown as they come.

use bollard::container::LogOutput;
use schemars::JsonSchema;
use serde::Serialize;
use skynet_core::CallCtx;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Of one line; what is longer is cut there.
const LONGEST: usize = 8 << 10;

/// Of what is shown at once while it is followed.
const MOST_SHOWN: usize = 4 << 10;

/// How often that is.
const SHOW_EVERY: Duration = Duration::from_millis(200);

/// Where a program wrote something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// What it says.
    Stdout,
    /// What it complains of.
    Stderr,
    /// A terminal, which does not tell one from the other.
    Terminal,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Line {
    /// When it was written, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Where it was written.
    pub stream: Source,
    /// Without the end of line.
    pub text: String,
}

/// What to do with a line when there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The oldest goes.
    DropOldest,
    /// No more is taken.
    Stop,
}

/// Gathers lines.
pub(crate) struct Gather {
    lines: VecDeque<Line>,
    most_lines: usize,
    most_bytes: usize,
    bytes: usize,
    full: Full,
    has_moments: bool,
    /// Beginnings of lines, of each stream.
    open: [Vec<u8>; 3],
    /// How many went, or were not taken.
    pub(crate) lost: u64,
    seen: u64,
    unshown: String,
    shown_at: Instant,
}

impl Gather {
    pub(crate) fn new(most_lines: usize, most_bytes: usize, full: Full) -> Self {
        Self {
            lines: VecDeque::new(),
            most_lines,
            most_bytes,
            bytes: 0,
            full,
            has_moments: false,
            open: Default::default(),
            lost: 0,
            seen: 0,
            unshown: String::new(),
            shown_at: Instant::now(),
        }
    }

    /// Each line begins with its moment, as the engine was asked for.
    pub(crate) fn with_moments(mut self) -> Self {
        self.has_moments = true;
        self
    }

    /// Whether nothing more is taken.
    pub(crate) fn is_full(&self) -> bool {
        self.full == Full::Stop && (self.lines.len() >= self.most_lines || self.bytes >= self.most_bytes)
    }

    /// Takes a piece of output. Lines that `wanted` is not about are dropped.
    pub(crate) fn take(&mut self, piece: &LogOutput, wanted: &dyn Fn(&str) -> bool) {
        let (index, source) = match piece {
            LogOutput::StdErr { .. } => (1, Source::Stderr),
            LogOutput::StdOut { .. } => (0, Source::Stdout),
            LogOutput::StdIn { .. } | LogOutput::Console { .. } => (2, Source::Terminal),
        };
        for part in piece.as_ref().split_inclusive(|byte| *byte == b'\n') {
            let Some(open) = self.open.get_mut(index) else { return };
            let room = LONGEST.saturating_sub(open.len());
            open.extend(part.iter().take(room));
            if part.ends_with(b"\n") {
                let line = std::mem::take(open);
                self.add(&line, source, wanted);
            }
        }
    }

    /// Takes what ended without an end of line.
    pub(crate) fn finish(&mut self, wanted: &dyn Fn(&str) -> bool) {
        for (open, source) in
            std::mem::take(&mut self.open).iter().zip([Source::Stdout, Source::Stderr, Source::Terminal])
        {
            if !open.is_empty() {
                self.add(open, source, wanted);
            }
        }
    }

    fn add(&mut self, line: &[u8], stream: Source, wanted: &dyn Fn(&str) -> bool) {
        let text = String::from_utf8_lossy(line);
        let mut text = text.trim_end_matches(['\n', '\r']);
        let mut at = None;
        if self.has_moments
            && let Some((moment, rest)) = text.split_once(' ')
        {
            (at, text) = (Some(moment.to_owned()), rest);
        }
        if !wanted(text) {
            return;
        }
        if self.is_full() {
            self.lost += 1;
            return;
        }
        self.seen += 1;
        if self.unshown.len() < MOST_SHOWN {
            self.unshown.push_str(text);
            self.unshown.push('\n');
        }
        self.bytes += text.len();
        self.lines.push_back(Line { at, stream, text: text.to_owned() });
        while self.lines.len() > self.most_lines || (self.bytes > self.most_bytes && self.lines.len() > 1) {
            if let Some(oldest) = self.lines.pop_front() {
                self.bytes -= oldest.text.len();
                self.lost += 1;
            }
        }
    }

    /// Shows what came since it was last shown.
    pub(crate) fn show(&mut self, ctx: &CallCtx) {
        if !self.unshown.is_empty() && self.shown_at.elapsed() >= SHOW_EVERY {
            self.shown_at = Instant::now();
            self.show_now(ctx);
        }
    }

    /// The same, however short ago that was.
    pub(crate) fn show_now(&mut self, ctx: &CallCtx) {
        if !self.unshown.is_empty() {
            let shown = std::mem::take(&mut self.unshown);
            ctx.progress(self.seen as f64, None, shown.trim_end());
        }
    }

    pub(crate) fn into_lines(self) -> Vec<Line> {
        self.lines.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(text: &'static str) -> LogOutput {
        LogOutput::StdOut { message: text.into() }
    }

    #[test]
    fn lines_come_in_pieces_and_the_last_ones_are_kept() {
        let mut gather = Gather::new(2, 1 << 20, Full::DropOldest);
        let err = LogOutput::StdErr { message: "oops\r\n".into() };
        for piece in [out("a"), out("b\nc\n"), err, out("no end")] {
            gather.take(&piece, &|_| true);
        }
        gather.finish(&|_| true);
        assert_eq!(gather.lost, 2);
        let texts: Vec<_> = gather.into_lines().into_iter().map(|line| (line.stream, line.text)).collect();
        assert_eq!(texts, [(Source::Stderr, "oops".to_owned()), (Source::Stdout, "no end".to_owned())]);
    }

    #[test]
    fn a_line_without_end_takes_no_more_than_its_limit() {
        let mut gather = Gather::new(10, 1 << 20, Full::DropOldest);
        for _ in 0..1000 {
            gather.take(&out("0123456789abcdefghijklmnopqrstuvwxyz"), &|_| true);
        }
        gather.finish(&|_| true);
        assert_eq!(gather.into_lines().iter().map(|line| line.text.len()).collect::<Vec<_>>(), [LONGEST]);
    }

    #[test]
    fn moments_are_told_apart_from_text() {
        let mut gather = Gather::new(10, 1 << 20, Full::Stop).with_moments();
        gather.take(&out("2026-01-31T12:00:00.000000001Z GET /x\n2026-01-31T12:00:01Z \n"), &|text| {
            !text.is_empty()
        });
        let line = Line {
            at: Some("2026-01-31T12:00:00.000000001Z".into()),
            stream: Source::Stdout,
            text: "GET /x".into(),
        };
        assert_eq!(gather.into_lines(), [line]);
    }
}
