//! Streams whose reader has stopped.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use super::{
    BUFFER, Target,
    client::{Work, connect},
};
use crate::{Failure, interrupt::Interrupt};

/// Time without room for another byte after which everything in between is full.
const FULL: Duration = Duration::from_millis(100);

/// Longest time to fill what is in between.
const FILLING: Duration = Duration::from_secs(5);

/// Unread streams, closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Unread {
    _streams: Vec<TcpStream>,
}

impl Unread {
    /// Opens `count` streams each way and fills those that we write; those that the backend
    /// writes fill meanwhile.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub(crate) fn open(
        target: Target<'_>,
        count: u32,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let what = || Failure::to("open unread streams");
        let mut streams = Vec::new();
        for _ in 0..count {
            streams.push(connect(target.entry, Work::Flood).map_err(what())?);
        }
        for _ in 0..count {
            let mut stream = connect(target.entry, Work::Hold).map_err(what())?;
            stream.read_exact(&mut [0]).map_err(what())?;
            stream.set_write_timeout(Some(FULL)).map_err(what())?;
            fill(&mut stream, interrupt)?;
            streams.push(stream);
        }
        Ok(Self { _streams: streams })
    }
}

fn fill(stream: &mut TcpStream, interrupt: &Interrupt) -> Result<(), Failure> {
    let end = Instant::now() + FILLING;
    let buffer = vec![0; BUFFER];
    while Instant::now() < end {
        interrupt.check()?;
        match stream.write(&buffer) {
            Err(error) if is_timeout(error.kind()) => return Ok(()),
            Err(error) => return Err(Failure::to("fill an unread stream")(error)),
            Ok(_) => {}
        }
    }
    let text = format!("an unread stream still takes bytes after {FILLING:?}");
    Err(Failure::Candidate(text))
}

const fn is_timeout(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
