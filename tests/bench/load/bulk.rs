//! Streams that move as many bytes as they can.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use clap::ValueEnum;

use super::{
    BUFFER, Target,
    client::{Work, connect},
};
use crate::{Failure, interrupt::Interrupt};

/// Longest wait for the first byte.
const FIRST_BYTE: Duration = Duration::from_secs(5);

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Direction {
    /// From the client to the backend.
    Up,
    /// From the backend to the client.
    Down,
    /// Up and down at once.
    Both,
}

/// Streams under way; they end when it is dropped.
#[derive(Debug)]
pub(crate) struct Bulk {
    streams: Vec<TcpStream>,
    threads: Vec<JoinHandle<()>>,
    up: Arc<AtomicU64>,
    down: Arc<AtomicU64>,
}

impl Bulk {
    /// Opens `count` streams and waits until bytes have arrived.
    ///
    /// # Errors
    /// When a stream cannot be opened or nothing arrives.
    pub(crate) fn start(
        target: Target<'_>,
        direction: Direction,
        count: u32,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let (number, up) = target.backend.counter();
        let mut bulk = Self {
            streams: Vec::new(),
            threads: Vec::new(),
            up,
            down: Arc::default(),
        };
        let what = || Failure::to("open a bulk stream");
        for _ in 0..count {
            let work = match direction {
                Direction::Up => Work::Sink(number),
                Direction::Down => Work::Flood,
                Direction::Both => Work::Both(number),
            };
            let stream = connect(target.entry, work).map_err(what())?;
            if direction != Direction::Down {
                let mut writer = stream.try_clone().map_err(what())?;
                bulk.threads.push(thread::spawn(move || {
                    let buffer = vec![0xa5; BUFFER];
                    while writer.write_all(&buffer).is_ok() {}
                }));
            }
            if direction != Direction::Up {
                let mut reader = stream.try_clone().map_err(what())?;
                let down = Arc::clone(&bulk.down);
                bulk.threads.push(thread::spawn(move || {
                    let mut buffer = vec![0; BUFFER];
                    while let Ok(count @ 1..) = reader.read(&mut buffer) {
                        down.fetch_add(count as u64, Ordering::Relaxed);
                    }
                }));
            }
            bulk.streams.push(stream);
        }
        let moving = || {
            let up = bulk.up.load(Ordering::Relaxed) > 0 || direction == Direction::Down;
            let down = bulk.down.load(Ordering::Relaxed) > 0 || direction == Direction::Up;
            (up && down).then_some(())
        };
        interrupt.until("a byte arrives", FIRST_BYTE, moving)?;
        Ok(bulk)
    }

    /// Bytes that have arrived so far, at both ends.
    pub(crate) fn received(&self) -> u64 {
        self.up.load(Ordering::Relaxed) + self.down.load(Ordering::Relaxed)
    }
}

impl Drop for Bulk {
    fn drop(&mut self) {
        for stream in &self.streams {
            // It may have failed meanwhile.
            let _ = stream.shutdown(Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
