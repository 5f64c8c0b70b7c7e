//! A client's connection: its first five bytes tell the backend what to do with it.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Longest wait for anything on a connection. A tunnel that takes longer is reported as stuck.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// What the backend does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    /// Reads and counts, for the counter with this number.
    Sink(u32),
    /// Writes.
    Flood,
    /// Does both.
    Both(u32),
    /// Answers messages of so many bytes.
    Echo(u32),
    /// Answers with a byte and closes.
    Exchange,
    /// Answers with a byte and then does nothing, not even read.
    Hold,
    /// Reads to the end, then answers with as many bytes of the pattern and a hash of what it read.
    Verify(u32),
}

impl Work {
    pub(super) const LENGTH: usize = 5;

    pub(super) fn encode(self) -> [u8; Self::LENGTH] {
        let (kind, argument) = match self {
            Self::Sink(counter) => (1, counter),
            Self::Flood => (2, 0),
            Self::Both(counter) => (3, counter),
            Self::Echo(size) => (4, size),
            Self::Exchange => (5, 0),
            Self::Hold => (6, 0),
            Self::Verify(length) => (7, length),
        };
        let [a, b, c, d] = argument.to_be_bytes();
        [kind, a, b, c, d]
    }

    pub(super) const fn decode([kind, a, b, c, d]: [u8; Self::LENGTH]) -> Option<Self> {
        let argument = u32::from_be_bytes([a, b, c, d]);
        Some(match kind {
            1 => Self::Sink(argument),
            2 => Self::Flood,
            3 => Self::Both(argument),
            4 => Self::Echo(argument),
            5 => Self::Exchange,
            6 => Self::Hold,
            7 => Self::Verify(argument),
            _ => return None,
        })
    }
}

/// Connects and says what to do. Every later wait is bounded.
pub(super) fn connect(entry: SocketAddr, work: Work) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&entry, DEADLINE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    stream.write_all(&work.encode())?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_survives_the_wire() {
        let all = [
            Work::Sink(70_000),
            Work::Flood,
            Work::Both(3),
            Work::Echo(16_384),
            Work::Exchange,
            Work::Hold,
            Work::Verify(9),
        ];
        for work in all {
            assert_eq!(Work::decode(work.encode()), Some(work));
        }
        assert_eq!(Work::decode([0; 5]), None);
    }
}
