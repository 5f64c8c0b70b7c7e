//! Clients of a SOCKS5 listener: what they say leads to a target that can be dialled, to an error
//! that they are told, or nowhere yet; and no byte of the connection itself is taken.

use lkc_host::socks::{Negotiation, Progress, Target};

use super::text::assert_harmless;

/// Most that a step takes: a name of 255 bytes and its port.
const MOST_WANTED: usize = 257;

/// Everything that a client says.
pub fn check(input: &[u8]) {
    let mut negotiation = Negotiation::default();
    let mut rest = input;
    let mut answers = 0;
    loop {
        let wants = negotiation.wants();
        assert!((1..=MOST_WANTED).contains(&wants), "{negotiation:?}");
        let Some((step, behind)) = rest.split_at_checked(wants) else {
            return;
        };
        rest = behind;
        match negotiation.handle(step) {
            Ok(Progress::More) => {}
            Ok(Progress::Answer(_)) => answers += 1,
            Ok(Progress::Connect(target)) => {
                assert_eq!(answers, 1, "it was greeted once");
                return check_target(&target);
            }
            Err(error) => {
                assert_harmless(&error.to_string());
                assert!(error.answer().len() <= 10);
                return;
            }
        }
    }
}

/// A request for the same target by its name leads to the same target.
fn check_target(target: &Target) {
    assert_harmless(&target.host);
    let length = u8::try_from(target.host.len()).expect("a name has at most 255 bytes");
    assert_ne!(length, 0);
    let name = [
        &[length],
        target.host.as_bytes(),
        &target.port.to_be_bytes(),
    ]
    .concat();
    let mut negotiation = Negotiation::default();
    let mut reached = None;
    let mut rest = &[&[5, 1, 0, 5, 1, 0, 3][..], &name].concat()[..];
    while reached.is_none() {
        let (step, behind) = rest.split_at(negotiation.wants());
        rest = behind;
        if let Progress::Connect(target) = negotiation.handle(step).expect("said as it should be") {
            reached = Some(target);
        }
    }
    assert!(rest.is_empty());
    assert_eq!(reached.as_ref(), Some(target));
}
