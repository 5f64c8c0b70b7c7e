//! Bytes that are missing, changed, replayed or sent back.

use std::collections::{BTreeMap, BTreeSet};

use lkc_protocol::{handshake::HandshakeError, preface};

use crate::pair::{BOTH_WAYS, End, State, Way, assert_agreed, guest, host, offsets, shake};

#[test]
fn a_cut_at_any_byte_never_leaves_the_receiver_established() {
    for plain in [true, false] {
        let (to_guest, to_host) = lengths(plain);
        for (way, total) in BOTH_WAYS.into_iter().zip([to_guest, to_host]) {
            for cut in offsets(plain, total) {
                let (mut host, mut guest) = (host(plain), guest(plain));
                shake(&mut host, &mut guest, |to, start, mut bytes| {
                    if to == way {
                        bytes.truncate(cut.saturating_sub(start));
                    }
                    bytes
                });
                let receiver = match way {
                    Way::ToGuest => &mut guest,
                    Way::ToHost => &mut host,
                };
                // It waits for more, and has not mistaken the cut for something else.
                assert!(
                    matches!(receiver.state, State::Shaking(_)),
                    "plain {plain}, {way:?} cut at {cut}"
                );
            }
        }
    }
}

#[test]
fn a_changed_bit_at_any_byte_is_noticed_or_means_nothing() {
    for plain in [true, false] {
        let (to_guest, to_host) = lengths(plain);
        for (way, total) in BOTH_WAYS.into_iter().zip([to_guest, to_host]) {
            for at in offsets(plain, total) {
                let (mut host, mut guest) = (host(plain), guest(plain));
                let mut sent = Vec::new();
                shake(&mut host, &mut guest, |to, start, mut bytes| {
                    if to == way {
                        sent.extend_from_slice(&bytes);
                        if (start..start + bytes.len()).contains(&at) {
                            bytes[at - start] ^= 1 << (at % 8);
                        }
                    }
                    bytes
                });
                if host.established().is_some() && guest.established().is_some() {
                    assert_agreed(&mut host, &mut guest, plain);
                    let ignored = ignored_bytes(plain, &sent);
                    let place = format!("plain {plain}, {way:?} at {at} of {sent:02x?}");
                    assert!(ignored.contains(&at), "{place}");
                }
            }
        }
    }
}

/// Where a change means nothing, so that both ends agree all the same: the reserved bytes and the
/// newest version of a preface, and in each record's header the outer type, whose place the sealed
/// one has taken, and the lower half of the version that TLS 1.3 keeps for old middleboxes.
fn ignored_bytes(plain: bool, sent: &[u8]) -> BTreeSet<usize> {
    const PROOF: usize = 32;
    let end = sent.len() - if plain { PROOF } else { 0 };
    let mut ignored = BTreeSet::from([9, 12, 13, 14, 15]);
    let mut record = preface::LENGTH;
    while record < end {
        ignored.extend([record, record + 2]);
        record += 5 + usize::from(u16::from_be_bytes([sent[record + 3], sent[record + 4]]));
    }
    assert_eq!(record, end, "whole records and nothing else");
    ignored
}

#[test]
fn a_recorded_handshake_opens_nothing_the_second_time() {
    for plain in [true, false] {
        let mut recorded = BTreeMap::from([(0, Vec::new()), (1, Vec::new())]);
        let (mut first_host, mut first_guest) = (host(plain), guest(plain));
        shake(&mut first_host, &mut first_guest, |way, _, bytes| {
            recorded
                .entry(i32::from(way == Way::ToHost))
                .or_default()
                .extend_from_slice(&bytes);
            bytes
        });
        assert_agreed(&mut first_host, &mut first_guest, plain);

        let mut second = guest(plain);
        second.give(&recorded[&0]);
        assert!(second.failure().is_some(), "plain {plain}");

        // Its nonce is new, so what an earlier session said is noise to a host.
        let mut second = host(plain);
        let greeting = second.take();
        second.give(&recorded[&1]);
        assert!(matches!(second.state, State::Shaking(_)));
        assert_eq!(second.take(), []);
        // Even when the old greeting is mended, the TLS behind it is not ours.
        let mut second = host(plain);
        let greeting_again = second.take();
        assert_ne!(greeting, greeting_again);
        let mut nonce = preface::Nonce::default();
        nonce.copy_from_slice(&greeting_again[16..]);
        second.give(&preface::from_guest(nonce));
        second.give(&recorded[&1][preface::LENGTH..]);
        assert!(second.failure().is_some(), "plain {plain}");
    }
}

#[test]
fn an_end_that_hears_itself_never_believes_it() {
    for plain in [true, false] {
        let mut lonely = host(plain);
        let echoed = echo(&mut lonely);
        assert!(lonely.established().is_none());
        assert_eq!(
            echoed,
            preface::LENGTH,
            "nothing but a preface goes to an echo"
        );

        let mut lonely = guest(plain);
        lonely.give(&preface::from_host([9; 16]));
        echo(&mut lonely);
        assert!(matches!(lonely.failure(), Some(HandshakeError::NotTls(_))));

        // An echo that begins with the TLS: each end hears its own flight from there on.
        let (mut host, mut guest) = (host(plain), guest(plain));
        let greeting = host.take();
        guest.give(&greeting);
        let answer = guest.take();
        host.give(&answer);
        echo(&mut host);
        assert!(host.failure().is_some());
    }
}

/// Gives an end what it says, until it says no more; how much that was.
fn echo(end: &mut End) -> usize {
    let mut total = 0;
    loop {
        let bytes = end.take();
        if bytes.is_empty() || end.failure().is_some() {
            return total;
        }
        total += bytes.len();
        end.give(&bytes);
    }
}

fn lengths(plain: bool) -> (usize, usize) {
    let (mut host, mut guest) = (host(plain), guest(plain));
    let lengths = shake(&mut host, &mut guest, |_, _, bytes| bytes);
    assert_agreed(&mut host, &mut guest, plain);
    lengths
}
