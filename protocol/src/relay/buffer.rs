//! Buffers that are used again: a fresh one costs a page fault for every four kilobytes.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// Bytes of a buffer: two of them fit the second-level cache of a core, and fewer would mean more
/// system calls. Measured beside 64 KiB and 256 KiB, see ARCHITECTURE.md.
pub(super) const SIZE: usize = 128 * 1024;

/// Buffers that are kept for the next to need one, per process.
const KEPT: usize = 16;

/// What a buffer holds is copied out of it when it is no more than this, so that bytes which wait
/// keep at most four times their memory.
const FEW: usize = SIZE / 4;

static KEPT_BUFFERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// An empty buffer at first, with the capacity [`SIZE`]. It goes back when it is dropped.
#[derive(Debug)]
pub(super) struct Buffer(Vec<u8>);

impl Buffer {
    pub(super) fn take() -> Self {
        let kept = kept().pop();
        Self(kept.unwrap_or_else(|| Vec::with_capacity(SIZE)))
    }

    pub(super) const fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// What it holds, without a copy where that pays.
    pub(super) fn freeze(self) -> Bytes {
        if self.0.len() <= FEW {
            Bytes::copy_from_slice(&self.0)
        } else {
            Bytes::from_owner(self)
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut kept = kept();
        if kept.len() < KEPT {
            let mut bytes = std::mem::take(&mut self.0);
            bytes.clear();
            kept.push(bytes);
        }
    }
}

fn kept() -> std::sync::MutexGuard<'static, Vec<Vec<u8>>> {
    KEPT_BUFFERS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_buffer_is_handed_on_and_a_few_bytes_are_copied() {
        let mut buffer = Buffer::take();
        buffer.bytes_mut().resize(SIZE, 7);
        let place = buffer.as_ref().as_ptr();
        let bytes = buffer.freeze();
        assert_eq!((bytes.len(), bytes.as_ptr()), (SIZE, place));
        let mut buffer = Buffer::take();
        buffer.bytes_mut().extend_from_slice(b"few");
        let place = buffer.as_ref().as_ptr();
        let few = buffer.freeze();
        assert_eq!(&few[..], b"few");
        assert_ne!(few.as_ptr(), place);
    }

    #[test]
    fn one_that_was_used_comes_back_empty() {
        for _ in 0..KEPT * 2 {
            let mut buffer = Buffer::take();
            assert!(buffer.as_ref().is_empty());
            assert_eq!(buffer.bytes_mut().capacity(), SIZE);
            buffer.bytes_mut().extend_from_slice(&[1; 100]);
        }
        assert!(kept().len() <= KEPT);
    }
}
