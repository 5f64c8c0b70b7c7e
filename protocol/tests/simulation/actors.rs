//! Those who hold streams: what they ask of their session, and what they do on their own.

use lkc_protocol::{
    error::ResetCode,
    frame::StreamId,
    session::{Read, Write},
};

use crate::{
    check::{Verdict, check},
    content,
    ends::End,
    model::Phase,
    random::{Random, mix},
    world::{World, refusal},
};

/// A stream in an actor's hands.
#[derive(Debug)]
pub(crate) struct Handle {
    /// Whether the actor has answered the request, or asked itself.
    pub(crate) answered: bool,
    /// A read or write was turned away and no event has come since.
    pub(crate) blocked_read: bool,
    pub(crate) blocked_write: bool,
    /// Waits until everything is sent, and has heard nothing since.
    pub(crate) flushing: bool,
    /// Writes no more, and resets once everything is sent.
    parting: Option<ResetCode>,
    /// Does not read until everybody else is done.
    pub(crate) sleeper: bool,
    /// Bytes that it writes of its own accord.
    pub(crate) last_words: usize,
    /// Whether it has said that no more follows.
    finished: bool,
    over: bool,
}

impl Handle {
    pub(crate) fn new(seed: u64, id: StreamId, end: End, last_words: usize) -> Self {
        let random = &mut Random::new(mix(seed ^ mix(u64::from(id.0) * 2 + end.index() as u64)));
        Self {
            answered: end.opens(id),
            blocked_read: false,
            blocked_write: false,
            flushing: false,
            parting: None,
            sleeper: random.once_in(6),
            last_words: random.below(last_words + 1),
            finished: false,
            over: false,
        }
    }
}

impl World {
    pub(crate) fn open(&mut self, end: End) -> Verdict {
        let (seed, last_words) = (self.scenario.seed, self.scenario.last_words);
        let party = self.party(end);
        let expected = party.model.open();
        let request = expected.map_or_else(|_| bytes::Bytes::new(), content::request);
        let opened = party.session.open(&request);
        check!(
            opened == expected,
            "{end:?} opens {opened:?} instead of {expected:?}"
        );
        if let Ok(id) = opened {
            let handle = Handle::new(seed, id, end, last_words);
            party.handles.insert(id, handle);
        }
        party.dirty = true;
        Ok(())
    }

    pub(crate) fn accept(&mut self, end: End, id: StreamId) {
        self.note(|| format!("  {end:?} accepts {id}"));
        let party = self.party(end);
        party.session.accept(id, &content::answer(id));
        party.model.accept(id);
        if let Some(handle) = party.handles.get_mut(&id) {
            handle.answered = true;
        }
        party.dirty = true;
    }

    pub(crate) fn refuse(&mut self, end: End, id: StreamId) {
        self.note(|| format!("  {end:?} refuses {id}"));
        let party = self.party(end);
        party.session.refuse(id, &refusal());
        party.model.refuse(id, &refusal());
        self.let_go(end, id);
    }

    pub(crate) fn write(&mut self, end: End, id: StreamId, count: usize) -> Verdict<Write> {
        let party = self.party(end);
        let written = party.model.sides.get(&id).map_or(0, |side| side.written);
        let bytes = content::bytes(id, end, written, count);
        let count = bytes.len();
        let write = party.session.write(id, bytes);
        party.model.write(id, count, write)?;
        if let Some(handle) = party.handles.get_mut(&id) {
            handle.blocked_write = write == Write::Blocked;
        }
        party.dirty = true;
        self.note(|| format!("  {end:?} writes {count} on {id}: {write:?}"));
        self.digest(count as u64 + (2 << 32));
        Ok(write)
    }

    pub(crate) fn read(&mut self, end: End, id: StreamId) -> Verdict<Read> {
        let party = self.party(end);
        let read = party.session.read(id);
        let window = party.session.window(id);
        party.model.read(id, &read, window)?;
        if let Some(handle) = party.handles.get_mut(&id) {
            handle.blocked_read = read == Read::Blocked;
        }
        party.dirty = true;
        self.note(|| match &read {
            Read::Data(bytes) => format!("  {end:?} reads {} on {id}", bytes.len()),
            other => format!("  {end:?} reads {other:?} on {id}"),
        });
        if let Read::Data(bytes) = &read {
            self.digest(bytes.len() as u64 + (3 << 32));
        }
        Ok(read)
    }

    pub(crate) fn finish(&mut self, end: End, id: StreamId) {
        self.note(|| format!("  {end:?} finishes {id}"));
        let party = self.party(end);
        party.session.finish(id);
        party.model.finish(id);
        if let Some(handle) = party.handles.get_mut(&id) {
            (handle.finished, handle.blocked_write) = (true, false);
        }
        party.dirty = true;
    }

    pub(crate) fn reset(&mut self, end: End, id: StreamId, code: ResetCode) {
        self.note(|| format!("  {end:?} resets {id}"));
        let party = self.party(end);
        party.session.reset(id, code);
        party.model.reset(id, code);
        self.let_go(end, id);
    }

    /// Resets once everything is sent, which is looked at now.
    pub(crate) fn reset_behind(&mut self, end: End, id: StreamId, code: ResetCode) -> Verdict {
        let party = self.party(end);
        let (unsent, expected) = (party.session.flush(id), party.model.expected_unsent(id));
        check!(
            unsent == expected,
            "stream {id}: {unsent} bytes are not sent instead of {expected}"
        );
        if let Some(handle) = party.handles.get_mut(&id) {
            (handle.parting, handle.flushing) = (Some(code), unsent > 0);
        }
        self.note(|| format!("  {end:?} parts from {id}: {unsent} bytes are not sent"));
        if unsent == 0 {
            self.reset(end, id, code);
        }
        Ok(())
    }

    pub(crate) fn release(&mut self, end: End, id: StreamId) {
        self.note(|| format!("  {end:?} releases {id}"));
        let party = self.party(end);
        party.session.release(id);
        party.model.release(id);
        self.let_go(end, id);
    }

    /// Only of a stream that was accepted: letting go like this is a way to end an answer.
    pub(crate) fn drain(&mut self, end: End, id: StreamId) {
        let open = |phase| phase == Phase::Open || phase == Phase::Gone;
        let party = self.party(end);
        if !party
            .model
            .sides
            .get(&id)
            .is_some_and(|side| open(side.phase))
        {
            return;
        }
        party.session.drain(id);
        party.model.drain(id);
        // The handle goes at last, and that says nothing more.
        party.session.release(id);
        self.note(|| format!("  {end:?} drains {id}"));
        self.let_go(end, id);
    }

    fn let_go(&mut self, end: End, id: StreamId) {
        let party = self.party(end);
        party.handles.remove(&id);
        party.dirty = true;
    }

    /// Whether an actor has something to do; `awake` says whether sleepers read, too.
    pub(crate) fn is_busy(&self, end: End, id: StreamId, handle: &Handle, awake: bool) -> bool {
        let model = &self.parties[end.index()].model;
        let Some(side) = model.sides.get(&id) else {
            return true;
        };
        let parts = handle.parting.is_some();
        if !handle.answered || handle.over || (parts && !handle.flushing) {
            return true;
        }
        if side.phase == Phase::Opening && !model.ended {
            return false;
        }
        let reads = !side.end_read && !handle.blocked_read && (awake || !handle.sleeper);
        let writes = !handle.finished && !handle.blocked_write;
        reads || (!parts && (writes || (handle.finished && side.end_read)))
    }

    /// A few things that an actor does when it gets its turn.
    pub(crate) fn turn(
        &mut self,
        end: End,
        id: StreamId,
        awake: bool,
        random: &mut Random,
    ) -> Verdict {
        for _ in 0..=random.below(4) {
            let party = self.party(end);
            let Some(handle) = party.handles.get(&id) else {
                return Ok(());
            };
            let (words, sleeps) = (handle.last_words, handle.sleeper && !awake);
            let (blocked_read, blocked_write) = (handle.blocked_read, handle.blocked_write);
            if !handle.answered {
                if random.once_in(10) {
                    self.refuse(end, id);
                } else {
                    self.accept(end, id);
                }
                continue;
            }
            let finished = handle.finished;
            let parting = handle.parting.filter(|_| !handle.flushing);
            let parts = handle.parting.is_some();
            let side = party.model.sides.get(&id);
            let end_read = side.is_none_or(|side| side.end_read);
            if let Some(code) = parting {
                self.reset_behind(end, id, code)?;
            } else if handle.over || (finished && end_read && !parts) {
                self.release(end, id);
            } else if !finished && !parts && !blocked_write && (words > 0 || random.once_in(2)) {
                self.speak(end, id, words, random)?;
            } else if !end_read && !blocked_read && !sleeps {
                let read = self.read(end, id)?;
                self.note_end(end, id, matches!(read, Read::Reset(_)));
            }
        }
        Ok(())
    }

    fn speak(&mut self, end: End, id: StreamId, words: usize, random: &mut Random) -> Verdict {
        if words == 0 {
            self.finish(end, id);
            return Ok(());
        }
        let count = random.size(words.min(content::LONGEST));
        let write = self.write(end, id, count)?;
        if write == Write::Queued
            && let Some(handle) = self.party(end).handles.get_mut(&id)
        {
            handle.last_words -= count;
        }
        self.note_end(end, id, matches!(write, Write::Reset(_)));
        Ok(())
    }

    fn note_end(&mut self, end: End, id: StreamId, over: bool) {
        if let Some(handle) = self.party(end).handles.get_mut(&id) {
            handle.over |= over;
        }
    }
}
