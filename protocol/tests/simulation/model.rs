//! What one end must do: a plain account of what was asked of it and of the bytes that came and
//! went, without queues, wakers or buffers.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use lkc_protocol::{
    error::{GoAwayCode, Refusal, ResetCode},
    frame::{Kind, StreamId},
    session::{Event, Limits, OpenError, Read, Write},
};

use crate::{
    check::{Verdict, check},
    content,
    ends::End,
};

/// Writes that one stream queues, whatever their size.
const MOST_WRITES: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Opening,
    Unanswered,
    Open,
    /// The session has forgotten it.
    Gone,
}

/// One end's account of one stream.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) phase: Phase,
    /// Nobody holds it any more; it goes once what is queued is sent.
    pub(crate) detached: bool,
    pub(crate) reset: Option<ResetCode>,

    pub(crate) written: usize,
    /// Where each write that is not sent whole ends.
    pub(crate) unsent: VecDeque<usize>,
    pub(crate) sent: usize,
    /// Bytes that the peer has allowed so far.
    pub(crate) credit: usize,
    pub(crate) finish: bool,
    pub(crate) finish_sent: bool,
    /// The end's count of data frames when this stream last got its turn or something to send.
    pub(crate) waits_since: Option<u64>,
    pub(crate) last_turn: Option<u64>,

    /// Bytes that this end has allowed so far.
    pub(crate) promised: usize,
    /// What was read after each read, and the window then, since the last credit.
    pub(crate) reads: VecDeque<(usize, usize)>,
    pub(crate) received: usize,
    pub(crate) read: usize,
    pub(crate) finished: bool,
    pub(crate) end_read: bool,
}

/// A frame that this end must send, in this order; windows are checked apart.
pub(crate) type Expected = (Kind, StreamId, Vec<u8>);

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) end: End,
    pub(crate) limits: Limits,
    pub(crate) longest_data: usize,
    peer_max_streams: usize,
    pub(crate) sides: BTreeMap<StreamId, Side>,
    next_id: u32,
    pub(crate) control: VecDeque<Expected>,
    pub(crate) pong: Option<Vec<u8>>,
    /// Events that the session must tell, wake-ups apart.
    pub(crate) events: VecDeque<Event>,
    pub(crate) ended: bool,
    pub(crate) data_frames: u64,
    pub(crate) last_heard: Duration,
    pub(crate) pinged: Option<Duration>,
}

impl Model {
    pub(crate) fn new(end: End, limits: Limits, peer: Limits) -> Self {
        Self {
            end,
            limits,
            longest_data: limits.data_frame.min(peer.max_frame),
            peer_max_streams: limits.max_streams.min(peer.max_streams),
            sides: BTreeMap::new(),
            next_id: 1 + end.index() as u32,
            control: VecDeque::new(),
            pong: None,
            events: VecDeque::new(),
            ended: false,
            data_frames: 0,
            last_heard: Duration::ZERO,
            pinged: None,
        }
    }

    /// Streams that are not over, opened by us or by the peer.
    pub(crate) fn count(&self, ours: bool) -> usize {
        let live =
            |id: StreamId, side: &Side| side.phase != Phase::Gone && self.end.opens(id) == ours;
        let sides = self.sides.iter();
        sides.filter(|&(&id, side)| live(id, side)).count()
    }

    /// The account of a stream that the session still knows.
    pub(crate) fn live(&mut self, id: StreamId) -> Option<&mut Side> {
        self.sides
            .get_mut(&id)
            .filter(|side| side.phase != Phase::Gone)
    }

    pub(crate) fn open(&mut self) -> Result<StreamId, OpenError> {
        if self.ended {
            return Err(OpenError::Closed);
        }
        if self.count(true) >= self.peer_max_streams {
            return Err(OpenError::TooManyStreams);
        }
        let id = StreamId(self.next_id);
        self.next_id += 2;
        self.sides.insert(id, Side::new(Phase::Opening, 0));
        self.must_send(Kind::Open, id, content::request(id).to_vec());
        Ok(id)
    }

    pub(crate) fn accept(&mut self, id: StreamId) {
        if let Some(side) = self.live(id).filter(|side| side.phase == Phase::Unanswered) {
            side.phase = Phase::Open;
            if side.reset.is_none() {
                self.must_send(Kind::Accept, id, content::answer(id).to_vec());
                self.look(id);
            }
        }
    }

    pub(crate) fn refuse(&mut self, id: StreamId, refusal: &Refusal) {
        if let Some(side) = self.live(id).filter(|side| side.phase == Phase::Unanswered) {
            side.phase = Phase::Gone;
            if side.reset.is_none() {
                let code = refusal.code.number().to_be_bytes();
                let payload = [&code[..], refusal.text.as_bytes()].concat();
                self.must_send(Kind::Refuse, id, payload);
            }
        }
    }

    /// Judges a read that left the stream with `window`.
    pub(crate) fn read(&mut self, id: StreamId, read: &Read, window: Option<usize>) -> Verdict {
        let from = self.end.other();
        let expected = self.expected_read(id);
        match (read, &expected) {
            (Read::Data(bytes), Read::Data(_)) => {
                let Some(side) = self.live(id) else {
                    return Err("bytes of a stream that is gone".to_owned());
                };
                check!(!bytes.is_empty(), "an empty read");
                check!(
                    side.read + bytes.len() <= side.received,
                    "{} bytes read where {} are",
                    bytes.len(),
                    side.received - side.read
                );
                check!(
                    content::is(id, from, side.read, bytes),
                    "stream {id}: other bytes than were written, at {}",
                    side.read
                );
                side.read += bytes.len();
                side.reads.push_back((side.read, window.unwrap_or(0)));
            }
            (read, expected) => {
                check!(
                    read == expected,
                    "stream {id}: read {read:?} instead of {expected:?}"
                );
                if let (Read::End, Some(side)) = (read, self.live(id)) {
                    side.end_read = true;
                }
            }
        }
        Ok(())
    }

    /// What a read must give; data stands for any bytes.
    pub(crate) fn expected_read(&self, id: StreamId) -> Read {
        match self.sides.get(&id) {
            None => self.gone_read(),
            Some(side) if side.phase == Phase::Gone => self.gone_read(),
            // What came before a reset comes first, and its end once.
            Some(side) => match side.reset {
                _ if side.received > side.read => Read::Data(bytes::Bytes::new()),
                Some(code) if !side.finished || side.end_read => Read::Reset(code),
                _ if side.finished => Read::End,
                _ => Read::Blocked,
            },
        }
    }

    /// What of a stream is not sent, an end counted as a byte.
    pub(crate) fn expected_unsent(&self, id: StreamId) -> usize {
        self.sides.get(&id).map_or(0, |side| {
            let over = side.phase == Phase::Gone || side.reset.is_some();
            let end = side.finish && !side.finish_sent;
            if over {
                0
            } else {
                side.written - side.sent + usize::from(end)
            }
        })
    }

    /// Whether a stream is over, whatever of it is still to be read.
    pub(crate) fn expected_reset(&self, id: StreamId) -> Option<ResetCode> {
        match self.sides.get(&id) {
            Some(side) if side.phase != Phase::Gone => side.reset,
            _ => Some(self.gone_code()),
        }
    }

    const fn gone_read(&self) -> Read {
        Read::Reset(self.gone_code())
    }

    const fn gone_code(&self) -> ResetCode {
        if self.ended {
            ResetCode::LinkLost
        } else {
            ResetCode::Cancelled
        }
    }

    pub(crate) fn write(&mut self, id: StreamId, count: usize, write: Write) -> Verdict {
        let expected = self.expected_write(id);
        check!(
            write == expected,
            "stream {id}: write {write:?} instead of {expected:?}"
        );
        if write == Write::Queued
            && let Some(side) = self.live(id)
        {
            side.written += count;
            side.unsent.push_back(side.written);
            self.look(id);
        }
        Ok(())
    }

    /// What a write must give.
    pub(crate) fn expected_write(&self, id: StreamId) -> Write {
        match self.sides.get(&id) {
            None => Write::Reset(self.gone_code()),
            Some(side) if side.phase == Phase::Gone => Write::Reset(self.gone_code()),
            Some(side) => match side.reset {
                Some(code) => Write::Reset(code),
                None if side.finish => Write::Finished,
                None if side.written - side.sent >= self.limits.send_buffer => Write::Blocked,
                None if side.unsent.len() >= MOST_WRITES => Write::Blocked,
                None => Write::Queued,
            },
        }
    }

    pub(crate) fn finish(&mut self, id: StreamId) {
        if let Some(side) = self.live(id).filter(|side| side.reset.is_none()) {
            side.finish = true;
        }
    }

    pub(crate) fn reset(&mut self, id: StreamId, code: ResetCode) {
        if let Some(side) = self.live(id) {
            side.phase = Phase::Gone;
            if side.reset.is_none() {
                self.must_send(Kind::Reset, id, code.number().to_be_bytes().to_vec());
            }
        }
    }

    pub(crate) fn release(&mut self, id: StreamId) {
        let Some(side) = self.live(id) else { return };
        if side.reset.is_some() || (side.finish_sent && side.end_read) {
            side.phase = Phase::Gone;
        } else if side.finish && side.end_read {
            side.detached = true;
        } else {
            self.reset(id, ResetCode::Cancelled);
        }
    }

    pub(crate) fn drain(&mut self, id: StreamId) {
        self.finish(id);
        if let Some(side) = self.live(id) {
            side.detached = true;
            side.read = side.received;
            side.forget_if_over();
        }
    }

    pub(crate) fn close(&mut self, code: GoAwayCode, text: &str) {
        if !self.ended {
            self.end();
            let payload = [&code.number().to_be_bytes()[..], text.as_bytes()].concat();
            self.control
                .push_back((Kind::GoAway, StreamId::LINK, payload));
        }
    }

    pub(crate) fn end(&mut self) {
        self.ended = true;
        self.control.clear();
        self.pong = None;
        for side in self.sides.values_mut() {
            if side.phase != Phase::Gone {
                side.reset.get_or_insert(ResetCode::LinkLost);
                side.forget_if_over();
            }
        }
    }

    /// When the timer is due: a ping after a while of silence, the end after more, but never
    /// before the peer had its time to answer the ping.
    pub(crate) fn due(&self) -> Option<Duration> {
        let Limits {
            ping_after,
            silence,
            ..
        } = self.limits;
        let due = match self.pinged {
            None => self.last_heard + ping_after,
            Some(at) => (self.last_heard + silence).max(at + silence - ping_after),
        };
        (!self.ended).then_some(due)
    }

    /// Whether the timer ends the link.
    pub(crate) fn timer(&mut self, now: Duration) -> bool {
        if self.due().is_none_or(|due| now < due) {
            return false;
        }
        if self.pinged.is_none() {
            self.pinged = Some(now);
            self.must_send(Kind::Ping, StreamId::LINK, vec![0; 8]);
            return false;
        }
        let text = format!("nothing for {} s", (now - self.last_heard).as_secs());
        self.close(GoAwayCode::PeerSilent, &text);
        true
    }

    pub(crate) fn must_send(&mut self, kind: Kind, id: StreamId, payload: Vec<u8>) {
        if !self.ended {
            self.control.push_back((kind, id, payload));
        }
    }

    /// Notes whether a stream waits for its turn.
    pub(crate) fn look(&mut self, id: StreamId) {
        let frames = self.data_frames;
        if let Some(side) = self.live(id) {
            let since = side.waits_since.unwrap_or(frames);
            side.waits_since = side.has_data_to_send().then_some(since);
        }
    }
}

impl Side {
    pub(crate) const fn new(phase: Phase, credit: usize) -> Self {
        Self {
            phase,
            detached: false,
            reset: None,
            written: 0,
            unsent: VecDeque::new(),
            sent: 0,
            credit,
            finish: false,
            finish_sent: false,
            waits_since: None,
            last_turn: None,
            promised: 0,
            reads: VecDeque::new(),
            received: 0,
            read: 0,
            finished: false,
            end_read: false,
        }
    }

    pub(crate) fn has_data_to_send(&self) -> bool {
        self.phase == Phase::Open
            && self.reset.is_none()
            && self.written > self.sent
            && self.credit > self.sent
    }

    pub(crate) fn has_finish_to_send(&self) -> bool {
        self.phase == Phase::Open
            && self.reset.is_none()
            && self.finish
            && !self.finish_sent
            && self.written == self.sent
    }

    /// Bytes that the peer may have in our memory or still send.
    pub(crate) const fn outstanding(&self) -> usize {
        self.promised - self.read
    }

    pub(crate) fn forget_if_over(&mut self) {
        let over = self.reset.is_some() || (self.finish_sent && self.finished);
        if self.detached && over {
            self.phase = Phase::Gone;
        }
    }
}
