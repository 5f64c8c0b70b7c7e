//! The end of every run: everybody does what is left to do, in any order, and nothing must be
//! stuck, lost or left over.

use std::time::Duration;

use lkc_protocol::{error::GoAwayCode, frame::StreamId};

use crate::{
    check::{Verdict, check},
    ends::End,
    operation::Operation,
    random::{Random, mix},
    world::World,
};

/// Steps after which a run that is not over is going round in circles.
const MOST_STEPS: usize = 400_000;

/// How long a healthy link is watched doing nothing.
const IDLE: Duration = Duration::from_secs(30);

/// A link is given up after nine seconds of silence; some more for the other end to learn it.
const DOOM: Duration = Duration::from_secs(40);

#[derive(Debug, Clone, Copy)]
enum Task {
    Send(End),
    Receive(End),
    Turn(End, StreamId),
}

impl World {
    pub(crate) fn wind_up(&mut self) -> Verdict {
        self.note(|| "winding up".to_owned());
        let random = &mut Random::new(mix(self.scenario.seed ^ 0x5eed));
        self.run(false, random)?;
        self.note(|| "the sleepers wake".to_owned());
        self.run(true, random)?;
        for end in End::BOTH {
            let left = self.party(end).session.stream_count();
            check!(left == 0, "{end:?}: {left} streams are left over");
            let promised = self.party(end).session.promised();
            check!(promised == 0, "{end:?}: {promised} bytes stay promised");
        }
        if !self.is_doomed() {
            self.idle(random)?;
            self.part(random)?;
        }
        Ok(())
    }

    /// Runs until everybody is done; without `awake` those who sleep need not be, nor those who
    /// talk to them.
    fn run(&mut self, awake: bool, random: &mut Random) -> Verdict {
        let give_up = self.now + DOOM;
        for _ in 0..MOST_STEPS {
            let tasks = self.tasks(awake);
            if !tasks.is_empty() {
                let task = random.of(&tasks);
                self.perform(task, awake, random)?;
                self.settle()?;
                continue;
            }
            if let Some(at) = self.next_arrival() {
                self.wait_until(at)?;
                continue;
            }
            let stuck = self.stuck(awake);
            if stuck.is_empty() {
                return Ok(());
            }
            let due = End::BOTH.map(|end| self.party(end).model.due());
            let due = due.into_iter().flatten().min();
            match due {
                Some(due) if self.is_doomed() && due < give_up => self.wait_until(due)?,
                _ => return Err(format!("stuck: {}", stuck.join("; "))),
            }
        }
        Err("this never ends".to_owned())
    }

    fn perform(&mut self, task: Task, awake: bool, random: &mut Random) -> Verdict {
        let longest = self.scenario.longest_move;
        let most = if random.once_in(2) {
            random.size(longest)
        } else {
            longest
        };
        match task {
            Task::Send(end) => self.send(end, most),
            Task::Receive(end) => self.receive(end, most),
            Task::Turn(end, id) => self.turn(end, id, awake, random),
        }
    }

    fn tasks(&self, awake: bool) -> Vec<Task> {
        let mut tasks = Vec::new();
        for end in End::BOTH {
            let party = &self.parties[end.index()];
            let inbound = &self.parties[end.other().index()].pipe;
            let unsent = party.unsent() > 0;
            let room = party.pipe.room() > 0;
            let cut = party.pipe.is_cut();
            let has_word = if unsent { room } else { party.dirty };
            if has_word || (cut && !party.model.ended) {
                tasks.push(Task::Send(end));
            }
            let at_end = inbound.is_cut() && inbound.next_arrival().is_none();
            if !party.model.ended && (inbound.has_arrived(self.now) || at_end) {
                tasks.push(Task::Receive(end));
            }
            for (&id, handle) in &party.handles {
                if self.is_busy(end, id, handle, awake) {
                    tasks.push(Task::Turn(end, id));
                }
            }
        }
        tasks
    }

    fn next_arrival(&self) -> Option<Duration> {
        let arrival = |end: End| {
            let listens = !self.parties[end.other().index()].model.ended;
            let at = self.parties[end.index()].pipe.next_arrival();
            at.filter(|&at| listens && at > self.now)
        };
        End::BOTH.into_iter().filter_map(arrival).min()
    }

    /// Who waits for something that nobody will do.
    fn stuck(&self, awake: bool) -> Vec<String> {
        let mut stuck = Vec::new();
        for end in End::BOTH {
            let other = &self.parties[end.other().index()].handles;
            for (id, handle) in &self.parties[end.index()].handles {
                let asleep = handle.sleeper || other.get(id).is_some_and(|peer| peer.sleeper);
                if awake || !asleep {
                    let side = &self.parties[end.index()].model.sides[id];
                    stuck.push(format!("{end:?} stream {id}: {handle:?} {side:?}"));
                }
            }
            let count = self.parties[end.index()].session.stream_count();
            if awake && count > 0 {
                stuck.push(format!("{end:?}: {count} streams"));
            }
        }
        stuck
    }

    /// Whether the link has to end: of itself, because somebody closed it, or of silence.
    fn is_doomed(&self) -> bool {
        self.parties
            .iter()
            .any(|party| party.model.ended || party.pipe.is_cut() || party.pipe.has_vanished())
    }

    /// A link on which nothing happens stays.
    fn idle(&mut self, random: &mut Random) -> Verdict {
        self.note(|| "nothing happens".to_owned());
        for end in End::BOTH {
            self.party(end).pipe.flow();
        }
        let until = self.now + IDLE;
        while self.now < until {
            let due = End::BOTH.map(|end| self.party(end).model.due());
            let Some(due) = due.into_iter().flatten().min() else {
                break;
            };
            self.wait_until(due)?;
            self.run(true, random)?;
        }
        check!(!self.is_doomed(), "an idle link ended");
        Ok(())
    }

    /// The last word is heard.
    fn part(&mut self, random: &mut Random) -> Verdict {
        let end = random.of(&End::BOTH);
        self.apply(Operation::Close(end))?;
        self.run(true, random)?;
        for end in End::BOTH {
            check!(
                self.party(end).session.is_ended(),
                "{end:?} does not hear {:?}",
                GoAwayCode::Closing
            );
        }
        Ok(())
    }
}
