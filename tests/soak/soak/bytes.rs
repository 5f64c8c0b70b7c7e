//! The bytes of each direction of each stream, known without keeping them.

use super::plan::{Plan, Random};

/// Bytes after which a direction begins again. A prime, so that what is lost or doubled in whole
/// buffers shows.
const PERIOD: usize = 1_048_573;

/// Which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Up,
    Down,
}

/// The bytes of a run.
pub(crate) struct Bytes {
    seed: u64,
    table: Vec<u8>,
}

/// One direction of a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sequence<'a> {
    table: &'a [u8],
    begin: usize,
    header: Option<[u8; Plan::HEADER]>,
}

impl Bytes {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed, u64::MAX);
        let mut table = Vec::with_capacity(PERIOD + 8);
        while table.len() < PERIOD {
            table.extend_from_slice(&random.next().to_le_bytes());
        }
        table.truncate(PERIOD);
        Self { seed, table }
    }

    pub(crate) fn of(&self, number: u64, way: Way) -> Sequence<'_> {
        let salt = match way {
            Way::Up => 1,
            Way::Down => 2,
        };
        let begin = Random::new(self.seed ^ salt, number).below(PERIOD as u64);
        Sequence {
            table: &self.table,
            begin: usize::try_from(begin).unwrap_or_default(),
            header: (way == Way::Up).then(|| number.to_be_bytes()),
        }
    }
}

impl Sequence<'_> {
    /// Bytes from `offset` on: at least one and at most `most`.
    pub(crate) fn at(&self, offset: u64, most: usize) -> &[u8] {
        if let Some(header) = &self.header
            && let Some(rest) = usize::try_from(offset)
                .ok()
                .and_then(|from| header.get(from..))
            && !rest.is_empty()
        {
            return rest.get(..most).unwrap_or(rest);
        }
        let place = (self.begin as u64 + offset) % PERIOD as u64;
        let place = usize::try_from(place).unwrap_or_default();
        let rest = self.table.get(place..).unwrap_or_default();
        rest.get(..most).unwrap_or(rest)
    }

    /// Whether `bytes` are those from `offset` on.
    pub(crate) fn are(&self, mut offset: u64, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let expected = self.at(offset, bytes.len());
            let (first, rest) = bytes.split_at(expected.len());
            if first != expected {
                return false;
            }
            offset += expected.len() as u64;
            bytes = rest;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_is_the_same_however_it_is_cut_and_like_no_other() {
        let bytes = Bytes::new(3);
        let up = bytes.of(9, Way::Up);
        let mut whole = Vec::new();
        while whole.len() < 3 * PERIOD {
            let next = up.at(whole.len() as u64, 10_007).to_vec();
            whole.extend(next);
        }
        assert_eq!(whole[..8], 9_u64.to_be_bytes());
        assert!(up.are(0, &whole));
        assert!(up.are(1234, &whole[1234..]));
        assert!(!up.are(1235, &whole[1234..]));
        assert!(!bytes.of(9, Way::Down).are(8, &whole[8..]));
        assert!(!bytes.of(10, Way::Up).are(8, &whole[8..]));
        whole[2_000_000] ^= 1;
        assert!(!up.are(0, &whole));
    }
}
