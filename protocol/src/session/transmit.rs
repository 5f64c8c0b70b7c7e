//! Bytes on their way to the carrier: a bounded batch of chunks for one vectored write.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes, BytesMut};

use crate::frame::Header;

/// Bytes handed to the carrier at once. It bounds what stands between an urgent frame and the
/// carrier; large enough that a bulk transfer costs few system calls.
const BUDGET: usize = 256 * 1024;

/// Payloads below this many bytes are copied behind their header rather than sent as a chunk of
/// their own: cheaper than another slice of a vectored write.
const COPY_BELOW: usize = 2048;

/// A batch of bytes to send, in order.
#[derive(Debug, Default)]
pub struct Transmit {
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
    length: usize,
}

impl Transmit {
    /// Whether there is nothing to send.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether it holds as much as one batch should.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.length >= BUDGET
    }

    /// Bytes to send.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Takes the chunks, for a channel that seals them.
    pub fn take_chunks(&mut self) -> impl Iterator<Item = Bytes> {
        self.seal_tail();
        self.length = 0;
        std::mem::take(&mut self.chunks).into_iter()
    }

    /// Fills `slices` for a vectored write; how many are filled.
    pub fn fill<'a>(&'a mut self, slices: &mut [IoSlice<'a>]) -> usize {
        self.seal_tail();
        let mut filled = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(chunk);
            filled += 1;
        }
        filled
    }

    /// Removes the first `count` bytes, which were sent.
    pub fn advance(&mut self, mut count: usize) {
        self.length -= count;
        while count > 0 {
            let Some(front) = self.chunks.front_mut() else {
                return;
            };
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.chunks.pop_front();
        }
    }

    pub(super) fn push(&mut self, frame: Bytes) {
        self.length += frame.len();
        self.append(frame);
    }

    pub(super) fn push_frame(&mut self, header: Header, payload: Bytes) {
        let header = header.encode();
        self.length += header.len() + payload.len();
        self.tail.extend_from_slice(&header);
        self.append(payload);
    }

    /// For bytes that are sealed already.
    pub fn push_sealed(&mut self, sealed: Vec<u8>) {
        self.length += sealed.len();
        self.seal_tail();
        self.chunks.push_back(Bytes::from(sealed));
    }

    fn append(&mut self, bytes: Bytes) {
        if bytes.len() < COPY_BELOW {
            self.tail.extend_from_slice(&bytes);
        } else {
            self.seal_tail();
            self.chunks.push_back(bytes);
        }
    }

    fn seal_tail(&mut self) {
        if !self.tail.is_empty() {
            let tail = self.tail.split().freeze();
            self.chunks.push_back(tail);
        }
    }
}
