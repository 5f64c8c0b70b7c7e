//! Connections that do nothing.

use std::{io::Read, net::TcpStream};

use super::{
    Target,
    client::{Work, connect},
};
use crate::{Failure, interrupt::Interrupt};

/// Open connections, closed when it is dropped.
#[derive(Debug)]
pub(crate) struct Idle {
    _streams: Vec<TcpStream>,
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
        Ok(Self { _streams: streams })
    }
}
