//! A text as it would be without white space: what a program broke into lines or columns is whole there.
//!
//! White space is also what stands for it in strings of JSON, however deep one is in another: backslashes with `n`, `r` or
//! `t` behind them. How many belong to it, their number tells: each level doubles what is there and puts one before the
//! letter, so it is the greatest power of two that divides it, and those before are backslashes of the text.

use std::ops::Range;
use zeroize::Zeroizing;

/// The text without white space; `None` if there is none in it.
pub(crate) fn without_white_space(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut dense = Zeroizing::new(Vec::with_capacity(text.len()));
    solid(text).for_each(|piece| dense.extend_from_slice(text.get(piece).unwrap_or_default()));
    (dense.len() < text.len()).then_some(dense)
}

/// Where ranges of the dense text are in the text itself. They are in order and none is over another.
pub(crate) fn places<T>(
    text: &[u8],
    ranges: impl IntoIterator<Item = (T, Range<usize>)>,
) -> Vec<(T, Range<usize>)> {
    let mut pieces = solid(text);
    let mut piece = pieces.next().unwrap_or_default();
    // Of the dense text, before the piece.
    let mut before = 0;
    let mut place = |at: usize| {
        while at >= before + piece.len() {
            before += piece.len();
            piece = pieces.next()?;
        }
        Some(piece.start + at - before)
    };
    let whole = |(name, range): (T, Range<usize>)| {
        let start = place(range.start)?;
        Some((name, start..place(range.end.checked_sub(1)?)? + 1))
    };
    ranges.into_iter().filter_map(whole).collect()
}

/// What is between white space, in order; none is empty.
fn solid(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(length) = white_space(text.get(at..)?) {
            at += length;
        }
        let start = at;
        loop {
            let rest = text.get(at..)?;
            let plain = rest.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b'\\'));
            at += plain.unwrap_or(rest.len());
            let rest = text.get(at..)?;
            if rest.is_empty() || white_space(rest).is_some() {
                break;
            }
            // The whole run, or its end would be taken for white space that it is not.
            at += backslashes(rest) - before_letter(rest).unwrap_or(0);
        }
        (start < at).then_some(start..at)
    })
}

/// How many bytes of white space a text begins with at least, if it does.
fn white_space(text: &[u8]) -> Option<usize> {
    match text.first()? {
        b' ' | b'\t' | b'\n' | b'\r' => Some(1),
        b'\\' => before_letter(text).filter(|own| *own == backslashes(text)).map(|own| own + 1),
        _ => None,
    }
}

/// Of the backslashes that a text begins with, how many make white space of the letter behind them.
fn before_letter(text: &[u8]) -> Option<usize> {
    let count = backslashes(text);
    matches!(text.get(count), Some(b'n' | b'r' | b't')).then_some(1 << count.trailing_zeros())
}

fn backslashes(text: &[u8]) -> usize {
    text.iter().take_while(|byte| **byte == b'\\').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_and_columns_and_escaped_ones_are_no_part_of_it() {
        let text = b" ab\\n\tcd\\\\\\\\nef\\\\g \\";
        assert_eq!(**without_white_space(text).unwrap(), *b"abcdef\\\\g\\");
        // A backslash before a line feed, as JSON and as JSON within JSON.
        assert_eq!(**without_white_space(br"a\\\nb").unwrap(), *br"a\\b");
        assert_eq!(**without_white_space(br"a\\\\\\nb").unwrap(), *br"a\\\\b");
        assert_eq!(places(text, [("x", 1..5), ("y", 5..6)]), [("x", 2..14), ("y", 14..15)]);
        assert_eq!(without_white_space(b"abc\\\\d"), None);
        assert_eq!(without_white_space(b""), None);
    }

    proptest! {
        #[test]
        fn each_byte_has_its_place(text in r"[ab \n\\n]{0,40}") {
            let text = text.as_bytes();
            if let Some(dense) = without_white_space(text) {
                let bytes = dense.iter().enumerate().map(|(at, byte)| (*byte, at..at + 1));
                let places = places(text, bytes);
                prop_assert_eq!(places.len(), dense.len());
                prop_assert!(places.iter().is_sorted_by_key(|(_, place)| place.start));
                prop_assert!(places.iter().all(|(byte, place)| text.get(place.start) == Some(byte)));
            }
        }
    }
}
