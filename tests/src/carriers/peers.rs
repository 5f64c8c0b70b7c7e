//! A proxy, a virtual machine monitor with its vsock socket, one with a serial line. Each runs on
//! threads that end with their sockets.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::Shutdown,
    os::{
        fd::OwnedFd,
        unix::{
            fs::symlink,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use nix::{
    pty::openpty,
    sys::termios::{self, SetArg},
    unistd::ttyname,
};

/// Passes bytes between the sockets at `near` and `far`, as `socat` and `ssh -L` do.
///
/// # Panics
/// When it cannot listen there.
pub fn proxy(near: &Path, far: PathBuf) {
    each(near, move |client| {
        let server = UnixStream::connect(&far)?;
        join(client, server);
        Ok(())
    });
}

/// A monitor whose guest listens on port 5000 with the socket at `far`. As several do, it makes a
/// half-close a whole one.
///
/// # Panics
/// When it cannot listen there.
pub fn monitor(near: &Path, far: PathBuf) {
    each(near, move |mut client| {
        let mut question = Vec::new();
        while !question.ends_with(b"\n") {
            let mut byte = [0];
            client.read_exact(&mut byte)?;
            question.extend(byte);
        }
        if question != b"CONNECT 5000\n" {
            return Ok(());
        }
        let server = UnixStream::connect(&far)?;
        client.write_all(b"OK 1073741824\n")?;
        join(client, server);
        Ok(())
    });
}

/// What is left on a line from before.
const STALE: &[u8] = b"\x9eLKC\r\n\x1a\x00 the end of an earlier link, cut in the middle ";

/// A monitor with a serial line to the guest at `line`. It takes one client at a time, and hangs up
/// on the guest when that one goes.
///
/// # Panics
/// When it cannot listen there.
pub fn serial(near: &Path, line: PathBuf) {
    let listener = UnixListener::bind(near).expect("a path that is free");
    thread::spawn(move || {
        while let Ok((mut client, _)) = listener.accept() {
            if let Err(error) = serve_line(&mut client, &line) {
                // The next client gets a line of its own.
                let _ = client.write_all(error.to_string().as_bytes());
            }
        }
    });
}

fn serve_line(client: &mut UnixStream, line: &Path) -> io::Result<()> {
    let pair = openpty(None, None)?;
    let mut settings = termios::tcgetattr(&pair.slave)?;
    termios::cfmakeraw(&mut settings);
    termios::tcsetattr(&pair.slave, SetArg::TCSANOW, &settings)?;
    let mut master = File::from(pair.master);
    // Both directions begin in the middle of something.
    master.write_all(STALE)?;
    client.write_all(STALE)?;
    let _ = fs::remove_file(line);
    symlink(ttyname(&pair.slave)?, line)?;
    let held: OwnedFd = pair.slave;
    let mut to_client = client.try_clone()?;
    let mut from_guest = master.try_clone()?;
    let ending = Arc::new(client.try_clone()?);
    let ended = Arc::clone(&ending);
    let back = thread::spawn(move || {
        let _ = copy(&mut from_guest, &mut to_client);
        let _ = ended.shutdown(Shutdown::Both);
    });
    let _ = copy(client, &mut master);
    let _ = fs::remove_file(line);
    // With the last descriptor of its other side closed the guest's end is hung up, and the thread's
    // read with it: one last byte wakes it.
    let _ = master.write_all(b"\0");
    let mut last = File::from(held);
    let _ = last.write_all(b"\0");
    drop((last, master));
    let _ = ending.shutdown(Shutdown::Both);
    let _ = back.join();
    Ok(())
}

fn each(near: &Path, serve: impl Fn(UnixStream) -> io::Result<()> + Send + Sync + 'static) {
    let listener = UnixListener::bind(near).expect("a path that is free");
    let serve = Arc::new(serve);
    thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(client));
        }
    });
}

/// Passes bytes both ways; the end of one way is the end of both.
fn join(client: UnixStream, server: UnixStream) {
    let copies = client
        .try_clone()
        .and_then(|client| Ok((client, server.try_clone()?)));
    let Ok((mut from, mut to)) = copies else {
        return;
    };
    let there = thread::spawn(move || {
        let _ = copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
    let (mut from, mut to) = (server, client);
    let _ = copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
    let _ = there.join();
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            count => to.write_all(&buffer[..count])?,
        }
    }
}
