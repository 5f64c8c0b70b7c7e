//! Everything that a seed decides.

use std::time::Duration;

use lkc_protocol::session::Limits;

use crate::{
    operation::{Mood, Operation},
    pipe::Shape,
    random::Random,
};

#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) limits: [Limits; 2],
    pub(crate) shapes: [Shape; 2],
    /// Most bytes that one step moves when everything is wound up.
    pub(crate) longest_move: usize,
    /// Bytes that each handle still writes when everything is wound up, at most.
    pub(crate) last_words: usize,
    /// Whether a batch is copied out whole, as one is that is sealed, or written piece by piece.
    pub(crate) sealed: bool,
    /// Whether a batch that is not gone yet is filled up again.
    pub(crate) refill: bool,
    pub(crate) operations: Vec<Operation>,
}

impl Scenario {
    pub(crate) fn from_seed(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        // Large pieces take other ways than small ones, and need room everywhere at once.
        let roomy = random.once_in(4);
        let capacity = if roomy {
            1 << 20
        } else {
            random.of(&[1, 7, 100, 4096, 65_536, 1 << 20])
        };
        let latency = Duration::from_micros(random.of(&[0, 50, 1000, 100_000]));
        let shape = Shape { capacity, latency };
        let back = Shape {
            capacity: if roomy {
                capacity
            } else {
                random.of(&[capacity, capacity, 512])
            },
            latency: random.of(&[latency, latency, Duration::from_millis(20)]),
        };
        let longest_move = if roomy {
            1 << 20
        } else {
            random.of(&[7, 1000, 100_000, 1 << 20])
        };
        let limits = [(); 2].map(|()| {
            let limits = limits(random);
            if roomy { with_room(limits) } else { limits }
        });
        // A run in tiny pieces is short, so that every run takes about as long.
        let piece = limits.map(|it| it.max_frame.min(it.data_frame).min(it.min_window) * 8);
        let bounds = [capacity, back.capacity, longest_move, piece[0], piece[1]];
        let narrowest = bounds.into_iter().min().unwrap_or(1);
        let most = (narrowest * 50).clamp(100, 150_000);
        let mood = Mood::new(random, most, longest_move);
        let length = random.of(&[20, 100, 300, 600]);
        Self {
            seed,
            limits,
            shapes: [shape, back],
            longest_move,
            last_words: random.of(&[0, most / 4, most]),
            sealed: random.once_in(3),
            refill: random.once_in(3),
            operations: (0..length).map(|_| mood.operation(random)).collect(),
        }
    }
}

fn with_room(limits: Limits) -> Limits {
    Limits {
        max_frame: 1 << 20,
        data_frame: 65_536,
        min_window: 16_384,
        first_window: 300_000,
        window: 1 << 20,
        window_budget: 64 << 20,
        send_buffer: 256 * 1024,
        ..limits
    }
}

fn limits(random: &mut Random) -> Limits {
    let window = random.of(&[16_384, 20_000, 65_536, 300_000, 1 << 20]);
    Limits {
        max_streams: 1 + random.below(30),
        max_unanswered: 1 + random.below(12),
        max_unanswered_bytes: random.of(&[50, 100, 1 << 20]),
        max_frame: random.of(&[16, 1000, 65_536, 1 << 20]),
        data_frame: random.of(&[10, 1000, 16_384, 65_536]),
        min_window: random.of(&[64, 500, 4096, 16_384]).min(window),
        first_window: random.of(&[1000, 16_384, window]),
        window,
        window_budget: random.of(&[0, 100_000, 1 << 20, 64 << 20]),
        send_buffer: random.of(&[1, 1000, 65_536, 256 * 1024]),
        ..Limits::default()
    }
}
