//! A command written as one text: its words, without a shell.
//!
//! Words stand between spaces and tabs. `'…'` is taken as it is; in `"…"` a backslash keeps the
//! character behind it, and so it does outside quotes. Nothing is expanded: no variable, no `~`, no
//! pattern, no redirection.

use std::fmt::Write as _;

/// Why a text is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WordsError {
    /// A quote is not closed.
    OpenQuote,
    /// Nothing stands behind a backslash.
    TrailingBackslash,
    /// There is no word, or the first is empty.
    NoProgram,
    /// A NUL, which no argument can hold.
    Nul,
}

impl WordsError {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::OpenQuote => "a quote is not closed",
            Self::TrailingBackslash => "nothing follows the last backslash",
            Self::NoProgram => "no program is named",
            Self::Nul => "an argument cannot contain a NUL",
        }
    }
}

/// The words of `text`.
pub(super) fn split(text: &str) -> Result<Vec<String>, WordsError> {
    if text.contains('\0') {
        return Err(WordsError::Nul);
    }
    let mut words = Vec::new();
    // None between words; an empty quoted word is one.
    let mut word: Option<String> = None;
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next().ok_or(WordsError::OpenQuote)? {
                        '\'' => break,
                        inside => word.push(inside),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next().ok_or(WordsError::OpenQuote)? {
                        '"' => break,
                        '\\' => word.push(rest.next().ok_or(WordsError::OpenQuote)?),
                        inside => word.push(inside),
                    }
                }
            }
            '\\' => {
                let kept = rest.next().ok_or(WordsError::TrailingBackslash)?;
                word.get_or_insert_default().push(kept);
            }
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    match words.first() {
        Some(program) if !program.is_empty() => Ok(words),
        _ => Err(WordsError::NoProgram),
    }
}

/// Writes `words` so that [`split`] finds them again.
pub(super) fn join(words: &[String]) -> String {
    let mut text = String::new();
    for word in words {
        if !text.is_empty() {
            text.push(' ');
        }
        let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"_-+=:,./@%^".contains(&byte);
        if !word.is_empty() && word.bytes().all(harmless) {
            text.push_str(word);
        } else {
            // Writing to a string does not fail.
            let _ = write!(text, "'{}'", word.replace('\'', "'\\''"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_found_as_they_are_written() {
        for (text, words) in [
            (
                "incus exec k3s -- lkc-guest stdio",
                &["incus", "exec", "k3s", "--", "lkc-guest", "stdio"][..],
            ),
            ("  a\t b\n", &["a", "b"]),
            ("'a b' \"c d\" e\\ f", &["a b", "c d", "e f"]),
            ("x'y z'\"w\"", &["xy zw"]),
            ("a ''", &["a", ""]),
            (r#"a "\"\\" '\'"#, &["a", "\"\\", "\\"]),
            (
                "echo $HOME ~ * > x | y;",
                &["echo", "$HOME", "~", "*", ">", "x", "|", "y;"],
            ),
        ] {
            assert_eq!(split(text).unwrap(), words, "{text}");
        }
    }

    #[test]
    fn what_is_no_command_is_refused() {
        for (text, error) in [
            ("", WordsError::NoProgram),
            (" ", WordsError::NoProgram),
            ("'' x", WordsError::NoProgram),
            ("a 'b", WordsError::OpenQuote),
            ("a \"b\\", WordsError::OpenQuote),
            ("a \\", WordsError::TrailingBackslash),
            ("a\0b", WordsError::Nul),
        ] {
            assert_eq!(split(text), Err(error), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_joined_is_split_again(
            program in "[^\0]{1,8}",
            arguments in proptest::collection::vec("[^\0]{0,8}", 0..5),
        ) {
            let words: Vec<_> = std::iter::once(program).chain(arguments).collect();
            prop_assert_eq!(split(&join(&words)).unwrap(), words);
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            if let Ok(words) = split(&text) {
                prop_assert_eq!(split(&join(&words)).unwrap(), words);
            }
        }
    }
}
