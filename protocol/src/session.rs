//! A session: the streams of a link and their credit. Sans-I/O. `PROTOCOL.md §5`.
//!
//! ```text
//!   carrier bytes ──▶ handle_bytes ─┐                ┌─▶ poll_event ──▶ whoever waits
//!   the clock     ──▶ handle_timeout├──▶  Session ──▶┤
//!   open, accept, write, read …   ──┘                └─▶ poll_transmit ──▶ carrier bytes
//! ```
//!
//! What keeps one stream from harming another: every stream has a window of its own and there is
//! none for the link, so reading the carrier never waits for a reader; credit is given back when
//! bytes are consumed, not when they arrive; control frames go before data, data goes in small
//! frames round robin; ids are never reused, so a frame for a stream that is gone is told from one
//! for a stream that never was, without remembering the dead.

mod inbound;
mod limits;
mod stream;
mod transmit;
mod windows;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use bytes::Bytes;

pub use limits::Limits;
pub use transmit::Transmit;

use crate::{
    error::{GoAwayCode, ProtocolError, Refusal, ResetCode},
    frame::{self, Header, Kind, StreamId},
    hello::{Hello, Role},
};
use limits::RateLimit;
use stream::{Phase, Stream};
use windows::Windows;

/// What happened on a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The peer opened a stream; answer with [`Session::accept`] or [`Session::refuse`].
    Opened {
        /// The stream.
        stream: StreamId,
        /// Its request, not decoded.
        request: Bytes,
    },
    /// The peer accepted our stream.
    Accepted {
        /// The stream.
        stream: StreamId,
        /// Its answer, not decoded.
        answer: Bytes,
    },
    /// The peer refused our stream.
    Refused {
        /// The stream.
        stream: StreamId,
        /// Why.
        refusal: Refusal,
    },
    /// A read makes progress: bytes, the end, or a reset.
    Readable(StreamId),
    /// A write makes progress: room, or a reset.
    Writable(StreamId),
    /// The peer ends the link.
    GoAway {
        /// Why.
        code: GoAwayCode,
        /// For people; sanitise before printing.
        text: String,
    },
}

/// What a read gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// Bytes in order.
    Data(Bytes),
    /// The peer finished; everything was read.
    End,
    /// Nothing yet: wait for [`Event::Readable`].
    Blocked,
    /// The stream is over; what the peer sent before its reset was read.
    Reset(ResetCode),
}

/// What a write gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// The bytes are queued.
    Queued,
    /// The queue is full: wait for [`Event::Writable`].
    Blocked,
    /// The stream is over.
    Reset(ResetCode),
    /// This direction was finished by us.
    Finished,
}

/// Why a stream cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The peer's limit of streams is reached.
    #[error("the link has as many streams open as the other end allows")]
    TooManyStreams,
    /// The link is over, or out of stream numbers.
    #[error("the link is down")]
    Closed,
}

/// The state of a link's streams.
#[derive(Debug)]
pub struct Session {
    role: Role,
    limits: Limits,
    peer_max_frame: usize,
    peer_max_streams: usize,
    streams: BTreeMap<StreamId, Stream>,
    opened_by_us: usize,
    next_id: Option<u32>,
    last_peer_id: u32,
    unanswered: usize,
    /// Bytes of the requests that wait for their answer.
    unanswered_bytes: usize,
    windows: Windows,
    /// Control frames to send, in order. What the peer makes us say by opening streams is bounded
    /// by [`Limits::max_pending_control`], the rest by the streams that there can be.
    control: VecDeque<Bytes>,
    /// Bytes of those about streams that the peer opened.
    answer_bytes: usize,
    pong: Option<[u8; 8]>,
    /// Streams with something to send, each at most once, in turn.
    ready: VecDeque<StreamId>,
    events: VecDeque<Event>,
    partial: Option<(StreamId, usize)>,
    opens: RateLimit,
    resets: RateLimit,
    pings: RateLimit,
    last_heard: Instant,
    /// When we asked for a sign of life that has not come.
    pinged: Option<Instant>,
    ended: bool,
}

impl Session {
    /// A session between us, with our limits, and the peer that said `peer`.
    #[must_use]
    pub fn new(role: Role, limits: Limits, peer: &Hello, now: Instant) -> Self {
        Self {
            role,
            limits,
            peer_max_frame: (peer.max_frame as usize).min(limits.data_frame),
            peer_max_streams: (peer.max_streams as usize).min(limits.max_streams),
            streams: BTreeMap::new(),
            opened_by_us: 0,
            next_id: Some(match role {
                Role::Host => 1,
                Role::Guest => 2,
            }),
            last_peer_id: 0,
            unanswered: 0,
            unanswered_bytes: 0,
            windows: Windows::default(),
            control: VecDeque::new(),
            answer_bytes: 0,
            pong: None,
            ready: VecDeque::new(),
            events: VecDeque::new(),
            partial: None,
            opens: RateLimit::new(limits.opens_per_second, now),
            resets: RateLimit::new(limits.resets_per_second, now),
            pings: RateLimit::new(limits.pings_per_second, now),
            last_heard: now,
            pinged: None,
            ended: false,
        }
    }

    /// Streams that are not over.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// Bytes that the peer may have in our memory at once: the sum of the windows.
    #[must_use]
    pub const fn promised(&self) -> usize {
        self.windows.promised()
    }

    /// The window of a stream that is not over, in bytes.
    #[must_use]
    pub fn window(&self, id: StreamId) -> Option<usize> {
        self.streams.get(&id).map(Stream::window)
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due, and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        if self.ended {
            return None;
        }
        match self.pinged {
            Some(at) => self.silence_ends(at).map(|due| (due, "the peer is silent")),
            None => {
                let due = self.last_heard.checked_add(self.limits.ping_after);
                due.map(|due| (due, "a ping is due"))
            }
        }
    }

    /// When a peer that was pinged at `at` is given up. It has its time to answer even when the
    /// ping went out late, as after a suspension of our own machine.
    fn silence_ends(&self, at: Instant) -> Option<Instant> {
        let Limits {
            ping_after,
            silence,
            ..
        } = self.limits;
        let answer = at.checked_add(silence.saturating_sub(ping_after))?;
        Some(answer.max(self.last_heard.checked_add(silence)?))
    }

    /// Sends a ping on a quiet link and gives up on a dead one.
    ///
    /// # Errors
    /// `PeerSilent`.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        if self.poll_timeout().is_none_or(|(due, _)| now < due) {
            return Ok(());
        }
        if self.pinged.is_none() {
            self.pinged = Some(now);
            self.push_control(frame::encode(Kind::Ping, StreamId::LINK, &[&[0; 8]]));
            return Ok(());
        }
        let quiet = now.saturating_duration_since(self.last_heard);
        let detail = format!("nothing for {} s", quiet.as_secs());
        Err(self.fail(ProtocolError::new(GoAwayCode::PeerSilent, detail)))
    }

    /// Opens a stream with `request`.
    ///
    /// # Errors
    /// `TooManyStreams` or `Closed`.
    pub fn open(&mut self, request: &[u8]) -> Result<StreamId, OpenError> {
        if self.ended {
            return Err(OpenError::Closed);
        }
        if self.opened_by_us >= self.peer_max_streams {
            return Err(OpenError::TooManyStreams);
        }
        let id = self.next_id.ok_or(OpenError::Closed)?;
        self.next_id = id.checked_add(2);
        let stream = StreamId(id);
        let window = self.windows.first(&self.limits);
        self.streams
            .insert(stream, Stream::opening(window, self.last_heard));
        self.opened_by_us += 1;
        self.push_control(frame::encode(
            Kind::Open,
            stream,
            &[&window_bytes(window), request],
        ));
        Ok(stream)
    }

    /// Accepts a stream that the peer opened. Nothing happens when it is over already.
    pub fn accept(&mut self, id: StreamId, answer: &[u8]) {
        let Some(stream) = self
            .streams
            .get_mut(&id)
            .filter(|stream| stream.phase == Phase::Unanswered)
        else {
            return;
        };
        self.unanswered -= 1;
        self.unanswered_bytes -= stream.request;
        if stream.reset_by_peer().is_some() {
            stream.phase = Phase::Open;
            return;
        }
        let window = self.windows.first(&self.limits);
        stream.accept(window, self.last_heard);
        self.push_control(frame::encode(
            Kind::Accept,
            id,
            &[&window_bytes(window), answer],
        ));
        self.make_ready(id);
    }

    /// Refuses a stream that the peer opened. Nothing happens when it is over already.
    pub fn refuse(&mut self, id: StreamId, refusal: &Refusal) {
        let Some(stream) = self
            .streams
            .get(&id)
            .filter(|stream| stream.phase == Phase::Unanswered)
        else {
            return;
        };
        let over = stream.reset_by_peer().is_some();
        self.forget(id);
        if !over {
            let code = refusal.code.number();
            self.push_control(frame::encode_reason(Kind::Refuse, id, code, &refusal.text));
        }
    }

    /// Takes the next bytes of a stream and gives their room back to the peer.
    pub fn read(&mut self, id: StreamId) -> Read {
        let Some(stream) = self.streams.get_mut(&id) else {
            return Read::Reset(self.gone());
        };
        let read = stream.read();
        self.give_credit(id);
        read
    }

    /// More of what has arrived on a stream; none where nothing is left but perhaps an end or a
    /// reset, which [`read`](Self::read) tells.
    pub fn read_on(&mut self, id: StreamId) -> Option<Bytes> {
        let bytes = self.streams.get_mut(&id)?.read_on()?;
        self.give_credit(id);
        Some(bytes)
    }

    /// Queues bytes on a stream, all of them or none.
    pub fn write(&mut self, id: StreamId, bytes: Bytes) -> Write {
        let limit = self.limits.send_buffer;
        let Some(stream) = self.streams.get_mut(&id) else {
            return Write::Reset(self.gone());
        };
        let written = stream.write(bytes, limit);
        self.make_ready(id);
        written
    }

    /// The bytes of a stream that wait to be sent, its end counted as one more. None are left on a
    /// stream that is over; [`Event::Writable`] says when it comes to that.
    pub fn flush(&mut self, id: StreamId) -> usize {
        self.streams.get_mut(&id).map_or(0, Stream::flush)
    }

    /// Whether a stream is over, and why, whatever of it is still to be read.
    #[must_use]
    pub fn reset_of(&self, id: StreamId) -> Option<ResetCode> {
        match self.streams.get(&id) {
            Some(stream) => stream.reset_by_peer(),
            None => Some(self.gone()),
        }
    }

    /// Says that no more bytes follow on a stream: the half-close.
    pub fn finish(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.finish();
            self.make_ready(id);
        }
    }

    /// Ends a stream in both directions, and forgets what is queued on it: [`flush`](Self::flush)
    /// says when nothing is.
    pub fn reset(&mut self, id: StreamId, code: ResetCode) {
        if let Some(stream) = self.streams.get(&id) {
            let over = stream.reset_by_peer().is_some();
            self.forget(id);
            if !over && !self.ended {
                let payload = code.number().to_be_bytes();
                self.push_control(frame::encode(Kind::Reset, id, &[&payload]));
            }
        }
    }

    /// Lets go of a stream: cleanly when both directions are done, by a reset otherwise.
    pub fn release(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if stream.is_detached() {
            // Drained before: it goes when it is sent.
        } else if stream.is_done() {
            self.forget(id);
        } else if stream.may_drain() {
            stream.detach();
        } else {
            self.reset(id, ResetCode::Cancelled);
        }
    }

    /// Lets go of a stream whose answer was all there is to say: what is queued is sent, then our
    /// end; what still comes is dropped, and its room given back so that the peer is not stuck.
    pub fn drain(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.finish();
        stream.detach();
        if stream.is_over() {
            self.forget(id);
        } else {
            self.give_credit(id);
            self.make_ready(id);
        }
    }

    /// Ends the link: a GoAway is queued, every stream is over.
    pub fn close(&mut self, code: GoAwayCode, text: &str) {
        if self.ended {
            return;
        }
        let frame = frame::encode_reason(Kind::GoAway, StreamId::LINK, code.number(), text);
        self.end();
        self.control.push_back(frame);
    }

    /// Ends the link without a word, as when the carrier is gone.
    pub fn end(&mut self) {
        self.ended = true;
        self.control.clear();
        self.answer_bytes = 0;
        self.pong = None;
        self.ready.clear();
        let mut abandoned = Vec::new();
        for (&id, stream) in &mut self.streams {
            stream.reset_from_peer(ResetCode::LinkLost);
            self.events.push_back(Event::Readable(id));
            self.events.push_back(Event::Writable(id));
            if stream.is_over() {
                abandoned.push(id);
            }
        }
        for id in abandoned {
            self.forget(id);
        }
    }

    /// Whether the link is over. A GoAway may still wait to be sent.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has something to give.
    #[must_use]
    pub fn wants_transmit(&self) -> bool {
        self.pong.is_some() || !self.control.is_empty() || !self.ready.is_empty()
    }

    /// Fills `transmit` up to its budget with what is to be sent, most urgent first.
    pub fn poll_transmit(&mut self, transmit: &mut Transmit) {
        if let Some(payload) = self.pong.take() {
            transmit.push(frame::encode(Kind::Pong, StreamId::LINK, &[&payload]));
        }
        while !transmit.is_full() {
            let Some(frame) = self.control.pop_front() else {
                break;
            };
            if self.is_answer(&frame) {
                self.answer_bytes -= frame.len();
            }
            transmit.push(frame);
        }
        while !transmit.is_full() {
            let Some(id) = self.ready.pop_front() else {
                break;
            };
            self.transmit_stream(id, transmit);
        }
    }

    fn transmit_stream(&mut self, id: StreamId, transmit: &mut Transmit) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.ready = false;
        if let Some(payload) = stream.next_data(self.peer_max_frame) {
            transmit.push_frame(
                Header {
                    stream: id,
                    length: payload.len(),
                    kind: Kind::Data,
                },
                payload,
            );
        }
        if stream.next_finish() {
            transmit.push(frame::encode(Kind::Finish, id, &[]));
        }
        let (room, flushed) = (
            stream.wants_room_event(self.limits.send_buffer),
            stream.wants_flushed_event(),
        );
        if room || flushed {
            self.events.push_back(Event::Writable(id));
        }
        if stream.is_over() {
            self.forget(id);
        } else {
            self.make_ready(id);
        }
    }

    /// What is said of a stream that is not there any more.
    const fn gone(&self) -> ResetCode {
        if self.ended {
            ResetCode::LinkLost
        } else {
            ResetCode::Cancelled
        }
    }

    const fn is_ours(&self, id: StreamId) -> bool {
        let odd = id.0 % 2 == 1;
        matches!((self.role, odd), (Role::Host, true) | (Role::Guest, false))
    }

    fn give_credit(&mut self, id: StreamId) {
        let streams = self.streams.len();
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let Some(consumed) = stream.credit_due() else {
            return;
        };
        // What is read now came a moment ago: the time of the last bytes is near enough.
        let now = self.last_heard;
        let kept_up = stream.kept_up(now);
        let window = stream.window();
        let next = self
            .windows
            .next(&self.limits, window, consumed, kept_up, streams);
        let credit = stream.give_credit(next, now);
        if credit > 0 {
            let payload = window_bytes(credit);
            self.push_control(frame::encode(Kind::Credit, id, &[&payload]));
        }
    }

    fn forget(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.remove(&id) {
            self.windows.give_back(stream.window());
            if stream.phase == Phase::Unanswered {
                self.unanswered -= 1;
                self.unanswered_bytes -= stream.request;
            }
            if self.is_ours(id) {
                self.opened_by_us -= 1;
            }
        }
    }

    fn make_ready(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id)
            && !stream.ready
            && stream.wants_transmit()
        {
            stream.ready = true;
            self.ready.push_back(id);
        }
    }

    /// Whether a frame that we send is about a stream that the peer opened.
    fn is_answer(&self, frame: &Bytes) -> bool {
        let stream = frame.first_chunk().map_or(0, |id| u32::from_be_bytes(*id));
        stream != StreamId::LINK.0 && !self.is_ours(StreamId(stream))
    }

    fn push_control(&mut self, frame: Bytes) {
        if !self.ended {
            if self.is_answer(&frame) {
                self.answer_bytes += frame.len();
            }
            self.control.push_back(frame);
        }
    }

    fn fail(&mut self, error: ProtocolError) -> ProtocolError {
        self.close(error.code, &error.detail);
        error
    }
}

fn window_bytes(window: usize) -> [u8; 4] {
    u32::try_from(window).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests;
