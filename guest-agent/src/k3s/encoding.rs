//! Base64 and PEM, read strictly and written canonically.

use k8s_openapi::ByteString;
use serde_json::Value;
use thiserror::Error;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EncodingError {
    /// Not base64.
    #[error("not base64")]
    Base64,
    /// Not text.
    #[error("not text")]
    NotText,
    /// No block at all.
    #[error("no PEM block")]
    NoBlock,
    /// A block that does not end, or ends as something else.
    #[error("a PEM block without its end")]
    Unclosed,
    /// A block of another kind.
    #[error("a PEM block of another kind than {expected}")]
    Label {
        /// What was looked for.
        expected: &'static str,
    },
}

/// The bytes that base64 stands for; white space between is allowed.
///
/// # Errors
/// When it is not base64.
pub(crate) fn decode_base64(text: &str) -> Result<Vec<u8>, EncodingError> {
    let packed: String = text
        .chars()
        .filter(|character| !character.is_ascii_whitespace())
        .collect();
    let ByteString(bytes) =
        serde_json::from_value(Value::String(packed)).map_err(|_| EncodingError::Base64)?;
    Ok(bytes)
}

/// Base64 with padding.
pub(crate) fn encode_base64(bytes: &[u8]) -> String {
    match serde_json::to_value(ByteString(bytes.to_vec())) {
        Ok(Value::String(text)) => text,
        _ => String::new(),
    }
}

/// One PEM block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PemBlock {
    /// What stands in its first line.
    pub label: String,
    /// Content.
    pub der: Vec<u8>,
}

/// The blocks of a PEM text. What stands between them is left out.
///
/// # Errors
/// When there is none, or one that is broken.
pub(crate) fn decode_pem(text: &str) -> Result<Vec<PemBlock>, EncodingError> {
    let mut blocks = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(label) = delimiter(line, "-----BEGIN ") else {
            continue;
        };
        let mut body = String::new();
        loop {
            let line = lines.next().ok_or(EncodingError::Unclosed)?;
            match delimiter(line, "-----END ") {
                Some(end) if end == label => break,
                Some(_) => return Err(EncodingError::Unclosed),
                None => body.push_str(line),
            }
        }
        let der = decode_base64(&body)?;
        if der.is_empty() {
            return Err(EncodingError::NoBlock);
        }
        blocks.push(PemBlock {
            label: label.to_owned(),
            der,
        });
    }
    if blocks.is_empty() {
        Err(EncodingError::NoBlock)
    } else {
        Ok(blocks)
    }
}

/// The blocks as text of our own making: nothing of the text that they came from is in it.
pub(crate) fn encode_pem(blocks: &[PemBlock]) -> String {
    let mut text = String::new();
    for block in blocks {
        text.push_str(&format!("-----BEGIN {}-----\n", block.label));
        let body = encode_base64(&block.der);
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(64));
            text.push_str(line);
            text.push('\n');
            rest = more;
        }
        text.push_str(&format!("-----END {}-----\n", block.label));
    }
    text
}

fn delimiter<'line>(line: &'line str, prefix: &str) -> Option<&'line str> {
    line.strip_prefix(prefix)?.strip_suffix("-----")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let blocks = vec![
            PemBlock {
                label: "CERTIFICATE".to_owned(),
                der: (0..=255).collect(),
            },
            PemBlock {
                label: "EC PRIVATE KEY".to_owned(),
                der: vec![7; 48],
            },
        ];
        let text = encode_pem(&blocks);
        assert!(text.lines().all(|line| line.len() <= 64));
        assert_eq!(decode_pem(&text), Ok(blocks));
    }

    #[test]
    fn text_between_blocks_is_left_out() {
        let text = "hello \u{1b}]0;x\u{7}\n-----BEGIN CERTIFICATE-----\r\nAAEC\r\n-----END CERTIFICATE-----\nbye";
        let blocks = decode_pem(text).unwrap();
        assert_eq!(
            encode_pem(&blocks),
            "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n"
        );
    }

    #[test]
    fn broken_texts() {
        for (text, error) in [
            ("", EncodingError::NoBlock),
            ("-----BEGIN CERTIFICATE-----\n", EncodingError::Unclosed),
            (
                "-----BEGIN A-----\nAAEC\n-----END B-----",
                EncodingError::Unclosed,
            ),
            (
                "-----BEGIN A-----\n!!\n-----END A-----",
                EncodingError::Base64,
            ),
            ("-----BEGIN A-----\n-----END A-----", EncodingError::NoBlock),
        ] {
            assert_eq!(decode_pem(text), Err(error), "{text:?}");
        }
    }
}
