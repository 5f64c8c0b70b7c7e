//! Enough of Rust's lexical grammar to tell code from comments, literals and test modules.

/// The text with comments and the insides of literals blanked, line for line and column for column.
pub(crate) fn code_of(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (keep, blank) = next_token(rest, first, out.chars().next_back());
        out.push_str(&rest[..keep]);
        out.extend(
            rest[keep..keep + blank]
                .chars()
                .map(|character| if character == '\n' { '\n' } else { ' ' }),
        );
        rest = &rest[keep + blank..];
    }
    out
}

/// Code without the items that are only compiled for tests.
pub(crate) fn production_of(code: &str) -> String {
    if code.lines().any(|line| line.trim() == "#![cfg(test)]") {
        return "\n".repeat(code.lines().count());
    }
    let mut out = String::with_capacity(code.len());
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            out.push_str(line);
            out.push('\n');
            continue;
        }
        out.push('\n');
        let indent = indent_of(line);
        let mut inside_item = false;
        for skipped in lines.by_ref() {
            out.push('\n');
            let ends_in_line = skipped.ends_with([';', ',']) || skipped.ends_with('}');
            let attribute = skipped.trim_start().starts_with("#[");
            if !inside_item && (attribute || skipped.trim().is_empty()) {
                continue;
            }
            if indent_of(skipped) == indent && ends_in_line {
                break;
            }
            inside_item = true;
        }
    }
    out
}

/// Byte lengths of what stays and what is blanked at the start of `rest`.
fn next_token(rest: &str, first: char, previous: Option<char>) -> (usize, usize) {
    if rest.starts_with("//") {
        return (0, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (0, block_comment_length(rest));
    }
    let starts_word = !previous.is_some_and(is_word);
    if starts_word && let Some((open, hashes)) = raw_string_opening(rest) {
        let close = format!("\"{}", "#".repeat(hashes));
        let inside = rest[open..].find(&close).unwrap_or(rest.len() - open);
        return (open, inside + close.len().min(rest.len() - open - inside));
    }
    match first {
        '"' => (1, quoted_length(&rest[1..], '"')),
        '\'' if is_char_literal(rest) => (1, quoted_length(&rest[1..], '\'')),
        other => (other.len_utf8(), 0),
    }
}

/// Rust's block comments nest.
fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// Length of an opening such as `br##"` and its number of hashes.
fn raw_string_opening(rest: &str) -> Option<(usize, usize)> {
    let prefix = ["r", "br", "cr"].into_iter().find(|prefix| {
        rest.strip_prefix(prefix)
            .is_some_and(|tail| tail.starts_with(['"', '#']))
    })?;
    let hashes = rest[prefix.len()..]
        .bytes()
        .take_while(|byte| *byte == b'#')
        .count();
    let open = prefix.len() + hashes;
    rest[open..].starts_with('"').then_some((open + 1, hashes))
}

/// A lifetime has no closing quote after its first character.
fn is_char_literal(rest: &str) -> bool {
    let mut characters = rest.chars().skip(1);
    match characters.next() {
        Some('\\') => true,
        Some(_) => characters.next() == Some('\''),
        None => false,
    }
}

/// Length up to and with the closing quote.
fn quoted_length(inside: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in inside.char_indices() {
        if escaped {
            escaped = false;
        } else if character == '\\' {
            escaped = true;
        } else if character == quote {
            return at + quote.len_utf8();
        }
    }
    inside.len()
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

pub(crate) fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// True when `needle` stands in `line` with no word character touching its wordy ends.
pub(crate) fn names(line: &str, needle: &str) -> bool {
    let wordy_start = needle.chars().next().is_some_and(is_word);
    let wordy_end = needle.chars().next_back().is_some_and(is_word);
    line.match_indices(needle).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(is_word);
        let after = line[at + needle.len()..]
            .chars()
            .next()
            .is_some_and(is_word);
        let touched = wordy_start && before || wordy_end && after;
        !touched
    })
}

#[test]
fn comments_and_literals_are_blanked_in_place() {
    let text = "let a = \"todo!()\"; // todo!()\nlet b = r#\"x\"y\"#; /* a /* b */ c */ d();\n";
    let code = code_of(text);
    assert_eq!(code.len(), text.len());
    assert!(!code.contains("todo"), "{code}");
    assert!(
        code.contains("d();") && code.contains("let b = r#\""),
        "{code}"
    );
}

#[test]
fn lifetimes_are_not_literals() {
    let code = code_of("fn f<'a>(x: &'a str) -> char { '\"' } // '\nfn g() { '\\'' }");
    assert!(
        code.contains("fn f<'a>(x: &'a str)") && code.contains("fn g()"),
        "{code}"
    );
}

#[test]
fn items_for_tests_are_left_out_and_the_rest_stays() {
    let code =
        "a();\n#[cfg(test)]\nmod tests;\nb();\n#[cfg(test)]\nmod more {\n    c();\n}\nd();\n";
    let production = production_of(code);
    assert_eq!(production.lines().count(), code.lines().count());
    assert!(
        ["a();", "b();", "d();"]
            .iter()
            .all(|call| production.contains(call)),
        "{production}"
    );
    assert!(!production.contains("c();"), "{production}");
}

#[test]
fn names_are_whole_words() {
    assert!(names("use std::fs;", "std::fs"));
    assert!(!names("my_std::fs_other", "std::fs"));
    assert!(names("x.await?", ".await"));
    assert!(!names("eprintln!(1)", "println!"));
}
