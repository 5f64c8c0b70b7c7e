//! One stream: what it holds in each direction, its credit, its half-closes and its reset.

use std::{collections::VecDeque, time::Instant};

use bytes::{Bytes, BytesMut};

use super::{Read, Write, limits::MAX_WINDOW, windows::MOMENT};
use crate::error::{GoAwayCode, ResetCode};

/// Chunks below this many bytes are copied out of the carrier's read buffer. A slice keeps the
/// buffer alive whole for as long as the reader sleeps; at a quarter of the buffer's size, what a
/// sleeping reader holds stays within four windows.
const COPY_BELOW: usize = 32 * 1024;

/// Chunks that a stream queues for sending, whatever their size: what a chunk costs beside its
/// bytes is bounded too.
const MAX_CHUNKS: usize = 1024;

/// Whether the request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// We opened it and wait for the answer.
    Opening,
    /// The peer opened it and waits for our answer.
    Unanswered,
    /// Both ends send.
    Open,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) phase: Phase,
    /// Bytes of the request that the peer opened it with.
    pub(super) request: usize,
    /// Whether it is in the session's queue of streams with something to send.
    pub(super) ready: bool,
    outgoing: Outgoing,
    incoming: Incoming,
    reset: Option<ResetCode>,
    /// Nobody reads any more; it lives until what is queued is sent.
    detached: bool,
}

#[derive(Debug, Default)]
struct Outgoing {
    queue: VecDeque<Bytes>,
    queued: usize,
    credit: usize,
    finish: Finish,
    /// A write was turned away; the writer waits for an event.
    blocked: bool,
    /// Somebody waits until everything is sent.
    flushing: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Finish {
    #[default]
    Open,
    Queued,
    Sent,
}

#[derive(Debug, Default)]
struct Incoming {
    queue: VecDeque<Bytes>,
    /// Small chunks behind the queue, joined: ten thousand frames of a byte cost ten thousand
    /// bytes, not ten thousand allocations.
    tail: BytesMut,
    window: usize,
    /// Credit that the peer has left.
    credit: usize,
    /// Bytes consumed and not given back yet.
    consumed: usize,
    /// When the reader began to read a window's worth, and how much of it is given back.
    began: Option<Instant>,
    given_back: usize,
    /// Whether nothing was left to read at some time since then.
    emptied: bool,
    finished: bool,
    end_read: bool,
}

impl Stream {
    pub(super) fn opening(window: usize, now: Instant) -> Self {
        let mut stream = Self::new(Phase::Opening, 0);
        stream.promise(window, now);
        stream
    }

    pub(super) fn unanswered(credit: usize, request: usize) -> Self {
        let mut stream = Self::new(Phase::Unanswered, credit);
        stream.request = request;
        stream
    }

    fn new(phase: Phase, credit: usize) -> Self {
        Self {
            phase,
            request: 0,
            ready: false,
            outgoing: Outgoing {
                credit,
                ..Outgoing::default()
            },
            incoming: Incoming::default(),
            reset: None,
            detached: false,
        }
    }

    pub(super) const fn window(&self) -> usize {
        self.incoming.window
    }

    pub(super) const fn reset_by_peer(&self) -> Option<ResetCode> {
        self.reset
    }

    pub(super) const fn is_detached(&self) -> bool {
        self.detached
    }

    /// We accept it and promise `window`.
    pub(super) const fn accept(&mut self, window: usize, now: Instant) {
        self.phase = Phase::Open;
        self.promise(window, now);
    }

    const fn promise(&mut self, window: usize, now: Instant) {
        let incoming = &mut self.incoming;
        (incoming.window, incoming.credit) = (window, window);
        incoming.began = Some(now);
    }

    /// The peer accepts it and promises `window`.
    pub(super) fn accepted(&mut self, window: usize) -> Result<(), GoAwayCode> {
        if self.phase != Phase::Opening {
            return Err(GoAwayCode::WrongState);
        }
        self.phase = Phase::Open;
        self.add_credit(window)
    }

    pub(super) const fn add_credit(&mut self, count: usize) -> Result<(), GoAwayCode> {
        let credit = self.outgoing.credit.saturating_add(count);
        if credit > MAX_WINDOW {
            return Err(GoAwayCode::CreditOverflow);
        }
        self.outgoing.credit = credit;
        Ok(())
    }

    /// Takes `length` bytes of data off the peer's credit, before they have come.
    pub(super) const fn admit(&mut self, length: usize) -> Result<(), GoAwayCode> {
        if self.incoming.finished || matches!(self.phase, Phase::Opening) {
            return Err(GoAwayCode::WrongState);
        }
        match self.incoming.credit.checked_sub(length) {
            Some(credit) => {
                self.incoming.credit = credit;
                Ok(())
            }
            None => Err(GoAwayCode::CreditExceeded),
        }
    }

    /// Keeps bytes for the reader. Whether the reader may have been waiting for them.
    pub(super) fn deliver(&mut self, bytes: Bytes) -> bool {
        if self.reset.is_some() {
            return false;
        }
        let incoming = &mut self.incoming;
        if self.detached {
            incoming.consumed += bytes.len();
            return false;
        }
        let waiting = incoming.queue.is_empty() && incoming.tail.is_empty();
        if bytes.len() < COPY_BELOW {
            incoming.tail.extend_from_slice(&bytes);
        } else {
            if !incoming.tail.is_empty() {
                let tail = std::mem::take(&mut incoming.tail);
                incoming.queue.push_back(tail.freeze());
            }
            incoming.queue.push_back(bytes);
        }
        waiting
    }

    pub(super) const fn finish_from_peer(&mut self) -> Result<(), GoAwayCode> {
        if self.incoming.finished || !matches!(self.phase, Phase::Open) {
            return Err(GoAwayCode::WrongState);
        }
        // Behind a reset it says nothing.
        self.incoming.finished = self.reset.is_none();
        Ok(())
    }

    /// What came before the reset is still to be read, as it is from a TCP connection; what was to
    /// be sent is dropped.
    pub(super) fn reset_from_peer(&mut self, code: ResetCode) {
        self.reset.get_or_insert(code);
        self.outgoing.queue = VecDeque::new();
        self.outgoing.queued = 0;
    }

    pub(super) fn read(&mut self) -> Read {
        if let Some(next) = self.read_on() {
            return Read::Data(next);
        }
        let incoming = &mut self.incoming;
        match self.reset {
            // The end of a direction comes before the reset, and is told once.
            Some(code) if !incoming.finished || incoming.end_read => Read::Reset(code),
            _ if incoming.finished => {
                incoming.end_read = true;
                Read::End
            }
            _ => Read::Blocked,
        }
    }

    /// The next bytes that have arrived, if any.
    pub(super) fn read_on(&mut self) -> Option<Bytes> {
        let incoming = &mut self.incoming;
        let next = incoming
            .queue
            .pop_front()
            // Taken whole: a stream with nothing to read holds no buffer.
            .unwrap_or_else(|| std::mem::take(&mut incoming.tail).freeze());
        if next.is_empty() {
            return None;
        }
        incoming.consumed += next.len();
        incoming.emptied |= incoming.queue.is_empty() && incoming.tail.is_empty();
        Some(next)
    }

    /// Bytes to give back: in halves of the window, so that it costs few frames.
    pub(super) const fn credit_due(&self) -> Option<usize> {
        let incoming = &self.incoming;
        if incoming.finished || self.reset.is_some() || incoming.consumed * 2 < incoming.window {
            return None;
        }
        Some(incoming.consumed)
    }

    /// Whether a window's worth is read with what is to be given back now, and was read in a
    /// moment by a reader that had read everything.
    pub(super) fn kept_up(&self, now: Instant) -> bool {
        let incoming = &self.incoming;
        let quick = |began| now.saturating_duration_since(began) <= MOMENT;
        incoming.given_back + incoming.consumed >= incoming.window
            && incoming.began.is_some_and(quick)
            && incoming.emptied
            && !self.detached
    }

    /// Gives back what was consumed with a window that is `window` bytes from now on; the credit
    /// for it.
    pub(super) fn give_credit(&mut self, window: usize, now: Instant) -> usize {
        let incoming = &mut self.incoming;
        let count = (incoming.consumed + window).saturating_sub(incoming.window);
        incoming.given_back += incoming.consumed;
        if incoming.given_back >= incoming.window {
            incoming.began = Some(now);
            incoming.given_back = 0;
            incoming.emptied = incoming.queue.is_empty() && incoming.tail.is_empty();
        }
        (incoming.consumed, incoming.window) = (0, window);
        incoming.credit += count;
        count
    }

    pub(super) fn write(&mut self, bytes: Bytes, limit: usize) -> Write {
        if let Some(code) = self.reset {
            return Write::Reset(code);
        }
        if self.outgoing.finish != Finish::Open {
            return Write::Finished;
        }
        if self.outgoing.queued >= limit || self.outgoing.queue.len() >= MAX_CHUNKS {
            self.outgoing.blocked = true;
            return Write::Blocked;
        }
        self.outgoing.queued += bytes.len();
        if !bytes.is_empty() {
            self.outgoing.queue.push_back(bytes);
        }
        Write::Queued
    }

    pub(super) fn finish(&mut self) {
        if self.outgoing.finish == Finish::Open && self.reset.is_none() {
            self.outgoing.finish = Finish::Queued;
        }
    }

    pub(super) fn wants_transmit(&self) -> bool {
        if self.phase != Phase::Open || self.reset.is_some() {
            return false;
        }
        let data = !self.outgoing.queue.is_empty() && self.outgoing.credit > 0;
        let finish = self.outgoing.queue.is_empty() && self.outgoing.finish == Finish::Queued;
        data || finish
    }

    /// The next data frame's payload: what is queued first, as far as credit and the frame go.
    pub(super) fn next_data(&mut self, max_frame: usize) -> Option<Bytes> {
        if self.phase != Phase::Open || self.reset.is_some() {
            return None;
        }
        let outgoing = &mut self.outgoing;
        let front = outgoing.queue.front_mut()?;
        let count = front.len().min(max_frame).min(outgoing.credit);
        if count == 0 {
            return None;
        }
        let payload = front.split_to(count);
        if front.is_empty() {
            outgoing.queue.pop_front();
        }
        outgoing.queued -= count;
        outgoing.credit -= count;
        Some(payload)
    }

    pub(super) fn next_finish(&mut self) -> bool {
        let due = self.phase == Phase::Open
            && self.reset.is_none()
            && self.outgoing.queue.is_empty()
            && self.outgoing.finish == Finish::Queued;
        if due {
            self.outgoing.finish = Finish::Sent;
        }
        due
    }

    /// Whether a writer that was turned away should hear that there is room.
    pub(super) fn wants_room_event(&mut self, limit: usize) -> bool {
        let room = self.outgoing.queued < limit && self.outgoing.queue.len() < MAX_CHUNKS;
        let due = self.outgoing.blocked && room;
        if due {
            self.outgoing.blocked = false;
        }
        due
    }

    /// What waits to be sent, an end counted as a byte.
    pub(super) fn unsent(&self) -> usize {
        let end = self.outgoing.finish == Finish::Queued && self.reset.is_none();
        self.outgoing.queued + usize::from(end)
    }

    /// As [`unsent`](Self::unsent), for who waits for nothing to be left.
    pub(super) fn flush(&mut self) -> usize {
        let unsent = self.unsent();
        self.outgoing.flushing = unsent > 0;
        unsent
    }

    /// Whether who waits for that should hear that nothing is left.
    pub(super) fn wants_flushed_event(&mut self) -> bool {
        let due = self.outgoing.flushing && self.unsent() == 0;
        if due {
            self.outgoing.flushing = false;
        }
        due
    }

    /// Whether both directions ended and the reader knows.
    pub(super) fn is_done(&self) -> bool {
        self.reset.is_some() || (self.outgoing.finish == Finish::Sent && self.incoming.end_read)
    }

    /// Whether nothing of it is left to do and nobody holds it.
    pub(super) fn is_over(&self) -> bool {
        self.detached
            && (self.reset.is_some()
                || (self.outgoing.finish == Finish::Sent && self.incoming.finished))
    }

    /// Whether letting go of it now is clean once what is queued is sent.
    pub(super) fn may_drain(&self) -> bool {
        self.outgoing.finish != Finish::Open && self.incoming.end_read
    }

    /// What comes from now on counts as consumed, and so does what was not read: an end that is
    /// still writing gets to its own end.
    pub(super) fn detach(&mut self) {
        self.detached = true;
        let incoming = &mut self.incoming;
        let unread: usize = incoming.queue.drain(..).map(|chunk| chunk.len()).sum();
        incoming.consumed += unread + std::mem::take(&mut incoming.tail).len();
    }
}
