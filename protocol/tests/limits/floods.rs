//! Floods: as many frames as one likes, and nothing heaps up.

use std::time::Duration;

use lkc_protocol::{
    error::{GoAwayCode, Refusal, RefusalCode},
    frame::Kind,
    session::{Limits, Read},
};

use crate::{
    memory::live,
    peer::{Guest, credit, data, frame, open, ping, reset},
};

/// Frames of a flood.
const MANY: usize = 100_000;

/// What a flood may leave in memory and in what is to be said.
const LITTLE: usize = 256 * 1024;

/// Sends `frames` again and again; the memory that stays and the events that came.
fn flood(guest: &mut Guest, frames: &[u8], times: usize) -> (usize, usize) {
    let (before, events) = (live(), guest.events);
    let batch = 1000;
    let frames = frames.repeat(batch);
    for _ in 0..times / batch {
        guest.hear(&frames).unwrap();
    }
    (live().saturating_sub(before), guest.events - events)
}

#[test]
fn frames_that_say_nothing_leave_nothing() {
    let table = [
        ("empty data", data(1, 0)),
        ("empty data on a stream that is over", data(3, 0)),
        ("data on a stream that is over", data(3, 10)),
        ("credit of nothing", credit(1, 0)),
        ("credit for a stream that is over", credit(3, 1000)),
        (
            "a pong that nobody asked for",
            frame(Kind::Pong, 0, &[0; 8]),
        ),
    ];
    for (name, bytes) in table {
        let mut guest = Guest::new(Limits::default());
        guest.hear_and_accept(&open(1, 0)).unwrap();
        guest.hear_and_accept(&open(3, 0)).unwrap();
        guest.hear(&reset(3)).unwrap();
        guest.session.release(lkc_protocol::frame::StreamId(3));
        guest.says();
        let (memory, events) = flood(&mut guest, &bytes, MANY);
        assert!(memory <= LITTLE, "{name}: {memory} bytes");
        assert_eq!(events, 0, "{name}");
        assert_eq!(guest.says(), [], "{name}");
        // The link and the other stream live on.
        guest.hear(&data(1, 4)).unwrap();
        assert!(matches!(guest.read(1), Read::Data(_)), "{name}");
    }
}

#[test]
fn data_of_single_bytes_is_one_event_and_one_chunk() {
    let mut guest = Guest::new(Limits::default());
    guest.hear_and_accept(&open(1, 0)).unwrap();
    let (_, events) = flood(&mut guest, &data(1, 1), MANY);
    assert_eq!(events, 1);
    let Read::Data(bytes) = guest.read(1) else {
        panic!("nothing to read");
    };
    assert_eq!(bytes.len(), MANY);
}

#[test]
fn requests_that_are_taken_back_do_not_heap_up() {
    let limits = Limits::default();
    let mut guest = Guest::new(limits);
    let before = live();
    for number in 0..20_000 {
        let stream = number * 2 + 1;
        let bytes = [open(stream, 1000), reset(stream)].concat();
        guest.hear(&bytes).unwrap();
        // Nobody has looked at the first ones yet.
        let busy = RefusalCode::Busy.number();
        assert!(
            guest
                .says()
                .iter()
                .all(|it| *it == (Kind::Refuse, stream, busy))
        );
    }
    let memory = live() - before;
    let most = 4 * limits.max_unanswered_bytes + LITTLE;
    assert!(memory <= most, "{memory} bytes");
    assert!(guest.waiting.len() <= limits.max_unanswered);
    // Looked at, they are gone without a word, and there is room again.
    guest.refuse_all(&Refusal::new(RefusalCode::Denied, "no"));
    assert_eq!(guest.session.stream_count(), 0);
    assert_eq!(guest.says(), []);
    guest.hear(&open(50_001, 10)).unwrap();
    assert_eq!(guest.waiting.len(), 1);
}

#[test]
fn who_asks_and_does_not_read_the_answers_is_told_to_stop_and_then_cut_off() {
    type Answer = fn(&mut Guest);
    let answers: [(&str, Answer); 3] = [
        ("refused", |guest| {
            guest.refuse_all(&Refusal::new(RefusalCode::Denied, "x".repeat(1000)));
        }),
        ("accepted and reset", |guest| {
            for stream in std::mem::take(&mut guest.waiting) {
                guest.session.accept(stream, &[7; 1000]);
                guest.session.release(stream);
            }
        }),
        ("answered and drained", |guest| {
            for stream in std::mem::take(&mut guest.waiting) {
                guest.session.accept(stream, &[7; 1000]);
                guest.session.drain(stream);
            }
        }),
    ];
    for (name, answer) in answers {
        let limits = Limits::default();
        let mut guest = Guest::new(limits);
        let before = live();
        let mut number = 0;
        let code = loop {
            number += 1;
            assert!(number < 40_000, "{name}: it goes on and on");
            if let Err(code) = guest.hear(&open(number * 2 + 1, 10)) {
                break code;
            }
            answer(&mut guest);
            let memory = live() - before;
            assert!(
                memory <= 4 * limits.max_pending_control + 16 * LITTLE,
                "{name}: {memory} bytes"
            );
        };
        assert_eq!(code, GoAwayCode::TooManyOpens, "{name}");
    }
}

#[test]
fn who_reads_the_answers_may_ask_for_ever() {
    let mut guest = Guest::new(Limits::default());
    let refusal = Refusal::new(RefusalCode::Denied, "x".repeat(1000));
    for number in 0..40_000 {
        guest.hear(&open(number * 2 + 1, 10)).unwrap();
        guest.refuse_all(&refusal);
        assert_eq!(
            guest.says(),
            [(Kind::Refuse, number * 2 + 1, RefusalCode::Denied.number())]
        );
    }
}

#[test]
fn pings_are_answered_once_for_as_many_as_came() {
    let mut guest = Guest::new(Limits::default());
    for _ in 0..100 {
        guest.hear(&ping().repeat(20)).unwrap();
        assert_eq!(guest.says().len(), 1);
        guest.wait(Duration::from_secs(1));
    }
}
