//! PEM, strictly: whole blocks of the expected kind and nothing beside them.

use base64::{Engine, engine::general_purpose::STANDARD};
use thiserror::Error;

/// Longest text read, in bytes. A chain of certificates has a tenth of it.
pub(super) const LONGEST: usize = 64 * 1024;
/// Certificates in one value.
const MOST_CERTIFICATES: usize = 8;

/// Why a text is not the PEM that it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PemError {
    /// It is too long to be read at all.
    #[error("it has {length} bytes, more than {LONGEST}")]
    TooLong {
        /// Bytes that it has.
        length: usize,
    },
    /// There is no block in it.
    #[error("it has no PEM block")]
    Empty,
    /// Something is before, between or after the blocks.
    #[error("line {line} is outside of a PEM block")]
    Outside {
        /// Line from 1.
        line: usize,
    },
    /// A block does not end, or ends as another kind than it began.
    #[error("the PEM block in line {line} has no matching end")]
    Unended {
        /// Line from 1.
        line: usize,
    },
    /// A block holds something else.
    #[error("the PEM block in line {line} is not a {expected}")]
    WrongKind {
        /// Line from 1.
        line: usize,
        /// `CERTIFICATE`, for one.
        expected: &'static str,
    },
    /// A block's content is not base64.
    #[error("the PEM block in line {line} is not base64")]
    NotBase64 {
        /// Line from 1.
        line: usize,
    },
    /// There are more blocks than can be right.
    #[error("it has {count} PEM blocks, more than {most}")]
    TooMany {
        /// How many.
        count: usize,
        /// How many are taken.
        most: usize,
    },
}

/// A block of which the kind is known.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) kind: &'static str,
    pub(super) der: Vec<u8>,
}

impl Block {
    /// The block as PEM.
    pub(super) fn to_pem(&self) -> String {
        encode(self.kind, &self.der)
    }
}

/// A certificate as PEM.
pub(super) fn encode_certificate(der: &[u8]) -> String {
    encode("CERTIFICATE", der)
}

fn encode(kind: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {kind}-----\n");
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        text.extend(line.iter().copied().map(char::from));
        text.push('\n');
    }
    text + &format!("-----END {kind}-----\n")
}

/// The contents of one or more certificates.
pub(super) fn certificates(text: &str) -> Result<Vec<Vec<u8>>, PemError> {
    let blocks = blocks(text, &["CERTIFICATE"], "CERTIFICATE", MOST_CERTIFICATES)?;
    Ok(blocks.into_iter().map(|block| block.der).collect())
}

/// The one private key.
pub(super) fn private_key(text: &str) -> Result<Block, PemError> {
    let kinds = ["EC PRIVATE KEY", "RSA PRIVATE KEY", "PRIVATE KEY"];
    blocks(text, &kinds, "PRIVATE KEY", 1)?
        .pop()
        .ok_or(PemError::Empty)
}

fn blocks(
    text: &str,
    kinds: &[&'static str],
    expected: &'static str,
    most: usize,
) -> Result<Vec<Block>, PemError> {
    if text.len() > LONGEST {
        return Err(PemError::TooLong { length: text.len() });
    }
    let mut lines = text.lines().map(str::trim_ascii_end).zip(1..);
    let mut blocks = Vec::new();
    while let Some((first, line)) = lines.next() {
        if first.is_empty() {
            continue;
        }
        let Some(label) = label(first, "BEGIN") else {
            return Err(PemError::Outside { line });
        };
        let kind = kinds.iter().find(|kind| **kind == label);
        let kind = *kind.ok_or(PemError::WrongKind { line, expected })?;
        let mut base64 = String::new();
        loop {
            match lines.next() {
                None => return Err(PemError::Unended { line }),
                Some((last, _)) if self::label(last, "END") == Some(kind) => break,
                Some((part, _)) if part.starts_with('-') => return Err(PemError::Unended { line }),
                Some((part, _)) => base64.push_str(part),
            }
        }
        let der = STANDARD
            .decode(base64)
            .map_err(|_| PemError::NotBase64 { line })?;
        blocks.push(Block { kind, der });
    }
    match blocks.len() {
        0 => Err(PemError::Empty),
        count if count > most => Err(PemError::TooMany { count, most }),
        _ => Ok(blocks),
    }
}

fn label<'l>(line: &'l str, edge: &str) -> Option<&'l str> {
    line.strip_prefix("-----")?
        .strip_prefix(edge)?
        .strip_prefix(' ')?
        .strip_suffix("-----")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_survive_being_written_and_read() {
        let pem = encode("CERTIFICATE", &[7; 100]) + "\r\n" + &encode("CERTIFICATE", b"x");
        assert_eq!(certificates(&pem), Ok(vec![vec![7; 100], b"x".to_vec()]));
        let key = Block {
            kind: "EC PRIVATE KEY",
            der: vec![1],
        };
        assert!(private_key(&key.to_pem()) == Ok(key));
    }

    #[test]
    fn what_is_not_a_block_is_refused() {
        let good = encode("CERTIFICATE", b"x");
        for (text, error) in [
            (String::new(), PemError::Empty),
            ("hello".to_owned(), PemError::Outside { line: 1 }),
            (good.clone() + "users:\n", PemError::Outside { line: 4 }),
            (good.replace("END", "BEGIN"), PemError::Unended { line: 1 }),
            (
                good.replace("-----END CERTIFICATE-----", ""),
                PemError::Unended { line: 1 },
            ),
            (
                good.replace("END CERTIFICATE", "END X"),
                PemError::Unended { line: 1 },
            ),
            (
                good.replace("eA==", "e\u{1b}[2J"),
                PemError::NotBase64 { line: 1 },
            ),
            (
                good.replace("eA==", "eA== rm -rf"),
                PemError::NotBase64 { line: 1 },
            ),
            (good.repeat(9), PemError::TooMany { count: 9, most: 8 }),
            (
                "\n".repeat(10 << 20),
                PemError::TooLong { length: 10 << 20 },
            ),
            (
                encode("PRIVATE KEY", b"x"),
                PemError::WrongKind {
                    line: 1,
                    expected: "CERTIFICATE",
                },
            ),
        ] {
            assert_eq!(certificates(&text), Err(error));
        }
        let two = encode("PRIVATE KEY", b"x").repeat(2);
        assert!(private_key(&two) == Err(PemError::TooMany { count: 2, most: 1 }));
    }
}
