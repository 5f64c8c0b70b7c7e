//! Lines out of bytes as they come.

use super::{MAX_LINE_BYTES, line_text};

/// Holds the line that has begun, up to its bound.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    partial: Vec<u8>,
}

impl Splitter {
    /// Takes bytes and gives the lines that end in them.
    pub(crate) fn take(&mut self, bytes: &[u8], lines: &mut impl Extend<String>) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (content, ends) = match piece.strip_suffix(b"\n") {
                Some(content) => (content, true),
                None => (piece, false),
            };
            // One byte more than is kept, so that a line end before the bound is not mistaken.
            let room = (MAX_LINE_BYTES + 1).saturating_sub(self.partial.len());
            self.partial
                .extend_from_slice(&content[..content.len().min(room)]);
            if ends {
                lines.extend([line_text(&std::mem::take(&mut self.partial))]);
            }
        }
    }

    /// The line that has begun and will not end, if there is one.
    pub(crate) fn end(&mut self) -> Option<String> {
        let partial = std::mem::take(&mut self.partial);
        (!partial.is_empty()).then(|| line_text(&partial))
    }
}
