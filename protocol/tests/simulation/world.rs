//! Both ends, what is between them, and the time. Every step goes through the session and through
//! the model, and what they make of it must agree.

use std::{
    collections::BTreeMap,
    io::IoSlice,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use lkc_protocol::{
    error::{GoAwayCode, Refusal, RefusalCode, ResetCode},
    frame::StreamId,
    hello::Hello,
    session::{Event, Limits, Session, Transmit},
};

use crate::{
    actors::Handle,
    check::{Verdict, check},
    ends::End,
    model::Model,
    operation::Operation,
    pipe::Pipe,
    random::mix,
    scenario::Scenario,
    wire::Reader,
};

/// One end with its direction of the carrier.
#[derive(Debug)]
pub(crate) struct Party {
    pub(crate) session: Session,
    pub(crate) model: Model,
    pub(crate) handles: BTreeMap<StreamId, Handle>,
    transmit: Transmit,
    sealed: Vec<u8>,
    input: BytesMut,
    /// What this end sends.
    pub(crate) pipe: Pipe,
    sent: Reader,
    received: Reader,
    /// Whether the session was touched since it last had nothing to send.
    pub(crate) dirty: bool,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) now: Duration,
    pub(crate) parties: [Party; 2],
    start: Instant,
    /// Differs when anything at all went differently.
    pub(crate) digest: u64,
    /// What happened, when somebody wants to read it.
    pub(crate) trace: Option<Vec<String>>,
}

impl World {
    pub(crate) fn new(scenario: Scenario, traced: bool) -> Self {
        let start = Instant::now();
        let parties = End::BOTH.map(|end| {
            let limits = scenario.limits[end.index()];
            let peer = scenario.limits[end.other().index()];
            Party {
                session: Session::new(end.role(), limits, &hello(end.other(), peer), start),
                model: Model::new(end, limits, peer),
                handles: BTreeMap::new(),
                transmit: Transmit::default(),
                sealed: Vec::new(),
                input: BytesMut::new(),
                pipe: Pipe::new(scenario.shapes[end.index()]),
                sent: Reader::default(),
                received: Reader::default(),
                dirty: false,
            }
        });
        Self {
            now: Duration::ZERO,
            parties,
            start,
            digest: scenario.seed,
            trace: traced.then(Vec::new),
            scenario,
        }
    }

    pub(crate) const fn party(&mut self, end: End) -> &mut Party {
        &mut self.parties[end.index()]
    }

    pub(crate) fn apply(&mut self, operation: Operation) -> Verdict {
        self.note(|| format!("{operation:?}"));
        match operation {
            Operation::Open(end) => self.open(end)?,
            Operation::Accept(end, pick) => {
                if let Some(id) = self.pick(end, pick, false) {
                    self.accept(end, id);
                }
            }
            Operation::Refuse(end, pick) => {
                if let Some(id) = self.pick(end, pick, false) {
                    if pick % 3 == 0 {
                        self.reset(end, id, ResetCode::Failed);
                    } else {
                        self.refuse(end, id);
                    }
                }
            }
            Operation::Write(end, pick, count) => {
                if let Some(id) = self.pick(end, pick, true) {
                    self.write(end, id, count)?;
                }
            }
            Operation::Read(end, pick) => {
                if let Some(id) = self.pick(end, pick, true) {
                    self.read(end, id)?;
                }
            }
            Operation::Finish(end, pick) => {
                if let Some(id) = self.pick(end, pick, true) {
                    self.finish(end, id);
                }
            }
            Operation::Reset(end, pick, code) => {
                if let Some(id) = self.pick(end, pick, true) {
                    self.reset(end, id, code);
                }
            }
            Operation::Part(end, pick, code) => {
                if let Some(id) = self.pick(end, pick, true) {
                    self.reset_behind(end, id, code)?;
                }
            }
            Operation::Release(end, pick) => {
                if let Some(id) = self.pick(end, pick, true) {
                    self.release(end, id);
                }
            }
            Operation::Drain(end, pick) => {
                if let Some(id) = self.pick(end, pick, true) {
                    self.drain(end, id);
                }
            }
            Operation::Send(end, most) => {
                self.send(end, most)?;
            }
            Operation::Receive(end, most) => self.receive(end, most)?,
            Operation::Wait(time) => self.wait_until(self.now + time)?,
            Operation::Suspend(time) => self.now += time,
            Operation::Timer(end) => self.timer(end)?,
            Operation::Stall(end, time) => {
                let until = self.now + time;
                self.party(end).pipe.stall(until);
            }
            Operation::Vanish(end) => self.party(end).pipe.vanish(),
            Operation::Cut(lose) => self.cut(lose),
            Operation::Close(end) => {
                let party = self.party(end);
                party.session.close(GoAwayCode::Closing, "enough");
                party.model.close(GoAwayCode::Closing, "enough");
                party.dirty = true;
            }
        }
        self.settle()
    }

    /// Moves at most `most` bytes from an end's session into the carrier.
    pub(crate) fn send(&mut self, end: End, most: usize) -> Verdict {
        let (sealed, refill) = (self.scenario.sealed, self.scenario.refill);
        let now = self.now;
        let party = self.party(end);
        if party.pipe.is_cut() {
            party.lose_carrier();
            return Ok(());
        }
        let empty = party.transmit.is_empty() && party.sealed.is_empty();
        if empty || (refill && !sealed && !party.transmit.is_full()) {
            party.fill_up(sealed)?;
        }
        let room = most.min(party.pipe.room());
        let bytes = party.take(room, sealed);
        let count = bytes.len();
        party.pipe.send(bytes, now);
        let done = party.model.ended && !party.dirty && party.unsent() == 0;
        self.digest(count as u64);
        if done {
            // Whoever ran the link drops the carrier.
            self.cut(false);
        }
        Ok(())
    }

    /// Moves at most `most` bytes from the carrier into an end's session.
    pub(crate) fn receive(&mut self, end: End, most: usize) -> Verdict {
        let now = self.now;
        let instant = self.start + now;
        let pipe = &mut self.party(end.other()).pipe;
        let bytes = pipe.receive(most, now);
        let over = pipe.is_cut() && pipe.next_arrival().is_none();
        let party = self.party(end);
        if party.model.ended {
            return Ok(());
        }
        if bytes.is_empty() {
            if over {
                party.lose_carrier();
            }
            return Ok(());
        }
        let seen = party.received.feed(&bytes);
        party.model.received(seen, now);
        party.input.extend_from_slice(&bytes);
        let result = party.session.handle_bytes(&mut party.input, instant);
        check!(result.is_ok(), "{end:?} blames its peer: {result:?}");
        party.dirty = true;
        self.digest(bytes.len() as u64 + (1 << 32));
        Ok(())
    }

    /// Lets time go on; timers fire when they are due.
    pub(crate) fn wait_until(&mut self, until: Duration) -> Verdict {
        loop {
            let due = |end: End| {
                let due = self.parties[end.index()].model.due();
                due.filter(|&due| due <= until).map(|due| (due, end))
            };
            let Some((due, end)) = End::BOTH.into_iter().filter_map(due).min() else {
                self.now = self.now.max(until);
                return self.settle();
            };
            self.now = self.now.max(due);
            self.timer(end)?;
            self.settle()?;
        }
    }

    fn timer(&mut self, end: End) -> Verdict {
        let now = self.now;
        let instant = self.start + now;
        let party = self.party(end);
        let ends = party.model.timer(now);
        let result = party.session.handle_timeout(instant);
        let code = result.as_ref().err().map(|error| error.code);
        check!(
            code == ends.then_some(GoAwayCode::PeerSilent),
            "{end:?}: a timer gives {result:?} at {now:?}"
        );
        party.dirty = true;
        Ok(())
    }

    fn cut(&mut self, lose: bool) {
        for party in &mut self.parties {
            party.pipe.cut(lose);
        }
    }

    /// A handle that the operation means, answered or not.
    fn pick(&mut self, end: End, pick: usize, answered: bool) -> Option<StreamId> {
        let handles = &self.party(end).handles;
        let fit = |handle: &Handle| handle.answered == answered;
        let count = handles.values().filter(|handle| fit(handle)).count();
        let nth = pick.checked_rem(count)?;
        let mut fitting = handles.iter().filter(|(_, handle)| fit(handle));
        fitting.nth(nth).map(|(&id, _)| id)
    }

    /// Compares what can be seen of both sessions with what the models say.
    pub(crate) fn settle(&mut self) -> Verdict {
        let (start, now) = (self.start, self.now);
        for end in End::BOTH {
            self.collect_events(end)?;
            let party = &self.parties[end.index()];
            let (session, model) = (&party.session, &party.model);
            let count = model.count(true) + model.count(false);
            check!(
                session.stream_count() == count,
                "{end:?}: {} streams instead of {count}",
                session.stream_count()
            );
            check!(
                session.is_ended() == model.ended,
                "{end:?}: ended is {} at {now:?}",
                session.is_ended()
            );
            let windows = |&id| session.window(id).unwrap_or(0);
            let sum: usize = model.sides.keys().map(windows).sum();
            check!(
                session.promised() == sum,
                "{end:?}: {} bytes promised, and windows of {sum}",
                session.promised()
            );
            let due = session.poll_timeout().map(|(due, _)| due - start);
            check!(
                due == model.due(),
                "{end:?}: the timer is due at {due:?} instead of {:?}",
                model.due()
            );
            party.nobody_sleeps_too_long(end)?;
        }
        Ok(())
    }

    fn collect_events(&mut self, end: End) -> Verdict {
        let scenario_seed = self.scenario.seed;
        let last_words = self.scenario.last_words;
        while let Some(event) = self.party(end).session.poll_event() {
            self.note(|| format!("    {end:?} hears {event:?}"));
            let party = self.party(end);
            match &event {
                Event::Readable(id) => {
                    if let Some(handle) = party.handles.get_mut(id) {
                        handle.blocked_read = false;
                    }
                    continue;
                }
                Event::Writable(id) => {
                    if let Some(handle) = party.handles.get_mut(id) {
                        handle.blocked_write = false;
                        handle.flushing &= party.model.expected_unsent(*id) > 0;
                    }
                    continue;
                }
                Event::Opened { stream, .. } => {
                    let handle = Handle::new(scenario_seed, *stream, end, last_words);
                    party.handles.insert(*stream, handle);
                }
                Event::Refused { stream, .. } => {
                    party.handles.remove(stream);
                }
                Event::Accepted { .. } | Event::GoAway { .. } => {}
            }
            let expected = party.model.events.pop_front();
            let same = match (&event, &expected) {
                // The words of a busy session are its own.
                (
                    Event::Refused { stream, refusal },
                    Some(Event::Refused {
                        stream: other,
                        refusal: expected,
                    }),
                ) => stream == other && same_refusal(refusal, expected),
                _ => Some(&event) == expected.as_ref(),
            };
            check!(same, "{end:?} hears {event:?} instead of {expected:?}");
        }
        let missing = self.party(end).model.events.front();
        check!(missing.is_none(), "{end:?} does not hear {missing:?}");
        Ok(())
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>10.3} ms  {}", now.as_secs_f64() * 1e3, line()));
        }
    }

    pub(crate) const fn digest(&mut self, value: u64) {
        self.digest = mix(self.digest ^ value);
    }
}

impl Party {
    /// The carrier is gone, and the end has noticed.
    fn lose_carrier(&mut self) {
        self.session.end();
        self.model.end();
        self.transmit = Transmit::default();
        self.sealed.clear();
        self.dirty = false;
    }

    fn fill_up(&mut self, sealed: bool) -> Verdict {
        let before = self.transmit.len();
        self.session.poll_transmit(&mut self.transmit);
        let bytes = self.whole_transmit()?;
        let batch = self.sent.feed(&bytes[before..]);
        self.dirty = !batch.is_empty();
        self.model.sent(&batch, self.transmit.is_full())?;
        if sealed {
            for chunk in self.transmit.take_chunks() {
                self.sealed.extend_from_slice(&chunk);
            }
        }
        Ok(())
    }

    fn whole_transmit(&mut self) -> Verdict<Vec<u8>> {
        let length = self.transmit.len();
        let mut room = 16;
        loop {
            let mut slices = vec![IoSlice::new(&[]); room];
            let filled = self.transmit.fill(&mut slices);
            let bytes = joined(&slices[..filled]);
            if bytes.len() == length {
                return Ok(bytes);
            }
            check!(
                filled == room,
                "{} bytes in a batch of {length}",
                bytes.len()
            );
            room *= 4;
        }
    }

    fn take(&mut self, most: usize, sealed: bool) -> Vec<u8> {
        if sealed {
            let count = most.min(self.sealed.len());
            return self.sealed.drain(..count).collect();
        }
        let mut slices = [IoSlice::new(&[]); 3];
        let filled = self.transmit.fill(&mut slices);
        let mut bytes = joined(&slices[..filled]);
        bytes.truncate(most);
        self.transmit.advance(bytes.len());
        bytes
    }

    /// Bytes that wait for room in the carrier.
    pub(crate) fn unsent(&self) -> usize {
        self.transmit.len() + self.sealed.len()
    }

    /// A read or a write that would go on was told so, and whoever waits for everything to be sent.
    fn nobody_sleeps_too_long(&self, end: End) -> Verdict {
        use lkc_protocol::session::{Read, Write};
        for (&id, handle) in &self.handles {
            if handle.blocked_read {
                let read = self.model.expected_read(id);
                check!(
                    read == Read::Blocked,
                    "{end:?}: nobody woke the reader of stream {id}: {read:?}"
                );
            }
            if handle.blocked_write {
                let write = self.model.expected_write(id);
                check!(
                    write == Write::Blocked,
                    "{end:?}: nobody woke the writer of stream {id}: {write:?}"
                );
            }
            check!(
                !handle.flushing || self.model.expected_unsent(id) > 0,
                "{end:?}: nobody said that all of stream {id} is sent"
            );
            let (reset, expected) = (self.session.reset_of(id), self.model.expected_reset(id));
            check!(
                reset == expected,
                "{end:?}: stream {id} is over with {reset:?} instead of {expected:?}"
            );
        }
        Ok(())
    }
}

fn joined(slices: &[IoSlice<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for slice in slices {
        bytes.extend_from_slice(slice);
    }
    bytes
}

fn same_refusal(said: &Refusal, expected: &Refusal) -> bool {
    said.code == expected.code && (said.text == expected.text || said.code == RefusalCode::Busy)
}

fn hello(end: End, limits: Limits) -> Hello {
    Hello {
        capability: 1,
        oldest_capability: 1,
        role: end.role(),
        plain: true,
        max_frame: u32::try_from(limits.max_frame).unwrap_or(u32::MAX),
        max_streams: u32::try_from(limits.max_streams).unwrap_or(u32::MAX),
        boot_id: [0; 16],
        version: "0.1.0".to_owned(),
        node: "simulated".to_owned(),
    }
}

/// What a busy actor says; a session that is too busy to ask says something else.
pub(crate) fn refusal() -> Refusal {
    Refusal::new(RefusalCode::Denied, "not this one")
}
