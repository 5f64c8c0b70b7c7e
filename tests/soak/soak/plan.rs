//! What a stream is to do, as a function of the run's seed and the stream's number.

use serde::Serialize;

/// Smallest and largest size of a direction, as powers of two.
const SIZES: std::ops::Range<u32> = 4..26;

/// What is under way when a reader stalls: more than all buffers between the ends.
const STALLED: u64 = 48 << 20;

/// Sizes of single writes and reads.
const PIECES: [usize; 6] = [1, 100, 1_460, 16_384, 65_536, 262_144];

/// Bytes that a stream with the smallest pieces has at most: one byte at a time takes its time.
const IN_SMALL_PIECES: u64 = 200_000;

/// A stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) up: Direction,
    pub(crate) down: Direction,
    pub(crate) order: Order,
    pub(crate) disturbance: Disturbance,
}

/// The bytes from one end to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Direction {
    pub(crate) bytes: u64,
    pub(crate) write: usize,
    pub(crate) read: usize,
}

/// Which direction is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    AtOnce,
    /// The server answers the client's end.
    UpFirst,
    /// The client answers the server's end.
    DownFirst,
}

/// What happens to a stream; its numbers are bytes after which it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disturbance {
    None,
    /// The client has sent so much and resets the connection.
    ClientResets(u64),
    ServerResets(u64),
    /// The client has read so much and stops until others have moved much.
    ClientStalls(u64),
    ServerStalls(u64),
}

/// The kinds of disturbance, to be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    ClientReset,
    ServerReset,
    ClientStall,
    ServerStall,
    AgentKilled,
    CarrierCut,
    AgentFrozen,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::ClientReset,
        Self::ServerReset,
        Self::ClientStall,
        Self::ServerStall,
        Self::AgentKilled,
        Self::CarrierCut,
        Self::AgentFrozen,
    ];
}

impl Disturbance {
    pub(crate) const fn kind(self) -> Option<Kind> {
        match self {
            Self::None => None,
            Self::ClientResets(_) => Some(Kind::ClientReset),
            Self::ServerResets(_) => Some(Kind::ServerReset),
            Self::ClientStalls(_) => Some(Kind::ClientStall),
            Self::ServerStalls(_) => Some(Kind::ServerStall),
        }
    }
}

impl Plan {
    /// Bytes of the client that say which stream it is. They are the first of those that go up.
    pub(crate) const HEADER: usize = 8;

    pub(crate) fn of(seed: u64, number: u64) -> Self {
        let mut random = Random::new(seed, number);
        let (mut up, mut down) = (random.direction(), random.direction());
        let order = match random.below(3) {
            0 => Order::AtOnce,
            1 => Order::UpFirst,
            _ => Order::DownFirst,
        };
        // By turns, so that a short run has each.
        let disturbance = match number % 16 {
            3 => {
                // The server must have heard who it was, and the client not be done.
                up.bytes = up.bytes.max(1 << 16);
                Disturbance::ClientResets(random.within(1 << 12, up.bytes))
            }
            7 => {
                down.bytes = down.bytes.max(1 << 16);
                Disturbance::ServerResets(random.below(down.bytes))
            }
            11 => {
                let after = random.below(1 << 20);
                down.stall_after(after);
                Disturbance::ClientStalls(after)
            }
            15 => {
                let after = random.below(1 << 20);
                up.stall_after(after);
                Disturbance::ServerStalls(after)
            }
            _ => Disturbance::None,
        };
        Self {
            up,
            down,
            order,
            disturbance,
        }
    }
}

impl Direction {
    const fn stall_after(&mut self, bytes: u64) {
        self.bytes = bytes + STALLED;
        (self.write, self.read) = (65_536, 65_536);
    }
}

/// A small generator; the same numbers for the same seed, for ever.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        let mut random = Self(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        random.next();
        random
    }

    /// SplitMix64.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) const fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    const fn within(&mut self, begin: u64, end: u64) -> u64 {
        begin + self.below(end - begin)
    }

    /// Sizes differ in their magnitude; now and then there is nothing but what must be.
    fn direction(&mut self) -> Direction {
        let most = 1_u64 << self.within(u64::from(SIZES.start), u64::from(SIZES.end));
        let (write, read) = (self.piece(), self.piece());
        let mut bytes = Plan::HEADER as u64 + self.below(most);
        if self.below(10) == 0 {
            bytes = Plan::HEADER as u64;
        }
        if write.min(read) <= 100 {
            bytes = bytes.min(IN_SMALL_PIECES);
        }
        Direction { bytes, write, read }
    }

    fn piece(&mut self) -> usize {
        let index = self.below(PIECES.len() as u64);
        let index = usize::try_from(index).unwrap_or_default();
        PIECES.get(index).copied().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn plans_are_the_same_again_and_have_everything() {
        let mut kinds = BTreeSet::new();
        for number in 0..1000 {
            let plan = Plan::of(7, number);
            assert_eq!(plan, Plan::of(7, number));
            kinds.extend(plan.disturbance.kind());
            assert!(plan.up.bytes >= Plan::HEADER as u64);
            match plan.disturbance {
                Disturbance::ClientResets(after) => assert!(after < plan.up.bytes),
                Disturbance::ServerResets(after) => assert!(after < plan.down.bytes),
                Disturbance::ClientStalls(after) => assert!(after + STALLED <= plan.down.bytes),
                Disturbance::ServerStalls(after) => assert!(after + STALLED <= plan.up.bytes),
                Disturbance::None => {}
            }
        }
        assert_eq!(kinds.len(), 4);
        assert_ne!(Plan::of(7, 1), Plan::of(8, 1));
    }
}
