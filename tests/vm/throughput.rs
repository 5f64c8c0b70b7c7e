//! What of the carrier's raw byte stream the tunnel reaches. Measured, and only bounded from below so
//! far that a mistake is noticed: an emulated machine's figures move with whatever else runs.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use lkc_tests::eventually;

use crate::{
    lab::{Lab, SINK, SOURCE, report},
    traffic::{PATIENCE, connect},
};

/// Bytes per measurement: seconds of an emulated machine.
const BYTES: usize = 24 * 1024 * 1024;

/// Least part of the raw rate: below that something waits that should not.
const LEAST: f64 = 0.1;

/// Compares the tunnel with the raw carrier, both directions.
pub(crate) fn compare(lab: &Lab) {
    let raw_in = rate(|| raw_when_it_answers(lab, SINK), send);
    let raw_out = rate(|| raw_when_it_answers(lab, SOURCE), receive);
    let tunnel_in = rate(|| connect(lab.sink_port()), send);
    let tunnel_out = rate(|| connect(lab.source_port()), receive);
    report(&format!(
        "into the guest: raw {raw_in:.1} MiB/s, tunnel {tunnel_in:.1}, ratio {:.2}",
        tunnel_in / raw_in
    ));
    report(&format!(
        "out of the guest: raw {raw_out:.1} MiB/s, tunnel {tunnel_out:.1}, ratio {:.2}",
        tunnel_out / raw_out
    ));
    assert!(tunnel_in > LEAST * raw_in && tunnel_out > LEAST * raw_out);
}

/// The device's process refuses a connection now and then while it takes leave of the last one.
fn raw_when_it_answers(lab: &Lab, port: u16) -> UnixStream {
    eventually("the raw port answers", PATIENCE, || raw(lab, port))
}

/// A port of the guest without lkc in between; none when nobody listens there.
pub(crate) fn raw(lab: &Lab, port: u16) -> Option<UnixStream> {
    let mut stream = UnixStream::connect(lab.socket("vsock.sock")).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    writeln!(stream, "CONNECT {port}").ok()?;
    // Byte by byte: what comes behind the line is the guest's.
    let mut line = Vec::new();
    let mut reader = BufReader::with_capacity(1, &stream);
    reader.read_until(b'\n', &mut line).ok()?;
    line.starts_with(b"OK ").then_some(stream)
}

fn send(mut stream: impl Write) {
    let piece = vec![0; 64 * 1024];
    for _ in 0..BYTES / piece.len() {
        stream.write_all(&piece).unwrap();
    }
}

fn receive(mut stream: impl Read) {
    let mut piece = vec![0; 64 * 1024];
    let mut left = BYTES;
    while left > 0 {
        let read = stream.read(&mut piece).unwrap();
        assert_ne!(read, 0, "the guest's zeros have no end");
        left = left.saturating_sub(read);
    }
}

/// MiB per second, the better of two.
fn rate<S>(connect: impl Fn() -> S, transfer: impl Fn(S)) -> f64 {
    let once = || -> Duration {
        let stream = connect();
        let since = Instant::now();
        transfer(stream);
        since.elapsed()
    };
    let best = once().min(once());
    BYTES as f64 / (1024.0 * 1024.0) / best.as_secs_f64()
}
