//! Two sockets joined, for a connection that the other agent handed over: no multiplexer between,
//! and of much that comes at a time no copy.

use std::{
    io,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::{io::Interest, task::yield_now};

use super::{
    Counters, JoinEnd,
    buffer::Buffer,
    reset::{Cut, after_a_moment, while_it_moves},
    socket::{ResetUnlessFinished, Socket},
    splice::{Share, Splice},
};

/// Bytes that one direction moves before other connections of the thread get their turn.
const TURN: usize = 512 * 1024;

/// What a read counts for at least: many small ones take their time too.
const READ: usize = 4 * 1024;

/// Bytes of a turn from which on the next is not copied: few are copied faster than moved.
const BULK: usize = 64 * 1024;

/// Joins `client` and `target` until both directions have ended or one end fails; the other then
/// sees a reset. Dropping the future resets both.
///
/// Blocks its thread where somebody else holds one of the sockets too and has made it blocking.
pub async fn join(client: impl Socket, target: impl Socket, counters: &Counters) -> JoinEnd {
    let client = ResetUnlessFinished::new(client);
    let target = ResetUnlessFinished::new(target);
    let result = both(client.socket(), target.socket(), counters).await;
    match result {
        Ok(()) => {
            client.finished();
            target.finished();
            JoinEnd::Finished
        }
        Err(end) => end,
    }
}

/// Runs both directions to their ends. Where one has ended, nobody reads there any more, and a
/// reset that follows the end shows only to who watches for it. Where one fails to write, the other
/// still has what came before.
async fn both(
    client: &impl Socket,
    target: &impl Socket,
    counters: &Counters,
) -> Result<(), JoinEnd> {
    let (client_cut, target_cut) = (Cut::default(), Cut::default());
    let Counters { sent, received } = counters;
    let pipes = Share::new();
    let mut up = pin!(pump(client, &client_cut, target, sent, &pipes));
    let mut down = pin!(pump(target, &target_cut, client, received, &pipes));
    let end = tokio::select! {
        ended = &mut up => match ended {
            Ok(()) => tokio::select! {
                biased;
                ended = down => return ended.map_err(JoinEnd::of_down),
                error = client.failure() => JoinEnd::Client(error),
            },
            Err(failed) => {
                if let Failed::Writing(error) = &failed {
                    target_cut.note(error);
                    while_it_moves(down, || received.load(Ordering::Relaxed)).await;
                }
                JoinEnd::of_up(failed)
            }
        },
        ended = &mut down => match ended {
            Ok(()) => tokio::select! {
                biased;
                ended = up => return ended.map_err(JoinEnd::of_up),
                error = target.failure() => JoinEnd::Target(error),
            },
            Err(failed) => {
                if let Failed::Writing(error) = &failed {
                    client_cut.note(error);
                    while_it_moves(up, || sent.load(Ordering::Relaxed)).await;
                }
                JoinEnd::of_down(failed)
            }
        },
    };
    Err(end)
}

/// Which end of a direction failed.
enum Failed {
    Reading(io::Error),
    Writing(io::Error),
}

impl JoinEnd {
    fn of_up(failed: Failed) -> Self {
        match failed {
            Failed::Reading(error) => Self::Client(error),
            Failed::Writing(error) => Self::Target(error),
        }
    }

    fn of_down(failed: Failed) -> Self {
        match failed {
            Failed::Reading(error) => Self::Target(error),
            Failed::Writing(error) => Self::Client(error),
        }
    }
}

/// Moves bytes until `from` ends, and then ends that direction of `to`.
async fn pump(
    from: &impl Socket,
    cut: &Cut,
    to: &impl Socket,
    moved: &AtomicU64,
    pipes: &Share<'_>,
) -> Result<(), Failed> {
    let mut bulk = false;
    loop {
        from.ready(Interest::READABLE)
            .await
            .map_err(Failed::Reading)?;
        // Taken only once there is something to read: an idle connection holds neither.
        let pipe = if bulk { pipes.take() } else { None };
        let turn = match pipe {
            Some(pipe) => splice(from, to, pipe, moved).await?,
            None => copy(from, to, moved).await?,
        };
        match turn {
            Turn::Ended => {
                cut.check_end().map_err(Failed::Reading)?;
                return to.finish().map_err(Failed::Writing);
            }
            Turn::Paused(count) => bulk = count >= BULK,
            Turn::Over(count) => {
                bulk = count >= BULK;
                yield_now().await;
            }
        }
    }
}

/// How a turn of one direction ended.
enum Turn {
    /// `from` has ended.
    Ended,
    /// Nothing more has arrived, after so many bytes.
    Paused(usize),
    /// There may be more, but it is the others' turn, after so many bytes.
    Over(usize),
}

async fn copy(from: &impl Socket, to: &impl Socket, moved: &AtomicU64) -> Result<Turn, Failed> {
    let mut buffer = Buffer::take();
    let (mut turn, mut passed) = (0, 0);
    while turn < TURN {
        buffer.bytes_mut().clear();
        match from.receive(buffer.bytes_mut()) {
            Ok(0) => return Ok(Turn::Ended),
            Ok(count) => {
                let mut bytes = buffer.as_ref();
                while !bytes.is_empty() {
                    match to.send(bytes) {
                        Ok(count) => bytes = &bytes[count..],
                        Err(error) => writable(from, to, error).await?,
                    }
                }
                moved.fetch_add(count as u64, Ordering::Relaxed);
                turn += count.max(READ);
                passed += count;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Turn::Paused(passed));
            }
            Err(error) => return Err(Failed::Reading(error)),
        }
    }
    Ok(Turn::Over(passed))
}

async fn splice(
    from: &impl Socket,
    to: &impl Socket,
    mut pipe: Splice<'_>,
    moved: &AtomicU64,
) -> Result<Turn, Failed> {
    let (mut turn, mut passed) = (0, 0);
    while turn < TURN {
        match pipe.fill(from) {
            Ok(0) => return Ok(Turn::Ended),
            Ok(count) => {
                while pipe.held() > 0 {
                    if let Err(error) = pipe.drain(to) {
                        writable(from, to, error).await?;
                    }
                }
                moved.fetch_add(count as u64, Ordering::Relaxed);
                turn += count.max(READ);
                passed += count;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Turn::Paused(passed));
            }
            Err(error) => return Err(Failed::Reading(error)),
        }
    }
    Ok(Turn::Over(passed))
}

/// Waits after `error` until `to` takes more, if that is all that it says. Meanwhile nobody reads
/// `from`, so its failure has to be watched for.
async fn writable(from: &impl Socket, to: &impl Socket, error: io::Error) -> Result<(), Failed> {
    if error.kind() != io::ErrorKind::WouldBlock {
        return Err(Failed::Writing(error));
    }
    tokio::select! {
        biased;
        ready = to.ready(Interest::WRITABLE) => ready.map_err(Failed::Writing),
        () = after_a_moment(from.failed()) => Err(Failed::Reading(from.reason())),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        os::fd::{AsFd, BorrowedFd},
        os::unix::net::UnixStream,
        sync::atomic::AtomicUsize,
    };

    use super::*;

    /// Has a byte to read whenever it is asked, and takes all.
    struct Trickle {
        socket: UnixStream,
        reads: AtomicUsize,
    }

    impl Trickle {
        fn new() -> Self {
            let (socket, _) = UnixStream::pair().unwrap();
            let reads = AtomicUsize::new(0);
            Self { socket, reads }
        }
    }

    impl AsFd for Trickle {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.socket.as_fd()
        }
    }

    impl Socket for Trickle {
        async fn ready(&self, interest: Interest) -> io::Result<()> {
            if interest == Interest::ERROR {
                std::future::pending::<()>().await;
            }
            Ok(())
        }

        fn attempt<T>(
            &self,
            _interest: Interest,
            operation: impl FnOnce() -> io::Result<T>,
        ) -> io::Result<T> {
            operation()
        }

        fn send_at_once(&self) {}

        fn reset_on_close(&self) {}

        fn end_on_close(&self) {}

        fn take_error(&self) -> Option<io::Error> {
            None
        }

        fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
            self.reads.fetch_add(1, Ordering::Relaxed);
            buffer.push(7);
            Ok(1)
        }

        fn send(&self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
    }

    #[tokio::test]
    async fn bytes_that_come_one_by_one_leave_others_their_turn() {
        let (client, target) = (Trickle::new(), Trickle::new());
        let counters = Counters::default();
        tokio::select! {
            biased;
            _ = both(&client, &target, &counters) => panic!("it has no end"),
            () = std::future::ready(()) => {}
        }
        let reads = client.reads.load(Ordering::Relaxed);
        assert!(
            (1..=TURN / READ).contains(&reads),
            "{reads} reads in a turn"
        );
    }
}
