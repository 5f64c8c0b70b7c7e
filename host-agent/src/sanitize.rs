//! Text from a guest made safe for a terminal, a log and a person.

/// Longest text let through, in characters; the rest is cut with `…`.
pub const MAX_CHARS: usize = 512;

/// Makes `text` one harmless line: control, bidirectional and zero-width characters become
/// `\u{…}`, line breaks become spaces, and what is over [`MAX_CHARS`] is cut off.
#[must_use]
pub fn line(text: &str) -> String {
    let mut safe = String::with_capacity(text.len().min(MAX_CHARS));
    for (count, character) in text.trim_end().chars().enumerate() {
        if count == MAX_CHARS {
            safe.push('…');
            break;
        }
        match character {
            '\t' | '\n' | '\r' => safe.push(' '),
            unsafe_one if is_unsafe(unsafe_one) => safe.extend(unsafe_one.escape_unicode()),
            harmless => safe.push(harmless),
        }
    }
    safe
}

/// Whether all of `text` may reach a terminal as it is.
#[must_use]
pub fn is_harmless(text: &str) -> bool {
    !text.contains(is_unsafe)
}

fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_cannot_reach_the_terminal() {
        assert_eq!(line("a\u{1b}[2Jb\u{7}"), "a\\u{1b}[2Jb\\u{7}");
        assert_eq!(line("k3s\u{202e}ydaer\nnext"), "k3s\\u{202e}ydaer next");
        assert_eq!(line("\u{9b}31m"), "\\u{9b}31m");
        assert!(is_harmless("/home/ä b/kubeconfig"));
        assert!(!is_harmless("a\u{7f}b"));
    }

    #[test]
    fn long_text_is_cut() {
        let cut = line(&"x".repeat(10_000));
        assert_eq!(cut.chars().count(), MAX_CHARS + 1);
        assert!(cut.ends_with('…'));
    }
}
