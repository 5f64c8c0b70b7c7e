//! Bytes in pieces that go on as they are, by vectored writes.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes};

/// Pieces in order, none of them empty.
#[derive(Debug, Default)]
pub struct Chunks {
    queue: VecDeque<Bytes>,
    length: usize,
}

impl Chunks {
    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Bytes in all of them.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// How many they are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.queue.len()
    }

    /// Appends one.
    pub fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.length += chunk.len();
            self.queue.push_back(chunk);
        }
    }

    /// Fills `slices` for a vectored write; how many are filled.
    pub fn fill<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(chunk);
            filled += 1;
        }
        filled
    }

    /// Removes the first `count` bytes, which were written.
    pub fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let Some(front) = self.queue.front_mut() else {
                return;
            };
            if front.len() > count {
                self.length -= count;
                front.advance(count);
                return;
            }
            count -= front.len();
            self.length -= front.len();
            self.queue.pop_front();
        }
    }

    /// Takes them all.
    pub fn take(&mut self) -> impl Iterator<Item = Bytes> {
        self.length = 0;
        std::mem::take(&mut self.queue).into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_goes_off_the_front_wherever_it_ends() {
        let text = b"one two three";
        for cut in 0..=text.len() {
            let mut chunks = Chunks::default();
            for piece in [&text[..4], b"", &text[4..8], &text[8..]] {
                chunks.push(Bytes::copy_from_slice(piece));
            }
            assert_eq!((chunks.len(), chunks.count()), (text.len(), 3));
            chunks.advance(cut);
            let mut slices = [IoSlice::new(&[]); 4];
            let filled = chunks.fill(&mut slices);
            let left: Vec<u8> = slices[..filled]
                .iter()
                .flat_map(|slice| slice.to_vec())
                .collect();
            assert_eq!(left, text[cut..]);
            assert_eq!(
                (chunks.len(), chunks.is_empty()),
                (left.len(), left.is_empty())
            );
            let taken: Vec<u8> = chunks.take().flatten().collect();
            assert_eq!(taken, text[cut..]);
            assert!(chunks.is_empty());
        }
    }
}
