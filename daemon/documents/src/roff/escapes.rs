//! The escapes of groff(7) that pages use.

/// Text without the escapes of groff(7).
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        let mut letters = after.chars();
        let Some(letter) = letters.next() else { return plain };
        rest = letters.as_str();
        match letter {
            // The rest of the line is a comment.
            '"' | '#' => return plain,
            '-' => plain.push('-'),
            'e' | '\\' | 'E' => plain.push('\\'),
            ' ' | '~' | '0' => plain.push(' '),
            '.' | '\'' | '`' => plain.push(letter),
            't' => plain.push('\t'),
            '(' | '[' | 'C' | '*' | 'f' | 'F' | 'm' | 'M' | 'n' | 's' | 'k' | 'g' | 'Y' => {
                let (name, after) = name(letter, rest);
                rest = after;
                if matches!(letter, '(' | '[' | 'C' | '*') {
                    plain.push_str(glyph(name));
                }
            }
            // With an argument between two equal letters: heights, widths, lines, and what is for some device.
            'h' | 'v' | 'w' | 'l' | 'L' | 'D' | 'X' | 'Z' | 'b' | 'o' | 'N' | 'H' | 'S' | 'x' | 'A' | 'B'
            | 'R' => {
                let mut inner = rest.chars();
                if let Some(quote) = inner.next() {
                    rest = inner.as_str().split_once(quote).map_or("", |(_, after)| after);
                }
            }
            // Such as `\&`, `\|` and `\c`, which have no width.
            _ => {}
        }
    }
    plain.push_str(rest);
    plain
}

/// The name after an escape: two letters after `(`, what stands in `[]`, or one letter; sizes are numbers with a sign.
fn name(escape: char, rest: &str) -> (&str, &str) {
    let of = |rest: &str, letters: usize| rest.char_indices().nth(letters).map_or(rest.len(), |(at, _)| at);
    match escape {
        '(' => rest.split_at(of(rest, 2)),
        '[' => rest.split_once(']').unwrap_or((rest, "")),
        'C' => rest.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).unwrap_or(("", rest)),
        's' => {
            let digits = rest.trim_start_matches(['+', '-']);
            let signs = rest.len() - digits.len();
            let count = digits.bytes().take(2).take_while(u8::is_ascii_digit).count();
            rest.split_at(signs + count)
        }
        _ => {
            if let Some(rest) = rest.strip_prefix('(') {
                rest.split_at(of(rest, 2))
            } else if let Some(rest) = rest.strip_prefix('[') {
                rest.split_once(']').unwrap_or((rest, ""))
            } else {
                rest.split_at(of(rest, 1))
            }
        }
    }
}

/// Of groff_char(7), those that pages use.
fn glyph(name: &str) -> &str {
    match name {
        "aq" | "cq" | "oq" | "Aq" => "'",
        "dq" | "lq" | "rq" | "Lq" | "Rq" => "\"",
        "em" | "en" | "hy" | "mi" | "Em" => "-",
        "bu" => "*",
        "rs" => "\\",
        "ti" | "tilde" => "~",
        "ha" | "caret" => "^",
        "ga" => "`",
        "co" => "(c)",
        "R" | "rg" => "(r)",
        "tm" | "Tm" => "(tm)",
        "la" => "<",
        "ra" => ">",
        "lB" => "[",
        "rB" => "]",
        "->" => "->",
        "<-" => "<-",
        "<=" => "<=",
        ">=" => ">=",
        "!=" => "!=",
        "+-" => "+-",
        "mu" => "x",
        "de" => "°",
        "ba" => "|",
        "sl" => "/",
        "at" => "@",
        "sh" => "#",
        "Do" => "$",
        "pc" => "·",
        "e'" | "'e" => "é",
        "u00E9" => "é",
        _ => "",
    }
}
