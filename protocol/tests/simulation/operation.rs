//! What can happen in one step.

use std::time::Duration;

use lkc_protocol::error::ResetCode;

use crate::{ends::End, random::Random};

/// A step. A `pick` chooses among the streams that there are then, so that an operation means
/// something whatever other operations are left out around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Open(End),
    Accept(End, usize),
    Refuse(End, usize),
    /// Picks, bytes.
    Write(End, usize, usize),
    Read(End, usize),
    Finish(End, usize),
    Reset(End, usize, ResetCode),
    /// Writes no more, and resets once everything is sent.
    Part(End, usize, ResetCode),
    Release(End, usize),
    Drain(End, usize),
    /// Moves at most so many bytes from an end's session into the carrier.
    Send(End, usize),
    /// Moves at most so many bytes from the carrier into an end's session.
    Receive(End, usize),
    /// Time goes on; timers fire when they are due.
    Wait(Duration),
    /// Time goes on and nobody acts, as when the machine is suspended.
    Suspend(Duration),
    /// An end's timer is looked at though nothing says so.
    Timer(End),
    /// What an end sends is held back for so long.
    Stall(End, Duration),
    /// What an end sends is swallowed from now on.
    Vanish(End),
    /// The carrier ends; what is on its way is lost or not.
    Cut(bool),
    /// An end closes the link.
    Close(End),
}

/// How likely each operation is in one run: runs differ, so that some are all writes and no reads,
/// others all resets.
#[derive(Debug)]
pub(crate) struct Mood {
    weights: Vec<(Make, usize)>,
    total: usize,
    longest_write: usize,
    longest_move: usize,
}

type Make = fn(&Mood, End, &mut Random) -> Operation;

impl Mood {
    pub(crate) fn new(random: &mut Random, longest_write: usize, longest_move: usize) -> Self {
        const WEIGHTS: [(Make, usize); 16] = [
            (|_, end, _| Operation::Open(end), 8),
            (|_, end, random| Operation::Accept(end, pick(random)), 12),
            (|_, end, random| Operation::Refuse(end, pick(random)), 1),
            (Mood::write, 30),
            (|_, end, random| Operation::Read(end, pick(random)), 40),
            (|_, end, random| Operation::Finish(end, pick(random)), 6),
            (
                |_, end, random| Operation::Reset(end, pick(random), reset_code(random)),
                2,
            ),
            (
                |_, end, random| Operation::Part(end, pick(random), reset_code(random)),
                2,
            ),
            (|_, end, random| Operation::Release(end, pick(random)), 4),
            (|_, end, random| Operation::Drain(end, pick(random)), 1),
            (Mood::send, 40),
            (Mood::receive, 40),
            (|_, _, random| Operation::Wait(pause(random, 500)), 8),
            (|_, _, random| Operation::Suspend(pause(random, 20_000)), 1),
            (|_, end, _| Operation::Timer(end), 1),
            (
                |_, end, random| Operation::Stall(end, pause(random, 8_000)),
                2,
            ),
        ];
        let weights: Vec<_> = WEIGHTS
            .iter()
            .map(|&(make, weight)| {
                let factor = random.of(&[0, 1, 1, 1, 4]);
                (make, weight * factor)
            })
            .collect();
        let total = weights.iter().map(|(_, weight)| weight).sum();
        Self {
            weights,
            total,
            longest_write,
            longest_move,
        }
    }

    pub(crate) fn operation(&self, random: &mut Random) -> Operation {
        let end = random.of(&End::BOTH);
        if random.once_in(1500) {
            return match random.below(4) {
                0 => Operation::Vanish(end),
                1 | 2 => Operation::Cut(random.once_in(2)),
                _ => Operation::Close(end),
            };
        }
        let mut rest = random.below(self.total.max(1));
        for &(make, weight) in &self.weights {
            if rest < weight {
                return make(self, end, random);
            }
            rest -= weight;
        }
        Operation::Open(end)
    }

    fn write(&self, end: End, random: &mut Random) -> Operation {
        Operation::Write(end, pick(random), random.size(self.longest_write))
    }

    fn send(&self, end: End, random: &mut Random) -> Operation {
        Operation::Send(end, random.size(self.longest_move))
    }

    fn receive(&self, end: End, random: &mut Random) -> Operation {
        Operation::Receive(end, random.size(self.longest_move))
    }
}

fn reset_code(random: &mut Random) -> ResetCode {
    random.of(&[
        ResetCode::Cancelled,
        ResetCode::ConnectionReset,
        ResetCode::Failed,
        ResetCode::Other(4711),
    ])
}

fn pick(random: &mut Random) -> usize {
    random.below(64)
}

fn pause(random: &mut Random, most_ms: usize) -> Duration {
    Duration::from_micros(random.size(most_ms * 1000) as u64)
}
