//! Text of an agent as a human may be shown it: whatever would steer a terminal, hide, or turn a line around is written out.
//! It never decides anything; what runs is the text as it was.

use crate::commands::is_hidden;
use std::fmt::Write as _;

/// One word, name or path, on one line: as it is if nothing in it can be mistaken, otherwise in quotes.
pub(crate) fn word(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-./:=@%+,~*?".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let has_latin = text.chars().any(|letter| letter.is_ascii_alphabetic());
    let mut shown = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => shown.extend(['\\', letter]),
            '\n' => shown.push_str("\\n"),
            '\t' => shown.push_str("\\t"),
            _ if is_unseen(letter) || (has_latin && is_foreign(letter)) => write_out(letter, &mut shown),
            _ => shown.push(letter),
        }
    }
    shown.push('"');
    shown
}

/// One line of longer text, which may hold tabs.
pub(crate) fn line(text: &str) -> String {
    let mut shown = String::new();
    for letter in text.chars() {
        if letter != '\t' && is_unseen(letter) {
            write_out(letter, &mut shown);
        } else {
            shown.push(letter);
        }
    }
    shown
}

fn write_out(letter: char, into: &mut String) {
    if letter == '\r' {
        into.push_str("\\r");
    } else {
        // Writing to a String cannot fail.
        let _ = write!(into, "\\u{{{:x}}}", u32::from(letter));
    }
}

/// Whether a terminal shows nothing for it, blank space that is no space, or what it does to its neighbors.
fn is_unseen(letter: char) -> bool {
    is_hidden(letter)
        || (letter.is_whitespace() && letter != ' ')
        // Fillers, the blank of Braille, joiners and selectors of glyphs, marks of annotations.
        || matches!(letter, '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{2800}' | '\u{3164}')
        || matches!(letter, '\u{180b}'..='\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffd}')
        // Marks that stand on or over other letters, and what no standard gives a meaning.
        || matches!(letter, '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}')
        || matches!(letter, '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}' | '\u{e000}'..='\u{f8ff}')
        || matches!(letter, '\u{1d173}'..='\u{1d17a}' | '\u{f0000}'..='\u{10ffff}')
}

/// A letter that is not Latin: among Latin ones it may only look like one of them.
fn is_foreign(letter: char) -> bool {
    letter.is_alphanumeric() && !matches!(letter, '\0'..='\u{24f}' | '\u{1e00}'..='\u{1eff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_an_agent_writes_is_seen_as_it_is() {
        for (text, expected) in [
            ("src/main.rs", "src/main.rs"),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("a\" \"b", "\"a\\\" \\\"b\""),
            ("\\u{1b}", "\"\\\\u{1b}\""),
            ("résumé", "\"résumé\""),
            ("日本", "\"日本\""),
            ("\u{1b}[2Kls", "\"\\u{1b}[2Kls\""),
            ("\u{9b}2J", "\"\\u{9b}2J\""),
            ("rm\u{202e}txt.sh", "\"rm\\u{202e}txt.sh\""),
            ("\u{2066}x\u{2069}", "\"\\u{2066}x\\u{2069}\""),
            ("a\u{200b}b", "\"a\\u{200b}b\""),
            ("a\nAllow?", "\"a\\nAllow?\""),
            ("a\rb", "\"a\\rb\""),
            ("a\u{8}b", "\"a\\u{8}b\""),
            ("a\u{2028}b", "\"a\\u{2028}b\""),
            ("a\u{a0}b", "\"a\\u{a0}b\""),
            ("p\u{430}ypal.com", "\"p\\u{430}ypal.com\""),
            ("\u{43f}\u{430}", "\"\u{43f}\u{430}\""),
            ("a\u{336}b", "\"a\\u{336}b\""),
            ("a\u{e0041}", "\"a\\u{e0041}\""),
        ] {
            assert_eq!(word(text), expected, "{text:?}");
        }
        assert_eq!(line("\tif x:\r\u{1b}[1A\u{3164}é"), "\tif x:\\r\\u{1b}[1A\\u{3164}é");
    }

    proptest! {
        #[test]
        fn no_text_steers_a_terminal(text in any::<String>()) {
            for shown in [word(&text), line(&text)] {
                let steers = |letter: char| letter.is_control() && letter != '\t';
                prop_assert!(!shown.chars().any(steers), "{shown:?}");
                let turns = |letter| matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
                prop_assert!(!shown.chars().any(turns), "{shown:?}");
            }
        }

        #[test]
        fn two_words_never_look_alike(one in any::<String>(), other in any::<String>()) {
            prop_assert_eq!(word(&one) == word(&other), one == other);
        }
    }
}
