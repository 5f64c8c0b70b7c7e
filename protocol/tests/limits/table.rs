//! Every limit of a link in one table: what is just allowed passes, one more trips it.

use bytes::{Bytes, BytesMut};
use lkc_protocol::{
    codec::{Envelope, MAX_BODY},
    error::{GoAwayCode, RefusalCode},
    frame::{Kind, MAX_CONTROL_PAYLOAD, MAX_TEXT, StreamId},
    hello::{self, Hello},
    preface::{NOISE_LIMIT, PrefaceFinder},
    session::{Limits, Read, Write},
};

use crate::peer::{Guest, credit, data, frame, open, ping, reset};

/// What is sent after stream 1 was opened and accepted, and which limit one more of it trips.
struct Row {
    name: &'static str,
    allowed: Vec<u8>,
    more: Vec<u8>,
    code: GoAwayCode,
}

fn limits() -> Limits {
    Limits {
        max_frame: 30_000,
        first_window: 50_000,
        window: 50_000,
        opens_per_second: 1000,
        resets_per_second: 500,
        pings_per_second: 20,
        ..Limits::default()
    }
}

fn rows() -> Vec<Row> {
    let opens = |range: std::ops::Range<u32>| -> Vec<u8> {
        range.flat_map(|number| open(number * 2 + 1, 0)).collect()
    };
    let row = |name, allowed: Vec<u8>, more: Vec<u8>, code| Row {
        name,
        allowed,
        more,
        code,
    };
    vec![
        row(
            "data frame",
            data(1, 30_000),
            data(1, 30_001),
            GoAwayCode::FrameTooLong,
        ),
        row(
            "request",
            open(3, MAX_CONTROL_PAYLOAD - 4),
            open(5, MAX_CONTROL_PAYLOAD - 3),
            GoAwayCode::FrameTooLong,
        ),
        row(
            "reason",
            Vec::new(),
            frame(Kind::GoAway, 0, &vec![b'x'; MAX_TEXT + 3]),
            GoAwayCode::FrameTooLong,
        ),
        row(
            "window",
            [data(1, 25_000), data(1, 25_000)].concat(),
            data(1, 1),
            GoAwayCode::CreditExceeded,
        ),
        row(
            "credit of a stream, at once",
            Vec::new(),
            credit(1, u32::MAX),
            GoAwayCode::CreditOverflow,
        ),
        row(
            "credit of a stream, in all",
            credit(1, 64 * 1024 * 1024 - 65_536),
            credit(1, 1),
            GoAwayCode::CreditOverflow,
        ),
        row(
            "credit that an Open brings",
            Vec::new(),
            frame(Kind::Open, 3, &(64 * 1024 * 1024 + 1_u32).to_be_bytes()),
            GoAwayCode::CreditOverflow,
        ),
        row(
            "opens a second",
            opens(1..1000),
            opens(1000..1001),
            GoAwayCode::TooManyOpens,
        ),
        row(
            "resets a second",
            reset(1).repeat(500),
            reset(1),
            GoAwayCode::TooManyResets,
        ),
        row(
            "pings a second",
            ping().repeat(20),
            ping(),
            GoAwayCode::TooManyPings,
        ),
        row(
            "stream id",
            open(2001, 0),
            open(2001, 0),
            GoAwayCode::BadStreamId,
        ),
        row(
            "stream id that goes back",
            open(2001, 0),
            open(1999, 0),
            GoAwayCode::BadStreamId,
        ),
        row(
            "credit for a stream that never was",
            Vec::new(),
            credit(3, 1),
            GoAwayCode::BadStreamId,
        ),
        row(
            "data for a stream that we never opened",
            Vec::new(),
            data(2, 1),
            GoAwayCode::BadStreamId,
        ),
    ]
}

#[test]
fn one_more_than_allowed_ends_the_link_with_its_code() {
    for row in rows() {
        let mut guest = Guest::new(limits());
        guest.hear_and_accept(&open(1, 0)).unwrap();
        assert_eq!(guest.hear(&row.allowed), Ok(()), "{}: allowed", row.name);
        guest.says();
        assert_eq!(guest.hear(&row.more), Err(row.code), "{}", row.name);
        assert!(guest.session.is_ended(), "{}", row.name);
        let last_word = (Kind::GoAway, 0, row.code.number());
        assert_eq!(guest.says(), [last_word], "{}: the peer is told", row.name);
    }
}

#[test]
fn a_second_later_the_rates_allow_as_much_again() {
    let rates = ["opens a second", "resets a second", "pings a second"];
    for row in rows().iter().filter(|row| rates.contains(&row.name)) {
        let mut guest = Guest::new(limits());
        guest.hear_and_accept(&open(1, 0)).unwrap();
        guest.hear(&row.allowed).unwrap();
        guest.wait(std::time::Duration::from_secs(1));
        assert_eq!(guest.hear(&row.more), Ok(()), "{}", row.name);
    }
}

/// Requests over a limit are refused one by one, and the link lives.
#[test]
fn what_is_too_much_at_once_is_refused_as_busy() {
    let base = Limits::default();
    let table = [
        (
            "streams",
            Limits {
                max_streams: 10,
                ..base
            },
            true,
            0,
        ),
        (
            "unanswered requests",
            Limits {
                max_unanswered: 10,
                ..base
            },
            false,
            0,
        ),
        (
            "bytes of unanswered requests",
            Limits {
                max_unanswered_bytes: 10_009,
                ..base
            },
            false,
            1000,
        ),
    ];
    for (name, limits, accept, length) in table {
        let mut guest = Guest::new(limits);
        for number in 0..10 {
            let bytes = open(number * 2 + 1, length);
            if accept {
                guest.hear_and_accept(&bytes).unwrap();
            } else {
                guest.hear(&bytes).unwrap();
            }
        }
        guest.says();
        guest.hear(&open(21, length)).unwrap();
        let busy = (Kind::Refuse, 21, RefusalCode::Busy.number());
        assert_eq!(guest.says(), [busy], "{name}");
        assert_eq!(guest.session.stream_count(), 10, "{name}");
        // One goes, one may come.
        guest
            .session
            .reset(StreamId(1), lkc_protocol::error::ResetCode::Failed);
        guest.says();
        guest.hear_and_accept(&open(23, length)).unwrap();
        assert!(guest.says().iter().any(|it| it.0 == Kind::Accept), "{name}");
    }
}

#[test]
fn a_writer_waits_when_its_queue_is_full() {
    let limits = Limits {
        send_buffer: 1000,
        ..Limits::default()
    };
    let mut guest = Guest::new(limits);
    // A window of nothing, so that what is written stays.
    guest
        .hear_and_accept(&frame(Kind::Open, 1, &[0; 4]))
        .unwrap();
    let byte = || Bytes::from_static(b"x");
    for _ in 0..1000 {
        assert_eq!(guest.session.write(StreamId(1), byte()), Write::Queued);
    }
    assert_eq!(guest.session.write(StreamId(1), byte()), Write::Blocked);
    // Tiny writes are bounded by their number before their bytes are.
    let mut guest = Guest::new(Limits::default());
    guest
        .hear_and_accept(&frame(Kind::Open, 1, &[0; 4]))
        .unwrap();
    let written = (0..10_000)
        .take_while(|_| guest.session.write(StreamId(1), byte()) == Write::Queued)
        .count();
    assert_eq!(written, 1024);
    assert_eq!(guest.read(1), Read::Blocked);
}

#[test]
fn what_comes_before_the_frames_is_bounded_too() {
    let mut finder = PrefaceFinder::for_guest();
    let mut noise = BytesMut::from(&vec![b'x'; NOISE_LIMIT][..]);
    assert!(finder.find(&mut noise).is_ok());
    assert!(noise.len() < 8, "noise is not kept");
    assert!(finder.find(&mut BytesMut::from(&[b'x'; 10][..])).is_err());

    let length = u16::try_from(hello::MAX_LENGTH + 1).unwrap();
    let mut bytes = BytesMut::from(&length.to_be_bytes()[..]);
    assert!(
        Hello::decode(&mut bytes).is_err(),
        "before the rest has come"
    );

    let envelope = |length: usize| {
        let length = u32::try_from(length).unwrap().to_be_bytes();
        Envelope::parse(&[&[0, 1, 0, 0], &length[..]].concat()).map(|it| it.body_length)
    };
    assert_eq!(envelope(MAX_BODY), Ok(MAX_BODY));
    assert!(envelope(MAX_BODY + 1).is_err());
}
