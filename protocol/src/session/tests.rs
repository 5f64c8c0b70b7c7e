//! Two sessions, a virtual clock, and a pipe that splits: what one says the other hears in order,
//! what breaks a rule ends the link with that rule's name, and nothing is left over.

mod model;
mod rules;
mod windows;

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::*;
use crate::{
    error::RefusalCode,
    frame::HEADER_LENGTH,
    version::{CAPABILITY, OLDEST_CAPABILITY},
};

pub(super) fn hello(role: Role, limits: &Limits) -> Hello {
    Hello {
        capability: CAPABILITY,
        oldest_capability: OLDEST_CAPABILITY,
        role,
        plain: true,
        max_frame: u32::try_from(limits.max_frame).unwrap(),
        max_streams: u32::try_from(limits.max_streams).unwrap(),
        boot_id: [0; 16],
        version: "0.1.0".to_owned(),
        node: "test".to_owned(),
    }
}

/// One end: its session and the bytes that are on their way to it.
pub(super) struct End {
    pub(super) session: Session,
    pub(super) inbound: BytesMut,
}

/// Both ends and the time.
pub(super) struct Pair {
    pub(super) host: End,
    pub(super) guest: End,
    pub(super) now: Instant,
}

impl Pair {
    pub(super) fn new(limits: Limits) -> Self {
        let now = Instant::now();
        let end = |role, other| End {
            session: Session::new(role, limits, &hello(other, &limits), now),
            inbound: BytesMut::new(),
        };
        Self {
            host: end(Role::Host, Role::Guest),
            guest: end(Role::Guest, Role::Host),
            now,
        }
    }

    /// Moves at most `most` bytes from one end's session into the other's.
    pub(super) fn carry(&mut self, from_host: bool, most: usize) -> Result<(), ProtocolError> {
        let (from, to) = if from_host {
            (&mut self.host, &mut self.guest)
        } else {
            (&mut self.guest, &mut self.host)
        };
        let mut transmit = Transmit::default();
        from.session.poll_transmit(&mut transmit);
        for chunk in transmit.take_chunks() {
            to.inbound.extend_from_slice(&chunk);
        }
        let count = most.min(to.inbound.len());
        let mut arriving = to.inbound.split_to(count);
        let result = to.session.handle_bytes(&mut arriving, self.now);
        // A frame that is not complete waits in front of what comes next.
        arriving.unsplit(std::mem::take(&mut to.inbound));
        to.inbound = arriving;
        result
    }

    /// Moves everything until neither end has more to say.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            let before = (self.host.inbound.len(), self.guest.inbound.len());
            self.carry(true, usize::MAX).unwrap();
            self.carry(false, usize::MAX).unwrap();
            let mut transmit = Transmit::default();
            self.host.session.poll_transmit(&mut transmit);
            let host_says = transmit.take_chunks().collect::<Vec<_>>().concat();
            self.guest.inbound.extend_from_slice(&host_says);
            self.guest.session.poll_transmit(&mut transmit);
            let guest_says = transmit.take_chunks().collect::<Vec<_>>().concat();
            self.host.inbound.extend_from_slice(&guest_says);
            if host_says.is_empty() && guest_says.is_empty() && before == (0, 0) {
                return;
            }
        }
        panic!("the ends never fall silent");
    }

    /// Opens a stream from the host and has the guest accept it.
    pub(super) fn open(&mut self) -> StreamId {
        let id = self.host.session.open(b"request").unwrap();
        self.settle();
        self.guest.session.accept(id, b"answer");
        self.settle();
        id
    }
}

fn events(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.poll_event()).collect()
}

#[test]
fn a_stream_lives_and_dies_without_a_trace() {
    let mut pair = Pair::new(Limits::default());
    let id = pair.open();
    assert_eq!(
        events(&mut pair.guest.session),
        [Event::Opened {
            stream: id,
            request: Bytes::from_static(b"request")
        }]
    );
    assert_eq!(
        events(&mut pair.host.session),
        [Event::Accepted {
            stream: id,
            answer: Bytes::from_static(b"answer")
        }]
    );
    assert_eq!(
        pair.host.session.write(id, Bytes::from_static(b"ping")),
        Write::Queued
    );
    pair.host.session.finish(id);
    assert_eq!(
        pair.host.session.write(id, Bytes::from_static(b"late")),
        Write::Finished
    );
    pair.settle();
    assert_eq!(
        pair.guest.session.read(id),
        Read::Data(Bytes::from_static(b"ping"))
    );
    assert_eq!(pair.guest.session.read(id), Read::End);
    // The half-close leaves the other direction open.
    assert_eq!(
        pair.guest.session.write(id, Bytes::from_static(b"pong")),
        Write::Queued
    );
    pair.settle();
    assert_eq!(
        pair.host.session.read(id),
        Read::Data(Bytes::from_static(b"pong"))
    );
    assert_eq!(pair.host.session.read(id), Read::Blocked);
    pair.guest.session.finish(id);
    pair.settle();
    assert_eq!(pair.host.session.read(id), Read::End);
    pair.host.session.release(id);
    pair.guest.session.release(id);
    pair.settle();
    assert_eq!(
        (
            pair.host.session.stream_count(),
            pair.guest.session.stream_count()
        ),
        (0, 0)
    );
    assert_eq!(
        (pair.host.session.promised(), pair.guest.session.promised()),
        (0, 0)
    );
}

#[test]
fn credit_is_given_back_when_bytes_are_read_and_not_before() {
    let limits = Limits {
        window: 32 * 1024,
        send_buffer: 1024 * 1024,
        ..Limits::default()
    };
    let mut pair = Pair::new(limits);
    let id = pair.open();
    assert_eq!(
        pair.host.session.write(id, Bytes::from(vec![1; 100_000])),
        Write::Queued
    );
    pair.settle();
    let mut received = 0;
    let mut reads = 0;
    loop {
        while let Read::Data(bytes) = pair.guest.session.read(id) {
            received += bytes.len();
        }
        assert!(
            received <= 32 * 1024 * (reads + 1),
            "{received} bytes after {reads} rounds"
        );
        if received == 100_000 {
            break;
        }
        reads += 1;
        pair.settle();
    }
    assert!(reads >= 3, "{reads}");
}

#[test]
fn a_reset_ends_both_directions_and_frees_the_stream_at_once() {
    let mut pair = Pair::new(Limits::default());
    let id = pair.open();
    assert_eq!(
        pair.guest.session.write(id, Bytes::from_static(b"unread")),
        Write::Queued
    );
    pair.settle();
    pair.host.session.reset(id, ResetCode::ConnectionReset);
    assert_eq!(pair.host.session.stream_count(), 0);
    pair.settle();
    pair.guest.session.release(id);
    assert_eq!(pair.guest.session.stream_count(), 0);
    // Frames that crossed the reset are ignored, not punished.
    assert_eq!(pair.guest.session.promised(), 0);
}

#[test]
fn what_came_before_a_reset_is_read_before_it_and_nothing_can_be_written() {
    for ends in [false, true] {
        let mut pair = Pair::new(Limits::default());
        let id = pair.open();
        let bytes = Bytes::from_static(b"last words");
        assert_eq!(pair.host.session.write(id, bytes.clone()), Write::Queued);
        if ends {
            pair.host.session.finish(id);
        }
        pair.settle();
        pair.host.session.reset(id, ResetCode::ConnectionReset);
        pair.settle();
        let guest = &mut pair.guest.session;
        let (code, more) = (ResetCode::ConnectionReset, Bytes::from_static(b"x"));
        assert_eq!(guest.reset_of(id), Some(code));
        assert_eq!(guest.write(id, more), Write::Reset(code));
        assert_eq!(guest.read(id), Read::Data(bytes));
        if ends {
            assert_eq!(guest.read(id), Read::End);
        }
        assert_eq!(guest.read(id), Read::Reset(code));
        assert_eq!(guest.read(id), Read::Reset(code));
        guest.release(id);
        assert_eq!((guest.stream_count(), guest.promised()), (0, 0));
        assert_eq!(guest.reset_of(id), Some(ResetCode::Cancelled));
    }
}

#[test]
fn who_flushes_first_loses_nothing_by_a_reset() {
    let limits = Limits {
        first_window: 16 * 1024,
        window: 16 * 1024,
        ..Limits::default()
    };
    let mut pair = Pair::new(limits);
    let id = pair.open();
    let length = 40 * 1024;
    let bytes = Bytes::from(vec![7; length]);
    assert_eq!(pair.host.session.write(id, bytes), Write::Queued);
    pair.host.session.finish(id);
    assert_eq!(pair.host.session.flush(id), length + 1);
    let mut read = 0;
    while pair.host.session.flush(id) > 0 {
        pair.settle();
        let told = events(&mut pair.host.session).contains(&Event::Writable(id));
        assert_eq!(told, pair.host.session.flush(id) == 0);
        while let Read::Data(bytes) = pair.guest.session.read(id) {
            read += bytes.len();
        }
    }
    pair.host.session.reset(id, ResetCode::ConnectionReset);
    pair.settle();
    assert_eq!(read, length);
    let reset = Read::Reset(ResetCode::ConnectionReset);
    assert_eq!(pair.guest.session.read(id), reset);
}

#[test]
fn releasing_an_unfinished_stream_resets_it() {
    let mut pair = Pair::new(Limits::default());
    let id = pair.open();
    pair.host.session.release(id);
    pair.settle();
    assert_eq!(
        pair.guest.session.read(id),
        Read::Reset(ResetCode::Cancelled)
    );
}

#[test]
fn an_end_that_drains_sends_all_and_stops_nobody() {
    let limits = Limits {
        window: 32 * 1024,
        ..Limits::default()
    };
    let mut pair = Pair::new(limits);
    let id = pair.open();
    let (host, guest) = (&mut pair.host.session, &mut pair.guest.session);
    assert_eq!(guest.write(id, Bytes::from_static(b"all")), Write::Queued);
    guest.drain(id);
    // Its handle goes at last, and that is no reset.
    guest.release(id);
    // Three times the window that nobody looks at.
    assert_eq!(
        host.write(id, Bytes::from(vec![7; 96 * 1024])),
        Write::Queued
    );
    host.finish(id);
    pair.settle();
    let host = &mut pair.host.session;
    assert_eq!(host.read(id), Read::Data(Bytes::from_static(b"all")));
    assert_eq!(host.read(id), Read::End);
    host.release(id);
    pair.settle();
    assert_eq!(pair.host.session.stream_count(), 0);
    assert_eq!(pair.guest.session.stream_count(), 0);
    assert_eq!(pair.guest.session.promised(), 0);
}

#[test]
fn draining_a_stream_that_is_over_leaves_nothing() {
    let mut pair = Pair::new(Limits::default());
    let id = pair.open();
    pair.host.session.reset(id, ResetCode::Failed);
    pair.settle();
    pair.guest.session.drain(id);
    assert_eq!(pair.guest.session.stream_count(), 0);
}

#[test]
fn bulk_takes_turns_and_control_goes_first() {
    let limits = Limits {
        send_buffer: 4 * 1024 * 1024,
        ..Limits::default()
    };
    let mut pair = Pair::new(limits);
    let (first, second) = (pair.open(), pair.open());
    for id in [first, second] {
        assert_eq!(
            pair.host
                .session
                .write(id, Bytes::from(vec![7; 512 * 1024])),
            Write::Queued
        );
    }
    let third = pair.host.session.open(b"urgent").unwrap();
    let mut transmit = Transmit::default();
    pair.host.session.poll_transmit(&mut transmit);
    let bytes = transmit.take_chunks().collect::<Vec<_>>().concat();
    let mut rest = &bytes[..];
    let mut order = Vec::new();
    while let Some(header) = rest.first_chunk::<HEADER_LENGTH>() {
        let header = Header::decode(header, limits.max_frame).unwrap();
        order.push((header.kind, header.stream));
        rest = &rest[HEADER_LENGTH + header.length..];
    }
    assert_eq!(order[0], (Kind::Open, third));
    let data: Vec<_> = order[1..].iter().map(|(_, stream)| *stream).collect();
    let turns: Vec<_> = [first, second]
        .into_iter()
        .cycle()
        .take(data.len())
        .collect();
    assert_eq!(data, turns);
    assert!(
        bytes.len() <= 256 * 1024 + limits.data_frame + HEADER_LENGTH,
        "{} bytes at once",
        bytes.len()
    );
}

#[test]
fn a_quiet_link_is_pinged_and_a_dead_one_given_up() {
    let mut pair = Pair::new(Limits::default());
    let (due, reason) = pair.host.session.poll_timeout().unwrap();
    assert_eq!(
        (due - pair.now, reason),
        (Duration::from_secs(4), "a ping is due")
    );
    pair.now = due;
    pair.host.session.handle_timeout(due).unwrap();
    pair.settle();
    // The pong counts as life.
    let (next, _) = pair.host.session.poll_timeout().unwrap();
    assert_eq!(next - pair.now, Duration::from_secs(4));
    pair.now = next;
    pair.host.session.handle_timeout(next).unwrap();
    let (dead, reason) = pair.host.session.poll_timeout().unwrap();
    assert_eq!(
        (dead - due, reason),
        (Duration::from_secs(9), "the peer is silent")
    );
    let error = pair.host.session.handle_timeout(dead).unwrap_err();
    assert_eq!(error.code, GoAwayCode::PeerSilent);
    assert!(pair.host.session.is_ended());
}

#[test]
fn a_suspended_end_asks_before_it_gives_up() {
    let mut pair = Pair::new(Limits::default());
    pair.now += Duration::from_secs(60);
    pair.host.session.handle_timeout(pair.now).unwrap();
    let (due, reason) = pair.host.session.poll_timeout().unwrap();
    assert_eq!(
        (due - pair.now, reason),
        (Duration::from_secs(5), "the peer is silent")
    );
    pair.host.session.handle_timeout(pair.now).unwrap();
    pair.settle();
    assert!(!pair.host.session.is_ended());
    let (due, reason) = pair.host.session.poll_timeout().unwrap();
    assert_eq!(
        (due - pair.now, reason),
        (Duration::from_secs(4), "a ping is due")
    );
}

#[test]
fn what_is_written_before_the_answer_is_sent_with_it() {
    let mut pair = Pair::new(Limits::default());
    let id = pair.host.session.open(b"").unwrap();
    assert_eq!(
        pair.host.session.write(id, Bytes::from_static(b"early")),
        Write::Queued
    );
    pair.settle();
    assert_eq!(
        pair.guest.session.write(id, Bytes::from_static(b"eager")),
        Write::Queued
    );
    pair.guest.session.accept(id, b"");
    pair.settle();
    assert_eq!(
        pair.guest.session.read(id),
        Read::Data(Bytes::from_static(b"early"))
    );
    assert_eq!(
        pair.host.session.read(id),
        Read::Data(Bytes::from_static(b"eager"))
    );
}

#[test]
fn a_drained_stream_never_lingers() {
    let limits = Limits {
        window: 16 * 1024,
        ..Limits::default()
    };
    // Both ends have finished, and what came was not read.
    let mut pair = Pair::new(limits);
    let id = pair.open();
    for end in [&mut pair.host, &mut pair.guest] {
        assert_eq!(
            end.session.write(id, Bytes::from_static(b"x")),
            Write::Queued
        );
        end.session.finish(id);
    }
    pair.settle();
    pair.guest.session.drain(id);
    assert_eq!(pair.guest.session.stream_count(), 0);
    // The peer sends more than a window to somebody who does not read.
    let id = pair.open();
    pair.guest.session.drain(id);
    assert_eq!(
        pair.host.session.write(id, Bytes::from(vec![7; 100_000])),
        Write::Queued
    );
    pair.host.session.finish(id);
    pair.settle();
    assert_eq!(pair.guest.session.stream_count(), 0);
    // The link ends while what is queued waits for credit.
    let id = pair.open();
    assert_eq!(
        pair.guest.session.write(id, Bytes::from(vec![7; 100_000])),
        Write::Queued
    );
    pair.guest.session.drain(id);
    pair.settle();
    assert_eq!(pair.guest.session.stream_count(), 1);
    pair.guest.session.end();
    assert_eq!(pair.guest.session.stream_count(), 0);
}

#[test]
fn the_end_of_the_link_is_the_end_of_its_streams() {
    let mut pair = Pair::new(Limits::default());
    let id = pair.open();
    pair.host.session.close(GoAwayCode::Closing, "");
    assert_eq!(pair.host.session.open(b""), Err(OpenError::Closed));
    pair.carry(true, usize::MAX).unwrap();
    assert!(pair.guest.session.is_ended());
    assert_eq!(
        pair.guest.session.read(id),
        Read::Reset(ResetCode::LinkLost)
    );
    assert!(events(&mut pair.guest.session).contains(&Event::GoAway {
        code: GoAwayCode::Closing,
        text: String::new()
    }));
}
