//! What of the carrier's raw byte stream the tunnel reaches. Measured, and only bounded from below so
//! far that a mistake is noticed: an emulated machine's figures move with whatever else runs.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use lkc_tests::eventually;

use crate::{
    lab::{Carrier, Lab, SINK, SOURCE, report},
    traffic::{PATIENCE, connect},
};

/// Bytes per measurement: seconds of an emulated machine, whose serial port is slower.
const fn bytes(lab: &Lab) -> usize {
    match lab.carrier {
        Carrier::Vsock => 24 * 1024 * 1024,
        Carrier::Serial => 4 * 1024 * 1024,
    }
}

/// Least part of the raw rate: below that something waits that should not. A serial port is remote
/// to its ends, so that an emulated processor encrypts all of it, without optimisation in a debug
/// build.
const fn least(lab: &Lab) -> f64 {
    match lab.carrier {
        Carrier::Vsock => 0.1,
        Carrier::Serial => 0.005,
    }
}

/// Compares the tunnel with the raw carrier, both directions.
pub(crate) fn compare(lab: &Lab) {
    let bytes = bytes(lab);
    if lab.carrier == Carrier::Serial {
        for port in [SINK, SOURCE] {
            lab.monitor()
                .add_port(&name(port), &lab.socket(&name(port)));
        }
    }
    let raw_in = rate(bytes, || raw_when_it_answers(lab, SINK), send);
    let raw_out = rate(bytes, || raw_when_it_answers(lab, SOURCE), receive);
    let tunnel_in = rate(bytes, || connect(lab.sink_port()), send_all);
    let tunnel_out = rate(bytes, || connect(lab.source_port()), receive);
    report(&format!(
        "into the guest: raw {raw_in:.1} MiB/s, tunnel {tunnel_in:.1}, ratio {:.2}",
        tunnel_in / raw_in
    ));
    report(&format!(
        "out of the guest: raw {raw_out:.1} MiB/s, tunnel {tunnel_out:.1}, ratio {:.2}",
        tunnel_out / raw_out
    ));
    let least = least(lab);
    assert!(tunnel_in > least * raw_in && tunnel_out > least * raw_out);
}

/// The device's process refuses a connection now and then while it takes leave of the last one.
fn raw_when_it_answers(lab: &Lab, port: u16) -> UnixStream {
    eventually("the raw port answers", PATIENCE, || raw(lab, port))
}

/// A serial port of the guest that does what the port of this number does.
fn name(port: u16) -> String {
    format!("lkc.raw.{port}")
}

/// A port of the guest without lkc in between; none when nobody listens there.
fn raw(lab: &Lab, port: u16) -> Option<UnixStream> {
    match lab.carrier {
        Carrier::Vsock => raw_vsock(lab, port),
        Carrier::Serial => UnixStream::connect(lab.socket(&name(port))).ok(),
    }
}

fn raw_vsock(lab: &Lab, port: u16) -> Option<UnixStream> {
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

fn send(bytes: usize, mut stream: impl Write) {
    let piece = vec![0; 64 * 1024];
    for _ in 0..bytes / piece.len() {
        stream.write_all(&piece).unwrap();
    }
}

/// Returns once all of it has arrived, which the raw streams do not tell.
fn send_all(bytes: usize, mut stream: TcpStream) {
    send(bytes, &stream);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

fn receive(bytes: usize, mut stream: impl Read) {
    let mut piece = vec![0; 64 * 1024];
    let mut left = bytes;
    while left > 0 {
        let read = stream.read(&mut piece).unwrap();
        assert_ne!(read, 0, "the guest's zeros have no end");
        left = left.saturating_sub(read);
    }
}

/// MiB per second, the better of two.
fn rate<S>(bytes: usize, connect: impl Fn() -> S, transfer: impl Fn(usize, S)) -> f64 {
    let once = || -> Duration {
        let stream = connect();
        let since = Instant::now();
        transfer(bytes, stream);
        since.elapsed()
    };
    let best = once().min(once());
    bytes as f64 / (1024.0 * 1024.0) / best.as_secs_f64()
}
