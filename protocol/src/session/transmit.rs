//! Bytes on their way to the carrier: a bounded batch of chunks for one vectored write.

use std::io::IoSlice;

use bytes::{Bytes, BytesMut};

use crate::{chunks::Chunks, frame::Header};

/// Bytes handed to the carrier at once. It bounds what stands between an urgent frame and the
/// carrier; large enough that a bulk transfer costs few system calls.
const BUDGET: usize = 256 * 1024;

/// Payloads below this many bytes are copied behind their header rather than sent as a chunk of
/// their own: cheaper than another slice of a vectored write.
const COPY_BELOW: usize = 2048;

/// A batch of bytes to send, in order.
#[derive(Debug, Default)]
pub struct Transmit {
    chunks: Chunks,
    /// Small ones behind them, joined.
    tail: BytesMut,
}

impl Transmit {
    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it holds as much as one batch should.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() >= BUDGET
    }

    /// Bytes to send.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunks.len() + self.tail.len()
    }

    /// Takes the chunks, for a channel that seals them.
    pub fn take_chunks(&mut self) -> impl Iterator<Item = Bytes> {
        self.end_tail();
        self.chunks.take()
    }

    /// Fills `slices` for a vectored write; how many are filled.
    pub fn fill<'a>(&'a mut self, slices: &mut [IoSlice<'a>]) -> usize {
        self.end_tail();
        self.chunks.fill(slices)
    }

    /// Removes the first `count` bytes, which were sent.
    pub fn advance(&mut self, count: usize) {
        self.chunks.advance(count);
    }

    pub(super) fn push(&mut self, frame: Bytes) {
        self.append(frame);
    }

    pub(super) fn push_frame(&mut self, header: Header, payload: Bytes) {
        self.tail.extend_from_slice(&header.encode());
        self.append(payload);
    }

    /// For bytes that are sealed already.
    pub fn push_sealed(&mut self, sealed: Vec<u8>) {
        self.end_tail();
        self.chunks.push(Bytes::from(sealed));
    }

    fn append(&mut self, bytes: Bytes) {
        if bytes.len() < COPY_BELOW {
            self.tail.extend_from_slice(&bytes);
        } else {
            self.end_tail();
            self.chunks.push(bytes);
        }
    }

    fn end_tail(&mut self) {
        self.chunks.push(self.tail.split().freeze());
    }
}
