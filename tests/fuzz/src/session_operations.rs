//! Two honest sessions joined by a pipe that carries bytes when and in pieces as it likes, against a
//! model: per stream and direction, how much was written and read.
//!
//! Every byte arrives once and in order, an end only behind the last byte, a reset only where
//! somebody made one; nobody breaks a rule; and when everything is let go of, nothing is left.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use arbitrary::{Arbitrary, Unstructured};
use bytes::{Bytes, BytesMut};
use lkc_protocol::{
    error::{Refusal, RefusalCode, ResetCode},
    frame::{HEADER_LENGTH, StreamId},
    hello::{Hello, Role},
    session::{Event, Limits, Read, Session, Transmit, Write},
    version::{CAPABILITY, OLDEST_CAPABILITY},
};

/// Both ends' limits and what happens.
pub fn check(input: &[u8]) {
    if let Ok(plan) = Plan::arbitrary_take_rest(Unstructured::new(input)) {
        let mut world = World::new(&plan);
        for operation in &plan.operations {
            world.apply(operation);
        }
        world.wind_up();
    }
}

#[derive(Debug, Arbitrary)]
struct Plan {
    max_streams: u8,
    window: u16,
    data_frame: u16,
    operations: Vec<Operation>,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Operation {
    Open(Side),
    Answer(Side, Answer),
    Write(Side, u8, u16),
    Read(Side, u8),
    Finish(Side, u8),
    Reset(Side, u8),
    Release(Side, u8),
    Drain(Side, u8),
    /// Moves at most so many bytes from this end to the other.
    Carry(Side, u16),
    /// Carries everything, both ways, in pieces of at most so many bytes.
    CarryAll(u16),
    /// Something about a stream that this end does not hold.
    Stray(Side, u8, u8),
    /// Milliseconds go by.
    Pass(u16),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
enum Answer {
    Accept,
    Refuse,
    Reset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
enum Side {
    Host,
    Guest,
}

impl Side {
    const BOTH: [Self; 2] = [Self::Host, Self::Guest];

    const fn other(self) -> Self {
        match self {
            Self::Host => Self::Guest,
            Self::Guest => Self::Host,
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Host => 0,
            Self::Guest => 1,
        }
    }
}

/// One end with what the application there holds.
struct End {
    session: Session,
    /// Sent and not arrived at the other end.
    pipe: VecDeque<u8>,
    input: BytesMut,
    waiting: Vec<StreamId>,
    live: Vec<StreamId>,
}

/// What one end did on a stream. Byte `n` of a direction is `n % 251`.
#[derive(Debug, Default, Clone, Copy)]
struct Done {
    written: usize,
    read: usize,
    finished: bool,
    end_read: bool,
    /// It does not look any more at what comes.
    deaf: bool,
}

#[derive(Debug, Default, Clone, Copy)]
struct Record {
    by: [Done; 2],
    /// Reset, refused or let go of early: bytes may be lost.
    broken: bool,
}

struct World {
    ends: [End; 2],
    streams: BTreeMap<StreamId, Record>,
    limits: Limits,
    now: Instant,
}

impl World {
    fn new(plan: &Plan) -> Self {
        let limits = Limits {
            max_streams: 1 + usize::from(plan.max_streams % 12),
            window: 16 * 1024 + usize::from(plan.window),
            window_budget: 400_000,
            data_frame: 1 + usize::from(plan.data_frame),
            send_buffer: 100_000,
            ..Limits::default()
        };
        let now = Instant::now();
        let end = |role| End {
            session: new_session(role, limits, now),
            pipe: VecDeque::new(),
            input: BytesMut::new(),
            waiting: Vec::new(),
            live: Vec::new(),
        };
        Self {
            ends: [end(Role::Host), end(Role::Guest)],
            streams: BTreeMap::new(),
            limits,
            now,
        }
    }

    fn session(&mut self, side: Side) -> &mut Session {
        &mut self.ends[side.index()].session
    }

    fn done(&mut self, id: StreamId, side: Side) -> &mut Done {
        &mut self.record(id).by[side.index()]
    }

    fn record(&mut self, id: StreamId) -> &mut Record {
        self.streams.get_mut(&id).expect("a stream that was opened")
    }

    fn pick(&self, side: Side, pick: u8) -> Option<StreamId> {
        let live = &self.ends[side.index()].live;
        (!live.is_empty()).then(|| live[usize::from(pick) % live.len()])
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Open(side) => {
                if let Ok(id) = self.session(side).open(b"request") {
                    let earlier = self.streams.insert(id, Record::default());
                    assert!(earlier.is_none(), "stream {id} is opened twice");
                }
            }
            Operation::Answer(side, answer) => self.answer(side, answer),
            Operation::Write(side, pick, count) => {
                if let Some(id) = self.pick(side, pick) {
                    self.write(side, id, usize::from(count));
                }
            }
            Operation::Read(side, pick) => {
                if let Some(id) = self.pick(side, pick) {
                    self.read(side, id);
                }
            }
            Operation::Finish(side, pick) => {
                if let Some(id) = self.pick(side, pick) {
                    self.finish(side, id);
                }
            }
            Operation::Reset(side, pick) => {
                if let Some(id) = self.pick(side, pick) {
                    self.session(side).reset(id, ResetCode::Failed);
                    self.record(id).broken = true;
                    self.let_go(side, id);
                }
            }
            Operation::Release(side, pick) => {
                if let Some(id) = self.pick(side, pick) {
                    self.release(side, id);
                }
            }
            Operation::Drain(side, pick) => {
                if let Some(id) = self.pick(side, pick) {
                    self.session(side).drain(id);
                    let done = self.done(id, side);
                    (done.finished, done.deaf) = (true, true);
                    self.let_go(side, id);
                }
            }
            Operation::Carry(side, most) => self.carry(side, usize::from(most)),
            Operation::CarryAll(most) => self.carry_all(usize::from(most)),
            Operation::Stray(side, id, what) => self.stray(side, id, what),
            Operation::Pass(ms) => self.pass(ms),
        }
        self.hear();
    }

    fn answer(&mut self, side: Side, answer: Answer) {
        let Some(id) = self.ends[side.index()].waiting.pop() else {
            return;
        };
        if answer != Answer::Accept {
            self.record(id).broken = true;
        }
        let session = self.session(side);
        match answer {
            Answer::Accept => {
                session.accept(id, b"answer");
                self.ends[side.index()].live.push(id);
            }
            Answer::Refuse => session.refuse(id, &Refusal::new(RefusalCode::Busy, "no")),
            Answer::Reset => session.reset(id, ResetCode::Cancelled),
        }
    }

    fn write(&mut self, side: Side, id: StreamId, count: usize) {
        let done = *self.done(id, side);
        let bytes: Bytes = (done.written..done.written + count)
            .map(|byte| (byte % 251) as u8)
            .collect();
        match self.session(side).write(id, bytes) {
            Write::Queued => {
                assert!(!done.finished, "bytes behind the end");
                self.done(id, side).written += count;
            }
            Write::Blocked => {}
            Write::Finished => assert!(done.finished, "finished by nobody"),
            Write::Reset(_) => assert!(self.record(id).broken, "reset by nobody"),
        }
    }

    /// Whether there may be more.
    fn read(&mut self, side: Side, id: StreamId) -> bool {
        let theirs = *self.done(id, side.other());
        match self.session(side).read(id) {
            Read::Data(bytes) => {
                assert!(!bytes.is_empty());
                let done = self.done(id, side);
                for &byte in &bytes {
                    assert_eq!(
                        usize::from(byte),
                        done.read % 251,
                        "byte {} of {id}",
                        done.read
                    );
                    done.read += 1;
                }
                assert!(done.read <= theirs.written);
                true
            }
            Read::End => {
                let done = self.done(id, side);
                done.end_read = true;
                assert!(theirs.finished, "an end that nobody sent");
                assert_eq!(done.read, theirs.written, "an end in front of bytes");
                false
            }
            Read::Blocked => false,
            Read::Reset(_) => {
                assert!(self.record(id).broken, "reset by nobody");
                false
            }
        }
    }

    fn finish(&mut self, side: Side, id: StreamId) {
        self.session(side).finish(id);
        self.done(id, side).finished = true;
    }

    fn release(&mut self, side: Side, id: StreamId) {
        let done = *self.done(id, side);
        if !(done.finished && done.end_read) {
            self.record(id).broken = true;
        }
        self.session(side).release(id);
        self.let_go(side, id);
    }

    fn let_go(&mut self, side: Side, id: StreamId) {
        self.ends[side.index()].live.retain(|&live| live != id);
    }

    /// None of this may have an effect.
    fn stray(&mut self, side: Side, id: u8, what: u8) {
        let id = StreamId(u32::from(id));
        let end = &mut self.ends[side.index()];
        let is_held = end.live.contains(&id) || end.waiting.contains(&id);
        let is_ours = id.0 % 2 == u32::from(side == Side::Host);
        match what % 5 {
            0 if !end.waiting.contains(&id) => end.session.accept(id, b"stray"),
            1 if !end.waiting.contains(&id) => {
                end.session
                    .refuse(id, &Refusal::new(RefusalCode::Failed, "stray"));
            }
            2 if !is_held && !is_ours => assert!(matches!(
                end.session.read(id),
                Read::Reset(_) | Read::Blocked | Read::End
            )),
            3 if !self.streams.contains_key(&id) => {
                let written = end.session.write(id, Bytes::from_static(b"stray"));
                assert!(matches!(written, Write::Reset(_)));
            }
            4 if !self.streams.contains_key(&id) => {
                end.session.reset(id, ResetCode::Failed);
                end.session.release(id);
                end.session.finish(id);
                end.session.drain(id);
            }
            _ => {}
        }
    }

    /// Time goes by and everything arrives: the silence of a dead peer is not met here.
    fn pass(&mut self, ms: u16) {
        self.now += Duration::from_millis(u64::from(ms % 4000));
        for side in Side::BOTH {
            let now = self.now;
            let handled = self.session(side).handle_timeout(now);
            handled.expect("the other end is not silent");
        }
        self.carry_all(usize::MAX);
    }

    fn carry(&mut self, side: Side, most: usize) {
        self.send(side);
        self.arrive(side, most);
    }

    fn carry_all(&mut self, most: usize) {
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for side in Side::BOTH {
                self.send(side);
                while !self.ends[side.index()].pipe.is_empty() {
                    self.arrive(side, most.max(500));
                    moved = true;
                }
            }
            self.hear();
        }
    }

    /// Takes a batch of what an end has to send into its pipe.
    fn send(&mut self, side: Side) {
        let end = &mut self.ends[side.index()];
        let mut transmit = Transmit::default();
        end.session.poll_transmit(&mut transmit);
        let (length, before) = (transmit.len(), end.pipe.len());
        transmit
            .take_chunks()
            .for_each(|chunk| end.pipe.extend(&chunk[..]));
        assert_eq!(end.pipe.len() - before, length);
    }

    /// At most so many bytes of an end's pipe arrive at the other end.
    fn arrive(&mut self, side: Side, most: usize) {
        let now = self.now;
        let [host, guest] = &mut self.ends;
        let (from, to) = match side {
            Side::Host => (host, guest),
            Side::Guest => (guest, host),
        };
        let count = most.min(from.pipe.len());
        let (front, back) = from.pipe.as_slices();
        let split = count.min(front.len());
        to.input.extend_from_slice(&front[..split]);
        to.input.extend_from_slice(&back[..count - split]);
        from.pipe.drain(..count);
        let heard = to.session.handle_bytes(&mut to.input, now);
        heard.expect("an honest peer breaks no rule");
    }

    fn hear(&mut self) {
        for side in Side::BOTH {
            while let Some(event) = self.session(side).poll_event() {
                match event {
                    Event::Opened { stream, request } => {
                        assert_eq!(&request[..], b"request");
                        self.ends[side.index()].waiting.push(stream);
                    }
                    Event::Accepted { stream, answer } => {
                        assert_eq!(&answer[..], b"answer");
                        self.ends[side.index()].live.push(stream);
                    }
                    Event::Refused { stream, refusal } => {
                        let expected = [RefusalCode::Busy, RefusalCode::Failed];
                        assert!(expected.contains(&refusal.code), "{refusal:?}");
                        self.record(stream).broken = true;
                    }
                    Event::Readable(_) | Event::Writable(_) => {}
                    Event::GoAway { code, text } => panic!("{code}: {text}"),
                }
            }
            let held = self.session(side).stream_count();
            assert!(held <= 2 * self.limits.max_streams, "{held} streams");
        }
    }

    /// Answers, finishes, reads and lets go of everything, and looks at what is left.
    fn wind_up(&mut self) {
        loop {
            self.carry_all(usize::MAX);
            let waiting = |side: &Side| !self.ends[side.index()].waiting.is_empty();
            let Some(side) = Side::BOTH.into_iter().find(waiting) else {
                break;
            };
            self.answer(side, Answer::Accept);
        }
        for side in Side::BOTH {
            for id in self.ends[side.index()].live.clone() {
                self.finish(side, id);
            }
        }
        let mut progress = true;
        while std::mem::take(&mut progress) {
            self.carry_all(usize::MAX);
            for side in Side::BOTH {
                for id in self.ends[side.index()].live.clone() {
                    while self.read(side, id) {
                        progress = true;
                    }
                }
            }
        }
        for (id, record) in &self.streams {
            for side in Side::BOTH {
                let (ours, theirs) = (record.by[side.index()], record.by[side.other().index()]);
                if !record.broken && !ours.deaf {
                    assert!(ours.end_read, "{side:?} saw no end of {id}: {record:?}");
                    assert_eq!(ours.read, theirs.written, "bytes of {id} are lost");
                }
            }
        }
        for side in Side::BOTH {
            for id in self.ends[side.index()].live.clone() {
                self.release(side, id);
            }
        }
        self.carry_all(usize::MAX);
        for side in Side::BOTH {
            assert_eq!(
                self.session(side).stream_count(),
                0,
                "{side:?} is left with streams"
            );
            self.promises_as_at_first(side);
        }
    }

    /// What was promised to streams that are gone is free again: a new stream gets the first one's
    /// window.
    fn promises_as_at_first(&mut self, side: Side) {
        let role = [Role::Host, Role::Guest][side.index()];
        let mut fresh = new_session(role, self.limits, self.now);
        let expected = promised(&mut fresh);
        assert_eq!(promised(self.session(side)), expected, "{side:?}");
    }
}

/// The window in the Open frame of a new stream.
fn promised(session: &mut Session) -> Vec<u8> {
    session.open(b"request").expect("room for a stream");
    let mut transmit = Transmit::default();
    session.poll_transmit(&mut transmit);
    let bytes: Vec<u8> = transmit.take_chunks().flatten().collect();
    bytes[HEADER_LENGTH..HEADER_LENGTH + 4].to_vec()
}

fn new_session(ours: Role, limits: Limits, now: Instant) -> Session {
    let theirs = if ours == Role::Host {
        Role::Guest
    } else {
        Role::Host
    };
    let peer = Hello {
        capability: CAPABILITY,
        oldest_capability: OLDEST_CAPABILITY,
        role: theirs,
        plain: false,
        max_frame: u32::try_from(limits.max_frame).expect("a short frame"),
        max_streams: u32::try_from(limits.max_streams).expect("few streams"),
        boot_id: [0; 16],
        version: String::new(),
        node: String::new(),
    };
    Session::new(ours, limits, &peer, now)
}
