//! Connections that do nothing.

use std::{
    io::{ErrorKind, Read},
    net::TcpStream,
};

use super::{
    Target,
    client::{Work, connect},
};
use crate::{Failure, interrupt::Interrupt};

/// Open connections, closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Idle {
    streams: Vec<TcpStream>,
}

impl Idle {
    /// Opens `count` connections, one after the other; each has moved a byte both ways.
    ///
    /// # Errors
    /// When one of them fails.
    pub(crate) fn open(
        target: Target<'_>,
        count: u32,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let mut streams = Vec::new();
        for number in 1..=count {
            interrupt.check()?;
            let what = || Failure::to(format!("open idle connection {number}"));
            let mut stream = connect(target.entry, Work::Hold).map_err(what())?;
            stream.read_exact(&mut [0]).map_err(what())?;
            streams.push(stream);
        }
        Ok(Self { streams })
    }

    /// How many of them have ended by themselves.
    pub(crate) fn lost(&self) -> usize {
        let lost = |stream: &&TcpStream| {
            let look = stream
                .set_nonblocking(true)
                .and_then(|()| stream.peek(&mut [0]));
            // One that stands has nothing to say.
            !look.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        };
        self.streams.iter().filter(lost).count()
    }
}
