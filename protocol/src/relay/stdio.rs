//! Joins standard input and output with a socket, for a carrier that passes through this process.
//!
//! The ends of streams are frames of the link inside, so that here the end of one direction is the
//! end of all: whoever ends the process closes both sides.

use std::{
    fmt,
    fs::File,
    io::{self, Read, Write},
    net::TcpStream,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    str::FromStr,
    sync::mpsc,
    thread,
};

use thiserror::Error;
use vsock::VsockStream;

/// Bytes moved at once.
const BUFFER: usize = 64 * 1024;

/// Where a relay leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RelayTarget {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// AF_VSOCK of a guest.
    Vsock {
        /// Its context id.
        cid: u32,
        /// Port.
        port: u32,
    },
}

/// A text that names no place to relay to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is nowhere to relay to: write unix:PATH, tcp:HOST:PORT or vsock:CID:PORT")]
pub struct RelayTargetError(String);

impl FromStr for RelayTarget {
    type Err = RelayTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let target = match text.split_once(':') {
            Some(("unix", path)) if path.starts_with('/') => Some(Self::Unix(path.into())),
            Some(("tcp", rest)) => rest.rsplit_once(':').and_then(|(host, port)| {
                let bare = host
                    .strip_prefix('[')
                    .and_then(|host| host.strip_suffix(']'))
                    .unwrap_or(host);
                let host = (!bare.is_empty()).then(|| bare.to_owned())?;
                let port = port.parse().ok().filter(|&port| port != 0)?;
                Some(Self::Tcp { host, port })
            }),
            Some(("vsock", rest)) => rest.split_once(':').and_then(|(cid, port)| {
                Some(Self::Vsock {
                    cid: cid.parse().ok()?,
                    port: port.parse().ok()?,
                })
            }),
            _ => None,
        };
        target.ok_or_else(|| RelayTargetError(text.to_owned()))
    }
}

impl fmt::Display for RelayTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => {
                write!(formatter, "tcp:[{host}]:{port}")
            }
            Self::Tcp { host, port } => write!(formatter, "tcp:{host}:{port}"),
            Self::Vsock { cid, port } => write!(formatter, "vsock:{cid}:{port}"),
        }
    }
}

/// Why nothing is relayed any more.
#[derive(Debug, Error)]
pub enum StdioError {
    /// Nobody is there.
    #[error("cannot connect to {target}")]
    Connect {
        /// Where.
        target: RelayTarget,
        /// Why.
        source: io::Error,
    },
    /// Standard input or output cannot be used.
    #[error("cannot use standard input and output")]
    Stdio(#[source] io::Error),
    /// The connection or a pipe broke.
    #[error("the connection to {target} broke")]
    Broke {
        /// Where to.
        target: RelayTarget,
        /// Why.
        source: io::Error,
    },
}

/// Joins this process's standard input and output with `target` until one of the two directions
/// ends. Blocks; a thread may be left that waits for input, and the caller should end the process.
///
/// # Errors
/// See [`StdioError`].
pub fn stdio(target: &RelayTarget) -> Result<(), StdioError> {
    let socket = Far::connect(target).map_err(|source| StdioError::Connect {
        target: target.clone(),
        source,
    })?;
    // Our own descriptors: the standard ones are buffered by lines.
    let input = own(io::stdin().as_fd()).map_err(StdioError::Stdio)?;
    let output = own(io::stdout().as_fd()).map_err(StdioError::Stdio)?;
    let back = socket.try_clone().map_err(StdioError::Stdio)?;
    join(input, output, socket, back).map_err(|source| StdioError::Broke {
        target: target.clone(),
        source,
    })
}

fn own(descriptor: BorrowedFd<'_>) -> io::Result<File> {
    Ok(descriptor.try_clone_to_owned()?.into())
}

/// Copies both ways until one direction ends.
fn join(
    input: impl Read + Send + 'static,
    output: impl Write + Send + 'static,
    far_writer: impl Write + Send + 'static,
    far_reader: impl Read + Send + 'static,
) -> io::Result<()> {
    let (ended, ends) = mpsc::channel();
    let there = ended.clone();
    thread::Builder::new().spawn(move || there.send(copy(input, far_writer)))?;
    thread::Builder::new().spawn(move || ended.send(copy(far_reader, output)))?;
    // Both threads hold a sender until they have sent.
    ends.recv().unwrap_or(Ok(()))
}

fn copy(mut from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return to.flush(),
            Ok(count) => to.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A connected target.
#[derive(Debug)]
enum Far {
    Unix(UnixStream),
    Tcp(TcpStream),
    Vsock(VsockStream),
}

impl Far {
    fn connect(target: &RelayTarget) -> io::Result<Self> {
        Ok(match target {
            RelayTarget::Unix(path) => Self::Unix(UnixStream::connect(path)?),
            RelayTarget::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port))?;
                stream.set_nodelay(true)?;
                Self::Tcp(stream)
            }
            RelayTarget::Vsock { cid, port } => {
                Self::Vsock(VsockStream::connect_with_cid_port(*cid, *port)?)
            }
        })
    }

    fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Vsock(stream) => Self::Vsock(stream.try_clone()?),
        })
    }
}

impl Read for Far {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buffer),
            Self::Tcp(stream) => stream.read(buffer),
            Self::Vsock(stream) => stream.read(buffer),
        }
    }
}

impl Write for Far {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
            Self::Vsock(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_survive_being_written_and_read() {
        for text in [
            "unix:/run/lkc/agent.sock",
            "tcp:10.0.0.2:7000",
            "tcp:[fd00::1]:7000",
            "vsock:52:5000",
        ] {
            assert_eq!(text.parse::<RelayTarget>().unwrap().to_string(), text);
        }
        for text in [
            "", "unix:a", "tcp:7000", "tcp::1", "tcp:a:0", "vsock:5", "exec:sh",
        ] {
            assert!(text.parse::<RelayTarget>().is_err(), "{text}");
        }
    }

    #[test]
    fn all_bytes_arrive_and_the_first_end_is_the_end() {
        let sent: Vec<u8> = (0..1_000_000_u32).map(|number| number as u8).collect();
        let (near, far) = UnixStream::pair().unwrap();
        let (stdin, mut typed) = UnixStream::pair().unwrap();
        let (mut shown, stdout) = UnixStream::pair().unwrap();
        let joined = thread::spawn(move || {
            let back = near.try_clone().unwrap();
            join(stdin, stdout, near, back)
        });
        let mut far_reader = far.try_clone().unwrap();
        let expected = sent.clone();
        let arrived = thread::spawn(move || {
            let mut bytes = vec![0; expected.len()];
            far_reader.read_exact(&mut bytes).unwrap();
            assert!(bytes == expected);
        });
        typed.write_all(&sent).unwrap();
        arrived.join().unwrap();
        let (mut far_writer, answer) = (far, sent.clone());
        let answering = thread::spawn(move || far_writer.write_all(&answer));
        let mut bytes = vec![0; sent.len()];
        shown.read_exact(&mut bytes).unwrap();
        assert!(bytes == sent);
        answering.join().unwrap().unwrap();
        joined.join().unwrap().unwrap();
    }
}
