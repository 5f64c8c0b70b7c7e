//! Counts what a test's thread has allocated, so that "bounded" is a number.

#![expect(
    unsafe_code,
    reason = "an allocator is unsafe by its trait; this one hands everything on"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use lkc_protocol::{
    frame::StreamId,
    session::{Limits, Read},
};

use crate::peer::{Guest, data, open, reset};

struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call is the system allocator's; beside it a number is changed, which neither
// allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promise is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn count(bytes: isize) {
    // A thread that is ending counts no more.
    let _ = LIVE.try_with(|live| live.set(live.get() + bytes));
}

/// Bytes that this thread has allocated and not freed.
pub(crate) fn live() -> usize {
    LIVE.get().cast_unsigned()
}

/// What the guest's memory may come to beside the windows: tables, queues, the input.
const BESIDE: usize = 256 * 1024;

/// What a byte of a window may cost at most: a slice of a quarter of the carrier's buffer keeps
/// that buffer whole.
const PER_BYTE: usize = 5;

/// Fills the windows of `count` streams with frames of `length` bytes, in turns; what it costs.
fn cost(count: u32, length: usize, window: usize) -> usize {
    let limits = Limits {
        first_window: window,
        window,
        ..Limits::default()
    };
    let mut guest = Guest::new(limits);
    for number in 0..count {
        guest.hear_and_accept(&open(number * 2 + 1, 0)).unwrap();
    }
    let before = live();
    let turn: Vec<u8> = (0..count)
        .flat_map(|number| data(number * 2 + 1, length))
        .collect();
    for _ in 0..window / length {
        guest.hear(&turn).unwrap();
    }
    live() - before
}

#[test]
fn a_byte_that_nobody_reads_costs_little_whatever_frames_it_came_in() {
    let window = 256 * 1024;
    for length in [1, 2, 100, 1000, 16 * 1024 - 1, 16 * 1024, 20_000, 64 * 1024] {
        for streams in [1, 4] {
            let cost = cost(streams, length, window);
            let most = window * streams as usize * PER_BYTE + BESIDE;
            assert!(
                cost <= most,
                "{cost} bytes for {streams} windows in {length}s"
            );
        }
    }
}

#[test]
fn large_and_tiny_frames_in_turn_cost_no_more() {
    let window = 256 * 1024;
    let limits = Limits {
        first_window: window,
        window,
        ..Limits::default()
    };
    let mut guest = Guest::new(limits);
    guest.hear_and_accept(&open(1, 0)).unwrap();
    guest.hear_and_accept(&open(3, 0)).unwrap();
    let before = live();
    // The second stream is read at once: its frames only keep the buffers of the first apart.
    for _ in 0..window / (16 * 1024 + 1) {
        let bytes = [data(1, 16 * 1024), data(1, 1), data(3, 60_000)].concat();
        guest.hear(&bytes).unwrap();
        while let Read::Data(_) = guest.read(3) {}
    }
    let cost = live() - before;
    assert!(cost <= window * PER_BYTE + BESIDE, "{cost} bytes");
}

#[test]
fn a_stream_that_was_read_keeps_no_memory() {
    let mut guest = Guest::new(Limits::default());
    for number in 0..100 {
        guest.hear_and_accept(&open(number * 2 + 1, 0)).unwrap();
    }
    guest.says();
    let before = live();
    for number in 0..100 {
        let stream = number * 2 + 1;
        for _ in 0..8 {
            guest.hear(&data(stream, 10_000)).unwrap();
        }
        while let Read::Data(_) = guest.read(stream) {}
        guest.says();
    }
    let kept = live().saturating_sub(before);
    assert!(kept <= BESIDE, "{kept} bytes");
}

/// What came before a reset may still be read, and is held like any other byte that nobody reads: in
/// the window of a stream that counts for as long as somebody has it.
#[test]
fn resets_do_not_heap_up_what_came_before_them() {
    let window = 64 * 1024;
    let limits = Limits {
        max_streams: 4,
        first_window: window,
        window,
        ..Limits::default()
    };
    let mut guest = Guest::new(limits);
    let before = live();
    for number in 0..100 {
        let stream = number * 2 + 1;
        guest.hear_and_accept(&open(stream, 0)).unwrap();
        guest.hear(&data(stream, window)).unwrap();
        guest.hear(&reset(stream)).unwrap();
        guest.says();
    }
    assert_eq!(guest.session.stream_count(), 4);
    let cost = live() - before;
    assert!(cost <= 4 * window * PER_BYTE + BESIDE, "{cost} bytes");
    for number in 0..4 {
        guest.session.release(StreamId(number * 2 + 1));
    }
    assert_eq!(
        (guest.session.stream_count(), guest.session.promised()),
        (0, 0)
    );
    let kept = live().saturating_sub(before);
    assert!(kept <= BESIDE, "{kept} bytes");
}
