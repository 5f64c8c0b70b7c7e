//! Every rule that a peer can break, broken.

use super::*;

fn frame(kind: Kind, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame::encode(kind, StreamId(stream), &[payload]).to_vec()
}

fn open(stream: u32) -> Vec<u8> {
    frame(Kind::Open, stream, &[0, 1, 0, 0, b'r'])
}

/// What a guest with `limits` says to `bytes` from its host, after accepting stream 1.
fn guest_says(limits: Limits, accept: bool, bytes: &[u8]) -> Result<(), GoAwayCode> {
    let now = Instant::now();
    let mut guest = Session::new(Role::Guest, limits, &hello(Role::Host, &limits), now);
    if accept {
        guest
            .handle_bytes(&mut BytesMut::from(&open(1)[..]), now)
            .unwrap();
        guest.accept(StreamId(1), b"");
    }
    // Bytewise, so that a rule is found wherever the carrier splits.
    let mut input = BytesMut::new();
    for &byte in bytes {
        input.extend_from_slice(&[byte]);
        if let Err(error) = guest.handle_bytes(&mut input, now) {
            assert!(guest.is_ended());
            let mut transmit = Transmit::default();
            guest.poll_transmit(&mut transmit);
            let last = transmit.take_chunks().collect::<Vec<_>>().concat();
            let header = Header::decode(last.first_chunk().unwrap(), limits.max_frame).unwrap();
            assert_eq!(header.kind, Kind::GoAway, "the peer is told");
            return Err(error.code);
        }
    }
    Ok(())
}

#[test]
fn each_broken_rule_ends_the_link_with_its_name() {
    let limits = Limits {
        window: 16 * 1024,
        ..Limits::default()
    };
    let data = |count| frame(Kind::Data, 1, &vec![0; count]);
    let credit = |count: u32| frame(Kind::Credit, 1, &count.to_be_bytes());
    let finish = || frame(Kind::Finish, 1, &[]);
    let table: Vec<(&str, Vec<u8>, GoAwayCode)> = vec![
        ("our own parity", open(2), GoAwayCode::BadStreamId),
        ("stream zero", open(0), GoAwayCode::BadStreamId),
        ("a number again", open(1), GoAwayCode::BadStreamId),
        (
            "data before open",
            frame(Kind::Data, 3, b"x"),
            GoAwayCode::BadStreamId,
        ),
        (
            "finish before open",
            frame(Kind::Finish, 3, &[]),
            GoAwayCode::BadStreamId,
        ),
        (
            "reset before open",
            frame(Kind::Reset, 3, &[0, 0]),
            GoAwayCode::BadStreamId,
        ),
        (
            "credit for one we never opened",
            frame(Kind::Credit, 2, &[0, 0, 0, 1]),
            GoAwayCode::BadStreamId,
        ),
        (
            "one byte over the window",
            data(16 * 1024 + 1),
            GoAwayCode::CreditExceeded,
        ),
        (
            "data after finish",
            [finish(), data(1)].concat(),
            GoAwayCode::WrongState,
        ),
        (
            "finish twice",
            [finish(), finish()].concat(),
            GoAwayCode::WrongState,
        ),
        (
            "accept of its own stream",
            frame(Kind::Accept, 1, &[0; 4]),
            GoAwayCode::WrongState,
        ),
        (
            "refusal of its own stream",
            frame(Kind::Refuse, 1, &[0; 2]),
            GoAwayCode::WrongState,
        ),
        (
            "credit overflow",
            [credit(u32::MAX)].concat(),
            GoAwayCode::CreditOverflow,
        ),
        (
            "credit overflow in steps",
            [credit(60 << 20), credit(60 << 20)].concat(),
            GoAwayCode::CreditOverflow,
        ),
        (
            "an open with an absurd window",
            frame(Kind::Open, 3, &[255; 4]),
            GoAwayCode::CreditOverflow,
        ),
        (
            "text instead of frames",
            b"GET / HTTP/1.1\r\n".to_vec(),
            GoAwayCode::UnknownFrame,
        ),
    ];
    for (name, bytes, code) in table {
        assert_eq!(guest_says(limits, true, &bytes), Err(code), "{name}");
    }
}

#[test]
fn what_looks_odd_and_is_legal_passes() {
    let limits = Limits {
        window: 16 * 1024,
        ..Limits::default()
    };
    let reset = || frame(Kind::Reset, 1, &[0, 0]);
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("a full window", frame(Kind::Data, 1, &[0; 16 * 1024])),
        ("a gap in the numbers", open(1001)),
        ("the largest number", open(u32::MAX)),
        ("empty data", frame(Kind::Data, 1, &[])),
        ("reset twice", [reset(), reset()].concat()),
        (
            "everything after a reset",
            [
                reset(),
                frame(Kind::Data, 1, b"x"),
                frame(Kind::Finish, 1, &[]),
            ]
            .concat(),
        ),
        ("a pong nobody asked for", frame(Kind::Pong, 0, &[0; 8])),
    ];
    for (name, bytes) in table {
        assert_eq!(guest_says(limits, true, &bytes), Ok(()), "{name}");
    }
}

#[test]
fn floods_are_cut_off() {
    let limits = Limits {
        opens_per_second: 100,
        resets_per_second: 100,
        pings_per_second: 10,
        ..Limits::default()
    };
    let opens: Vec<u8> = (0..101).flat_map(|number| open(number * 2 + 1)).collect();
    assert_eq!(
        guest_says(limits, false, &opens),
        Err(GoAwayCode::TooManyOpens)
    );
    let resets: Vec<u8> = std::iter::repeat_n(frame(Kind::Reset, 1, &[0, 0]), 101)
        .flatten()
        .collect();
    assert_eq!(
        guest_says(limits, true, &resets),
        Err(GoAwayCode::TooManyResets)
    );
    let pings: Vec<u8> = std::iter::repeat_n(frame(Kind::Ping, 0, &[0; 8]), 11)
        .flatten()
        .collect();
    assert_eq!(
        guest_says(limits, true, &pings),
        Err(GoAwayCode::TooManyPings)
    );
}

#[test]
fn a_peer_that_opens_and_does_not_read_refusals_is_cut_off() {
    let limits = Limits {
        max_unanswered: 1,
        max_pending_control: 4096,
        ..Limits::default()
    };
    let opens: Vec<u8> = (0..1000).flat_map(|number| open(number * 2 + 1)).collect();
    assert_eq!(
        guest_says(limits, false, &opens),
        Err(GoAwayCode::TooManyOpens)
    );
}

#[test]
fn too_many_streams_are_refused_and_the_others_live() {
    let limits = Limits {
        max_streams: 3,
        ..Limits::default()
    };
    let mut pair = Pair::new(limits);
    let ids: Vec<_> = (0..3).map(|_| pair.open()).collect();
    assert_eq!(pair.host.session.open(b""), Err(OpenError::TooManyStreams));
    // A host that ignores the limit is refused stream by stream.
    pair.host.session.peer_max_streams = 100;
    let extra = pair.host.session.open(b"").unwrap();
    pair.settle();
    let refused = events(&mut pair.host.session).into_iter().any(|event| {
        matches!(event, Event::Refused { stream, refusal } if stream == extra && refusal.code == RefusalCode::Busy)
    });
    assert!(refused);
    assert_eq!(pair.host.session.stream_count(), 3);
    pair.host.session.reset(ids[0], ResetCode::Cancelled);
    pair.settle();
    pair.guest.session.release(ids[0]);
    assert_eq!(
        pair.guest.session.write(ids[1], Bytes::from_static(b"x")),
        Write::Queued
    );
    pair.settle();
    assert_eq!(
        pair.host.session.read(ids[1]),
        Read::Data(Bytes::from_static(b"x"))
    );
}

#[test]
fn stream_numbers_run_out_without_a_panic() {
    let now = Instant::now();
    let limits = Limits::default();
    let mut host = Session::new(Role::Host, limits, &hello(Role::Guest, &limits), now);
    host.next_id = Some(u32::MAX);
    assert_eq!(host.open(b""), Ok(StreamId(u32::MAX)));
    assert_eq!(host.open(b""), Err(OpenError::Closed));
}
