//! Honest carriers, and ends with other keys, versions and wishes.

use lkc_protocol::{
    handshake::HandshakeError,
    hello::{Hello, Role},
    version::CAPABILITY,
};

use crate::pair::{
    BOTH_WAYS, Way, assert_agreed, guest, guest_with, hello, host, host_with, keys, offsets, shake,
};

#[test]
fn a_handshake_in_pieces_of_any_size_succeeds() {
    for plain in [true, false] {
        for size in [1, 2, 3, 7, 31, 33, 100] {
            let (mut host, mut guest) = (host(plain), guest(plain));
            loop {
                let (from_host, from_guest) = (host.take(), guest.take());
                if from_host.is_empty() && from_guest.is_empty() {
                    break;
                }
                from_host.chunks(size).for_each(|piece| guest.give(piece));
                from_guest.chunks(size).for_each(|piece| host.give(piece));
            }
            assert_agreed(&mut host, &mut guest, plain);
        }
    }
}

#[test]
fn a_handshake_split_at_any_byte_succeeds() {
    for plain in [true, false] {
        let (to_guest, to_host) = shake(&mut host(plain), &mut guest(plain), |_, _, bytes| bytes);
        for (way, total) in BOTH_WAYS.into_iter().zip([to_guest, to_host]) {
            for split in offsets(plain, total) {
                let (mut host, mut guest) = (host(plain), guest(plain));
                let mut held = Vec::new();
                // What is behind the split comes with what follows it, or alone at the end.
                shake(&mut host, &mut guest, |to, start, bytes| {
                    if to != way {
                        return bytes;
                    }
                    let mut arrives = [std::mem::take(&mut held), bytes].concat();
                    if (start + 1..=start + arrives.len()).contains(&split) {
                        held = arrives.split_off(split - start);
                    }
                    arrives
                });
                match way {
                    Way::ToGuest => guest.give(&held),
                    Way::ToHost => host.give(&held),
                }
                shake(&mut host, &mut guest, |_, _, bytes| bytes);
                assert_agreed(&mut host, &mut guest, plain);
            }
        }
    }
}

#[test]
fn what_a_login_script_prints_is_skipped() {
    let banner = "Linux k3s-dev 6.18.2\r\n\r\nLast login: Sat Nov 21\r\n$ ";
    for plain in [true, false] {
        let (mut host, mut guest) = (host(plain), guest(plain));
        shake(&mut host, &mut guest, |way, start, bytes| match way {
            Way::ToHost if start == 0 => [banner.as_bytes(), &bytes].concat(),
            _ => bytes,
        });
        assert_agreed(&mut host, &mut guest, plain);
    }
}

#[test]
fn plain_is_what_both_ends_want_or_it_is_not() {
    for (host_wants, guest_wants) in [(true, true), (true, false), (false, true), (false, false)] {
        let (mut host, mut guest) = (host(host_wants), guest(guest_wants));
        shake(&mut host, &mut guest, |_, _, bytes| bytes);
        assert_agreed(&mut host, &mut guest, host_wants && guest_wants);
    }
}

#[test]
fn a_wrong_key_names_both_fingerprints_and_establishes_nothing() {
    let keys = keys();
    let stranger = keys.stranger.public_key();

    let mut suspicious = host_with(hello(Role::Host, true), stranger);
    let mut end = guest(true);
    shake(&mut suspicious, &mut end, |_, _, bytes| bytes);
    let text = suspicious.failure().unwrap().to_string();
    let found = keys.guest.public_key().fingerprint();
    let expected = stranger.fingerprint();
    assert_eq!(
        text,
        format!("the other end has the key {found}, expected {expected}")
    );
    assert!(end.established().is_none());

    let mut unknown = host(true);
    let mut end = guest_with(hello(Role::Guest, true), stranger);
    shake(&mut unknown, &mut end, |_, _, bytes| bytes);
    let text = end.failure().unwrap().to_string();
    let found = keys.host.public_key().fingerprint();
    assert_eq!(
        text,
        format!("the other end has the key {found}, expected {expected}")
    );
    let text = unknown.failure().unwrap().to_string();
    assert_eq!(
        text,
        format!("the other end does not accept our key {found}")
    );
}

#[test]
fn bytes_right_behind_the_handshake_are_kept() {
    for plain in [true, false] {
        let (to_guest, to_host) = shake(&mut host(plain), &mut guest(plain), |_, _, bytes| bytes);
        for (way, total) in BOTH_WAYS.into_iter().zip([to_guest, to_host]) {
            let (mut host, mut guest) = (host(plain), guest(plain));
            // The last byte is held until the first frames can ride with it.
            let mut held = Vec::new();
            shake(&mut host, &mut guest, |to, start, mut bytes| {
                if to == way && start + bytes.len() == total {
                    held = bytes.split_off(bytes.len() - 1);
                }
                bytes
            });
            let (sender, receiver) = match way {
                Way::ToGuest => (&mut host, &mut guest),
                Way::ToHost => (&mut guest, &mut host),
            };
            assert!(receiver.established().is_none());
            held.extend(sender.seal(b"the first frames"));
            receiver.give(&held);
            assert_eq!(receiver.open().unwrap(), b"the first frames");
        }
    }
}

#[test]
fn a_plain_stream_of_another_session_is_not_taken_for_ours() {
    const PROOF: usize = 32;
    let mut other_proof = Vec::new();
    let (mut other_host, mut other_guest) = (host(true), guest(true));
    shake(&mut other_host, &mut other_guest, |way, _, bytes| {
        if way == Way::ToHost && bytes.len() >= PROOF {
            other_proof = bytes[bytes.len() - PROOF..].to_vec();
        }
        bytes
    });
    assert_agreed(&mut other_host, &mut other_guest, true);
    let (total, to_host) = shake(&mut host(true), &mut guest(true), |_, _, bytes| bytes);
    assert!(total > 0);

    let (mut host, mut guest) = (host(true), guest(true));
    shake(&mut host, &mut guest, |way, start, mut bytes| {
        let end = start + bytes.len();
        if way == Way::ToHost && end == to_host {
            let at = bytes.len() - PROOF;
            bytes[at..].copy_from_slice(&other_proof);
        }
        bytes
    });
    assert!(matches!(host.failure(), Some(HandshakeError::Unbound)));
}

#[test]
fn an_end_of_a_later_version_is_welcome() {
    for plain in [true, false] {
        let later = Hello {
            capability: 1000,
            max_frame: u32::MAX,
            max_streams: u32::MAX,
            version: "9.4.0".to_owned(),
            ..hello(Role::Guest, plain)
        };
        let mut end = guest_with(later.clone(), keys().host.public_key());
        let mut host = host(plain);
        shake(&mut host, &mut end, |_, _, bytes| bytes);
        assert_agreed(&mut host, &mut end, plain);
        assert_eq!(host.established().unwrap().peer, later);
    }
}

/// Each end sees the other one's window, so each can say which side to upgrade.
#[test]
fn ends_too_far_apart_say_which_side_is_behind_whichever_it_is() {
    let other = |role, capability, oldest_capability| Hello {
        capability,
        oldest_capability,
        version: "9.4.0".to_owned(),
        ..hello(role, true)
    };
    for (capability, oldest, expected) in [
        (
            0,
            0,
            "the other end is 9.4.0 (capability 0), this one needs capability 1 or later: upgrade the other end"
                .to_owned(),
        ),
        (
            1000,
            900,
            format!(
                "the other end is 9.4.0 and needs capability 900 or later, this one has {CAPABILITY}: upgrade this end"
            ),
        ),
    ] {
        let mut theirs = guest_with(
            other(Role::Guest, capability, oldest),
            keys().host.public_key(),
        );
        let mut ours = host(true);
        shake(&mut ours, &mut theirs, |_, _, bytes| bytes);
        assert_eq!(ours.failure().unwrap().to_string(), expected);
        assert!(theirs.established().is_none());

        let mut theirs = host_with(
            other(Role::Host, capability, oldest),
            keys().guest.public_key(),
        );
        let mut ours = guest(true);
        shake(&mut theirs, &mut ours, |_, _, bytes| bytes);
        assert_eq!(ours.failure().unwrap().to_string(), expected);
    }
}
