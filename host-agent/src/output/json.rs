//! JSON that is harmless on a terminal too: only ASCII, everything else as `\u…`.

use serde::Serialize;

use crate::error::{CommandError, Kind};

/// One line.
pub(super) fn line(value: &impl Serialize) -> Result<String, CommandError> {
    written(serde_json::to_string(value))
}

/// Several lines, indented.
pub(super) fn document(value: &impl Serialize) -> Result<String, CommandError> {
    written(serde_json::to_string_pretty(value))
}

fn written(json: serde_json::Result<String>) -> Result<String, CommandError> {
    json.map(|text| to_ascii(&text))
        .map_err(|error| CommandError::new(Kind::Bug, error))
}

/// Outside of strings JSON has ASCII only, so what is not may be escaped wherever it stands.
fn to_ascii(json: &str) -> String {
    let mut ascii = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '\x7f' => ascii.push_str("\\u007f"),
            plain if plain.is_ascii() => ascii.push(plain),
            other => {
                let mut units = [0; 2];
                for unit in other.encode_utf16(&mut units) {
                    ascii.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_escaped_and_means_the_same() {
        let hostile = "\u{9b}31m \u{1b}[2J \u{7f} \u{202e} ✓ 🕹 \" \\";
        let text = line(&hostile).unwrap();
        assert!(
            text.bytes().all(|byte| (0x20..0x7f).contains(&byte)),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), hostile);
    }
}
