//! Windows between two ends: who gets more, who does not, and what comes back.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn limits() -> Limits {
    Limits {
        data_frame: 4 * 1024,
        first_window: 64 * 1024,
        window: 512 * 1024,
        send_buffer: 16 * 1024 * 1024,
        ..Limits::default()
    }
}

/// Lets the host send as much as it may, then the guest read `most` bytes; how many it got.
fn round(pair: &mut Pair, id: StreamId, most: usize) -> usize {
    pair.settle();
    let mut read = 0;
    while read < most {
        match pair.guest.session.read(id) {
            Read::Data(bytes) => read += bytes.len(),
            _ => break,
        }
    }
    read
}

fn sending(pair: &mut Pair) -> StreamId {
    let id = pair.open();
    let bulk = Bytes::from(vec![7; 8 * 1024 * 1024]);
    assert_eq!(pair.host.session.write(id, bulk), Write::Queued);
    id
}

#[test]
fn a_reader_that_keeps_up_gets_a_larger_window() {
    let mut pair = Pair::new(limits());
    let id = sending(&mut pair);
    assert_eq!(pair.guest.session.window(id), Some(64 * 1024));
    let mut got = Vec::new();
    for _ in 0..10 {
        got.push(round(&mut pair, id, usize::MAX));
    }
    assert_eq!(got[0], 64 * 1024);
    assert_eq!(*got.last().unwrap(), 512 * 1024, "{got:?}");
    assert_eq!(pair.guest.session.window(id), Some(512 * 1024));
    assert_eq!(pair.guest.session.promised(), 512 * 1024);
}

#[test]
fn a_slow_stream_and_a_reader_that_is_behind_keep_what_they_have() {
    let mut pair = Pair::new(limits());
    let slow = sending(&mut pair);
    let behind = sending(&mut pair);
    for _ in 0..20 {
        pair.now += SECOND;
        round(&mut pair, slow, usize::MAX);
        // Less than has come: there is always something left.
        round(&mut pair, behind, 40 * 1024);
    }
    assert_eq!(pair.guest.session.window(slow), Some(64 * 1024));
    assert_eq!(pair.guest.session.window(behind), Some(64 * 1024));
}

#[test]
fn a_reader_that_stops_holds_its_window_and_no_more() {
    let mut pair = Pair::new(limits());
    let id = sending(&mut pair);
    for _ in 0..3 {
        round(&mut pair, id, usize::MAX);
    }
    let window = pair.guest.session.window(id).unwrap();
    let before = pair.guest.session.promised();
    for _ in 0..10 {
        pair.settle();
    }
    assert_eq!(pair.guest.session.promised(), before);
    assert!(round(&mut pair, id, usize::MAX) <= window);
}

#[test]
fn the_sum_of_the_windows_never_passes_twice_the_budget() {
    let limits = Limits::default();
    let most = limits.window_budget + limits.max_streams * limits.min_window;
    assert!(most <= 2 * limits.window_budget);
    let mut pair = Pair::new(Limits {
        opens_per_second: u32::MAX,
        ..limits
    });
    for _ in 0..limits.max_streams / 512 {
        for _ in 0..512 {
            pair.host.session.open(b"").unwrap();
        }
        pair.settle();
        while let Some(event) = pair.guest.session.poll_event() {
            if let Event::Opened { stream, .. } = event {
                pair.guest.session.accept(stream, b"");
            }
        }
    }
    assert_eq!(pair.guest.session.stream_count(), limits.max_streams);
    assert!(pair.guest.session.promised() <= most);
}

#[test]
fn thousands_of_idle_streams_do_not_slow_one_that_moves() {
    let mut pair = Pair::new(Limits {
        send_buffer: 64 * 1024 * 1024,
        ..Limits::default()
    });
    for _ in 0..2000 {
        pair.open();
    }
    let id = sending(&mut pair);
    for _ in 0..12 {
        round(&mut pair, id, usize::MAX);
    }
    assert_eq!(
        pair.guest.session.window(id),
        Some(Limits::default().window)
    );
}
