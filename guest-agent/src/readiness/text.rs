//! Text from elsewhere, made fit for one line of a terminal.

/// Lines that a failure may carry.
pub const MAX_TAIL_LINES: usize = 20;

/// Characters of a detail or of a line of a tail; enough for an error with a path and a cause.
pub const MAX_DETAIL_CHARS: usize = 500;

/// The text as one line: control characters are escaped, what is too long is cut and marked.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(MAX_DETAIL_CHARS));
    let mut length = 0;
    for character in text.trim().chars() {
        let before = line.len();
        push_visible(&mut line, character);
        length += line[before..].chars().count();
        if length > MAX_DETAIL_CHARS {
            line.truncate(before);
            cut_to(&mut line, MAX_DETAIL_CHARS - 1);
            line.push('…');
            break;
        }
    }
    line
}

/// The last lines, each fit for a terminal.
#[must_use]
pub fn tail_lines(lines: &[String]) -> Vec<String> {
    let skipped = lines.len().saturating_sub(MAX_TAIL_LINES);
    lines[skipped..].iter().map(|line| one_line(line)).collect()
}

fn push_visible(line: &mut String, character: char) {
    match character {
        '\t' => line.push(' '),
        _ if character.is_control() || is_bidi_control(character) => {
            line.extend(character.escape_default());
        }
        _ => line.push(character),
    }
}

/// Characters that reorder what a terminal shows.
fn is_bidi_control(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

fn cut_to(line: &mut String, chars: usize) {
    if let Some((at, _)) = line.char_indices().nth(chars) {
        line.truncate(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(
            one_line("a\u{1b}[31mred\nb\tc\u{202e}"),
            "a\\u{1b}[31mred\\nb c\\u{202e}"
        );
    }

    #[test]
    fn what_is_too_long_is_cut_and_marked() {
        let line = one_line(&"x".repeat(10_000));
        assert_eq!(line.chars().count(), MAX_DETAIL_CHARS);
        assert!(line.ends_with('…'));
        let exact = "y".repeat(MAX_DETAIL_CHARS);
        assert_eq!(one_line(&exact), exact);
        assert!(one_line(&"\u{1b}".repeat(10_000)).chars().count() <= MAX_DETAIL_CHARS);
    }

    #[test]
    fn a_tail_keeps_its_end() {
        let lines: Vec<String> = (0..50).map(|number| number.to_string()).collect();
        let tail = tail_lines(&lines);
        assert_eq!(tail.len(), MAX_TAIL_LINES);
        assert_eq!(tail.last().map(String::as_str), Some("49"));
    }
}
