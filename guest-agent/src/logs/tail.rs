//! The last lines of a file, read from its end.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::line_text;

/// Bytes read at a time, from the end towards the beginning.
const BLOCK_BYTES: u64 = 32 * 1024;

/// Bytes that are read at most, whatever the number of lines: a bound on memory.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// The last lines of a file, oldest first, each at most [`super::MAX_LINE_BYTES`]. Reads no more of
/// the file than it needs, and at most 4 MiB. A last line without its end counts.
///
/// # Errors
/// When the file cannot be read.
pub fn tail(path: &Path, count: usize) -> std::io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let end = file.metadata()?.len();
    Ok(tail_until(&mut file, end, count, true)?.lines)
}

/// Lines, and where in the file the line after them begins.
pub(super) struct Tail {
    pub(super) lines: Vec<String>,
    pub(super) end: u64,
}

/// The last lines before `end`. A last line without its end is left for later unless `unfinished`.
pub(super) fn tail_until(
    file: &mut File,
    end: u64,
    count: usize,
    unfinished: bool,
) -> std::io::Result<Tail> {
    let mut bytes = Vec::new();
    let mut begin = end;
    // One line end more than lines: it is the end of the line before the first wanted one.
    while begin > 0 && end - begin < MAX_BYTES && line_ends(&bytes) <= count {
        let size = BLOCK_BYTES.min(begin);
        begin -= size;
        let mut block = vec![0; usize::try_from(size).unwrap_or(0)];
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(&mut block)?;
        block.extend_from_slice(&bytes);
        bytes = block;
    }
    if !unfinished {
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        bytes.truncate(whole);
    }
    let after = begin + bytes.len() as u64;
    if bytes.is_empty() {
        return Ok(Tail {
            lines: Vec::new(),
            end: after,
        });
    }
    let whole = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let mut lines: Vec<&[u8]> = whole.rsplit(|byte| *byte == b'\n').take(count).collect();
    lines.reverse();
    Ok(Tail {
        lines: lines.into_iter().map(line_text).collect(),
        end: after,
    })
}

fn line_ends(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail_of(content: &[u8], count: usize) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, content).unwrap();
        tail(&path, count).unwrap()
    }

    #[test]
    fn small_files() {
        assert!(tail_of(b"", 3).is_empty());
        assert!(tail_of(b"a\n", 0).is_empty());
        assert_eq!(tail_of(b"a\nb\nc\n", 2), ["b", "c"]);
        assert_eq!(tail_of(b"a\nb\nc", 2), ["b", "c"]);
        assert_eq!(tail_of(b"a\n\n", 2), ["a", ""]);
        assert_eq!(tail_of(b"a\nb\n", 20), ["a", "b"]);
    }

    #[test]
    fn across_blocks() {
        let content: String = (0..20_000).map(|line| format!("line {line}\n")).collect();
        let lines = tail_of(content.as_bytes(), 10_000);
        assert_eq!(lines.len(), 10_000);
        assert_eq!(lines.first().map(String::as_str), Some("line 10000"));
        assert_eq!(lines.last().map(String::as_str), Some("line 19999"));
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let lines = tail_of(&vec![b'x'; 6 * 1024 * 1024], 5);
        assert_eq!(lines.len(), 1);
        assert_eq!(
            lines.first().map(String::len),
            Some(super::super::MAX_LINE_BYTES)
        );
    }

    #[test]
    fn every_count_at_every_edge() {
        for size in [BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1] {
            let mut content = vec![b'a'; usize::try_from(size).unwrap() - 1];
            content.push(b'\n');
            content.extend_from_slice(b"last\n");
            assert_eq!(tail_of(&content, 1), ["last"]);
            assert_eq!(tail_of(&content, 2).len(), 2);
            assert_eq!(tail_of(&content, 3).len(), 2);
        }
    }
}
