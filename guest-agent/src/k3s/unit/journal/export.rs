//! The journal's export format, taken apart as its bytes come. A message of any length takes no more
//! memory than is kept of it.

use crate::logs::{MAX_LINE_BYTES, line_text};

/// Bytes of a field that are kept: its name, `=`, and one byte more of the value than is shown.
const MAX_FIELD_BYTES: usize = 64 + 1 + MAX_LINE_BYTES + 1;

/// A message and where in the journal it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exported {
    pub(super) cursor: String,
    pub(super) text: String,
}

/// Holds the entry that has begun.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    place: Place,
    /// What is kept of the field that has begun: its line, or the value of one with a size.
    field: Vec<u8>,
    cursor: String,
    text: Option<String>,
}

/// Where in the format the next byte is.
#[derive(Debug, Default, Clone, Copy)]
enum Place {
    /// A line: `NAME=value`, the name of a value with a size, or the empty one behind an entry.
    #[default]
    Line,
    /// The size of a value, eight bytes, the least first.
    Size {
        is_message: bool,
        bytes: [u8; 8],
        known: usize,
    },
    /// A value and the line end behind it.
    Value { is_message: bool, left: u64 },
}

impl Decoder {
    /// Takes bytes and gives the entries that end in them. One without a message is left out.
    pub(super) fn take(&mut self, bytes: &[u8], entries: &mut impl Extend<Exported>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.place {
                Place::Line => self.take_line(rest, entries),
                Place::Size {
                    is_message,
                    bytes,
                    known,
                } => self.take_size(rest, is_message, bytes, known),
                Place::Value { is_message, left } => self.take_value(rest, is_message, left),
            };
        }
    }

    fn take_line<'a>(&mut self, bytes: &'a [u8], entries: &mut impl Extend<Exported>) -> &'a [u8] {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.keep(bytes);
            return &[];
        };
        self.keep(&bytes[..end]);
        let line = std::mem::take(&mut self.field);
        if line.is_empty() {
            let cursor = std::mem::take(&mut self.cursor);
            entries.extend(self.text.take().map(|text| Exported { cursor, text }));
        } else if let Some(equals) = line.iter().position(|byte| *byte == b'=') {
            let value = line_text(&line[equals + 1..]);
            match &line[..equals] {
                b"__CURSOR" => self.cursor = value,
                b"MESSAGE" => self.text = Some(value),
                _ => {}
            }
        } else {
            let is_message = line == b"MESSAGE";
            self.place = Place::Size {
                is_message,
                bytes: [0; 8],
                known: 0,
            };
        }
        &bytes[end + 1..]
    }

    fn take_size<'a>(
        &mut self,
        bytes: &'a [u8],
        is_message: bool,
        mut size: [u8; 8],
        known: usize,
    ) -> &'a [u8] {
        size[known] = bytes[0];
        self.place = if known + 1 < size.len() {
            Place::Size {
                is_message,
                bytes: size,
                known: known + 1,
            }
        } else {
            // With the line end.
            let left = u64::from_le_bytes(size).saturating_add(1);
            Place::Value { is_message, left }
        };
        &bytes[1..]
    }

    fn take_value<'a>(&mut self, bytes: &'a [u8], is_message: bool, left: u64) -> &'a [u8] {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let (value, rest) = bytes.split_at(count);
        self.keep(value);
        let left = left - count as u64;
        self.place = Place::Value { is_message, left };
        if left == 0 {
            let value = std::mem::take(&mut self.field);
            if is_message {
                self.text = Some(line_text(value.strip_suffix(b"\n").unwrap_or(&value)));
            }
            self.place = Place::Line;
        }
        rest
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = MAX_FIELD_BYTES.saturating_sub(self.field.len());
        self.field
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As journalctl writes it: a message as text, one with a line end in it, one without a message.
    fn journal() -> Vec<u8> {
        let mut bytes = b"__CURSOR=s=1;i=1\n__REALTIME_TIMESTAMP=7\nMESSAGE=one = 1\n\n".to_vec();
        bytes.extend(b"__CURSOR=s=1;i=2\nMESSAGE\n");
        bytes.extend(8_u64.to_le_bytes());
        bytes.extend(b"two\n\n=2\xff\n_PID=3\n\n");
        bytes.extend(b"__CURSOR=s=1;i=3\nOTHER\n");
        bytes.extend(2_u64.to_le_bytes());
        bytes.extend(b"\n\n\n\n__CURSOR=s=1;i=4\nMESSAGE=\n\n");
        bytes
    }

    fn taken(pieces: &[&[u8]]) -> Vec<(String, String)> {
        let (mut decoder, mut entries) = (Decoder::default(), Vec::new());
        for piece in pieces {
            decoder.take(piece, &mut entries);
        }
        let pair = |entry: Exported| (entry.cursor, entry.text);
        entries.into_iter().map(pair).collect()
    }

    #[test]
    fn entries_come_whole_wherever_the_bytes_are_cut() {
        let journal = journal();
        let expected = [
            ("s=1;i=1", "one = 1"),
            ("s=1;i=2", "two\n\n=2\u{fffd}"),
            ("s=1;i=4", ""),
        ]
        .map(|(cursor, text)| (cursor.to_owned(), text.to_owned()));
        for at in 0..=journal.len() {
            let (before, after) = journal.split_at(at);
            assert_eq!(taken(&[before, after]), expected, "cut at {at}");
        }
        let single: Vec<&[u8]> = journal.chunks(1).collect();
        assert_eq!(taken(&single), expected);
    }

    #[test]
    fn a_long_message_is_cut_and_takes_no_memory() {
        let mut decoder = Decoder::default();
        let mut entries = Vec::new();
        decoder.take(b"__CURSOR=c\nMESSAGE\n", &mut entries);
        let blocks = 1024_u64;
        let block = [b'x'; 64 * 1024];
        decoder.take(&(blocks * block.len() as u64).to_le_bytes(), &mut entries);
        for _ in 0..blocks {
            decoder.take(&block, &mut entries);
            assert!(decoder.field.capacity() < 4 * MAX_FIELD_BYTES);
        }
        decoder.take(b"\n\n", &mut entries);
        assert_eq!(entries[0].text.len(), MAX_LINE_BYTES);

        decoder.take(b"MESSAGE=", &mut entries);
        decoder.take(&block, &mut entries);
        decoder.take(b"\n\n", &mut entries);
        assert_eq!(entries[1].text.len(), MAX_LINE_BYTES);
        // A size that nobody has.
        decoder.take(
            b"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xffabc",
            &mut entries,
        );
        assert_eq!(entries.len(), 2);
    }
}
