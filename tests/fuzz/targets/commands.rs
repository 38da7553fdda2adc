//! The judge of arguments: patterns survive being written, an exact shape allows one command and no other, and no
//! option is allowed that no pattern spells.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skynet_policy::commands::Shape;

/// What a mutation seldom finds by itself.
const KNOWN: [&str; 32] = [
    "*", "**", "<text>", "<number>", "<path>", "<path>...", "--", "-x", "--flag", "--flag=*", "--flag=<path>", "--flag *",
    "-j<number>", "-[abc]", "-abc", "a|b", "NAME=*", "NAME=value", "=*", "=", "-", "../x", "/etc/passwd", "x/../..", "@file",
    "+cmd", "-n <number>", "-n", "12", "host:path", "--fl", "--flag=value",
];

/// Lines of three parts: words, options and arguments.
fn parts(raw: &str) -> [Vec<String>; 3] {
    let mut parts = [Vec::new(), Vec::new(), Vec::new()];
    for line in raw.split('\n').take(48) {
        let mut letters = line.chars();
        let part = match letters.next() {
            Some('w') => 0,
            Some('o') => 1,
            _ => 2,
        };
        let rest = letters.as_str();
        let text = match rest.strip_prefix('#').and_then(|number| number.parse::<usize>().ok()) {
            Some(number) => KNOWN[number % KNOWN.len()].to_owned(),
            None => rest.to_owned(),
        };
        parts[part].push(text);
    }
    parts
}

/// By its text alone: what is left after `..` is below.
fn is_inside(path: &str) -> bool {
    let mut depth = 0_i64;
    !path.starts_with('/')
        && path.split('/').all(|part| {
            depth += match part {
                "" | "." => 0,
                ".." => -1,
                _ => 1,
            };
            depth >= 0
        })
}

/// Whether some pattern spells the beginning of this option.
fn is_spelled(argument: &str, patterns: &[String]) -> bool {
    patterns.iter().any(|pattern| {
        let pattern = pattern.strip_prefix('=').unwrap_or(pattern);
        let letters = pattern.strip_prefix("-[").and_then(|rest| rest.strip_suffix(']'));
        letters.is_some_and(|letters| argument.chars().skip(1).all(|one| letters.contains(one)))
            || pattern == argument
            || pattern.split('|').any(|choice| choice == argument)
            || pattern.split(['*', '<', '|', ' ']).next().is_some_and(|name| name.len() > 1 && argument.starts_with(name))
            || (pattern == "-<number>" && argument.chars().skip(1).all(|one| one.is_ascii_digit()))
            // `--flag=a|b`
            || pattern.split_once('=').is_some_and(|(name, values)| {
                argument.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')).is_some_and(|value| values.split('|').any(|one| one == value))
            })
    })
}

fuzz_target!(|raw: &str| {
    let [words, options, arguments] = parts(raw);
    let argv: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let Ok(shape) = Shape::parse(&words, &options) {
        let (again_words, again_options) = shape.written();
        let again = Shape::parse(&again_words, &again_options).expect("what is written can be read");
        assert_eq!(shape, again);
        let gap = shape.gap(&argv, &is_inside);
        assert_eq!(gap, again.gap(&argv, &is_inside));
        if gap.is_none() {
            let patterns = [words, options].concat();
            for argument in argv.iter().filter(|argument| argument.starts_with('-')) {
                assert!(is_spelled(argument, &patterns), "{argument:?} is allowed by {patterns:?}");
            }
            assert!(!argv.iter().any(|argument| argument.contains('\0')));
        }
    }
    if argv.iter().any(|argument| argument.contains('\0')) {
        return;
    }
    let exact = Shape::exactly(&argv);
    assert_eq!(exact.gap(&argv, &is_inside), None);
    let (words, options) = exact.written();
    assert_eq!(Shape::parse(&words, &options).as_ref(), Ok(&exact));
    for at in 0..=argv.len() {
        for more in ["", "x", "-x", "--", argv.first().copied().unwrap_or("y")] {
            let mut longer = argv.clone();
            longer.insert(at, more);
            assert!(exact.gap(&longer, &is_inside).is_some());
        }
        let mut shorter = argv.clone();
        if at < shorter.len() {
            shorter.remove(at);
            assert!(exact.gap(&shorter, &is_inside).is_some());
        }
    }
});
