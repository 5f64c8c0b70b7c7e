//! The table.

use super::script::{
    Behaviour,
    Step::{self, *},
};

/// A request or an answer.
const FEW: usize = 300;

/// Fits into the buffers of a loopback connection, so that it is under way when its sender goes on.
const PENDING: usize = 48 * 1024;

/// Fits into no buffer that a kernel has by default.
const BULK: usize = 16 * 1024 * 1024;

/// The write that is split.
const SPLIT: usize = 64 * 1024;

/// How many splits are played on one connection where all are.
const PART: usize = 4096;

/// Every behaviour.
#[must_use]
pub fn all() -> Vec<Behaviour> {
    let mut all = Vec::new();
    for (name, one, other) in ENDS.iter().chain(RESETS).chain(ORDERS) {
        all.push(Behaviour::new(format!("the client {name}"), one, other));
        all.push(Behaviour::new(format!("the server {name}"), other, one));
    }
    for (name, client, server) in BOTH.iter().chain(BEFORE_IT_IS_ACCEPTED) {
        all.push(Behaviour::new(*name, client, server));
    }
    for (name, client) in REFUSALS {
        all.push(Behaviour::refused(name, client));
    }
    all.push(splits(
        "64 KiB split where frames and buffers end",
        &edges(),
    ));
    all.push(Behaviour::new(
        "64 KiB split at each byte",
        &[SendSingly(SPLIT), Finish, ReadToEnd],
        &[ReadToEnd, SendSingly(SPLIT), Finish],
    ));
    all
}

/// 64 KiB in two writes, the first of them read before the second is made, for each of the places
/// where that can be split: 4 GiB in all, on a few connections. `lkc-bench check --every-split`.
#[must_use]
pub fn every_split() -> Vec<Behaviour> {
    let places: Vec<_> = (0..=SPLIT).collect();
    let parts = places.chunks(PART).map(|places| {
        let (first, last) = (places[0], places[places.len() - 1]);
        splits(
            &format!("64 KiB split at each of {first} to {last}"),
            places,
        )
    });
    parts.collect()
}

/// A name, what the one does that it is named after, and what the other does; each is once the
/// client and once the server.
type Line = (&'static str, &'static [Step], &'static [Step]);

const ENDS: &[Line] = &[
    (
        "ends first and is answered",
        &[Send(FEW), Finish, ReadToEnd],
        &[ReadToEnd, Send(FEW), Finish],
    ),
    (
        "ends first, its data under way, and is sent much",
        &[Send(PENDING), Finish, Tell, ReadToEnd],
        &[Wait, ReadToEnd, Send(PENDING), Finish],
    ),
    (
        "ends and goes on reading what came before",
        &[Read(FEW), Finish, ReadToEnd],
        &[Send(FEW), ReadToEnd, Send(PENDING), Send(FEW), Finish],
    ),
    ("closes at once", &[Close], &[ReadToEnd, Finish]),
    (
        "ends with no byte sent",
        &[Finish, ReadToEnd],
        &[ReadToEnd, Finish],
    ),
    (
        "sends and closes",
        &[Send(PENDING), Close],
        &[ReadToEnd, Finish],
    ),
    (
        "closes and is written to",
        &[Close],
        &[
            ReadToEnd,
            Send(1),
            AwaitFailure,
            TakeFailure,
            ReadToEnd,
            Send(1),
        ],
    ),
    (
        "closes after both ended",
        &[Finish, ReadToEnd, Close],
        &[Finish, ReadToEnd, Close],
    ),
    (
        "sends much to a slow reader and closes",
        &[SendTelling(BULK), Close],
        &[Wait, ReadToEnd],
    ),
    (
        "sends much to a slow reader, ends, and is answered",
        &[SendTelling(BULK), Finish, ReadToEnd],
        &[Wait, Read(BULK), ReadToEnd, Send(FEW), Close],
    ),
];

const RESETS: &[Line] = &[
    ("resets at once", &[Reset], &[ReadToEnd]),
    (
        "sends and resets at once",
        &[Send(FEW), Reset],
        &[ReadToEnd],
    ),
    (
        "sends, ends and resets at once",
        &[Send(FEW), Finish, Reset],
        &[ReadToEnd],
    ),
    (
        "resets an idle connection",
        &[Send(FEW), Wait, Reset],
        &[Read(FEW), Tell, AwaitFailure, TakeFailure, ReadToEnd],
    ),
    (
        "resets after a read",
        &[Read(FEW), Reset],
        &[Send(PENDING), ReadToEnd, Send(1)],
    ),
    (
        "resets with unread data, by closing",
        &[AwaitBytes, Close],
        &[Send(PENDING), ReadToEnd, Send(1)],
    ),
    (
        "resets after its answer was read",
        &[Read(FEW), Send(FEW), Wait, Reset],
        &[Send(FEW), Read(FEW), Tell, ReadToEnd],
    ),
    (
        "resets while it is written to",
        &[Wait, Reset],
        &[SendUntilFailure, Send(1), ReadToEnd],
    ),
    (
        "closes with unread data while it is written to",
        &[Wait, AwaitBytes, Close],
        &[SendUntilFailure, Send(1), ReadToEnd],
    ),
    (
        "resets in answer to an end",
        &[ReadToEnd, Reset],
        &[Send(FEW), Finish, ReadToEnd],
    ),
    (
        "resets in the middle of what it reads",
        &[Read(PENDING), Reset],
        &[SendUntilFailure, ReadToEnd],
    ),
    (
        "resets, which the first write shows",
        &[Send(FEW), Wait, Reset],
        &[
            Read(FEW),
            Tell,
            AwaitFailure,
            Send(1),
            Send(1),
            Finish,
            ReadToEnd,
        ],
    ),
];

/// Resets that come after data or an end which the other end has not read yet.
const ORDERS: &[Line] = &[
    (
        "sends and resets before that is read",
        &[Read(FEW), Send(PENDING), Reset],
        &[Send(FEW), AwaitFailure, ReadToEnd],
    ),
    (
        "answers and closes with unread data",
        &[AwaitBytes, Send(FEW), Close],
        &[Send(PENDING), AwaitFailure, ReadToEnd],
    ),
    (
        "sends, ends and resets before that is read",
        &[Read(FEW), Send(FEW), Finish, Reset],
        &[Send(FEW), AwaitFailure, ReadToEnd, TakeFailure],
    ),
    (
        "resets when nothing it writes is read any more",
        &[Read(FEW), Fill, Reset],
        &[Send(FEW), AwaitFailure, TakeFailure],
    ),
    (
        "closes with unread data when nothing it writes is read any more",
        &[AwaitBytes, Fill, Close],
        &[Send(FEW), AwaitFailure, TakeFailure],
    ),
    (
        "ends, and resets once that is read",
        &[Finish, Wait, Reset],
        &[
            ReadToEnd,
            Tell,
            AwaitFailure,
            TakeFailure,
            Send(1),
            ReadToEnd,
        ],
    ),
    (
        "ends, reads some, and resets",
        &[Finish, Read(FEW), Reset],
        &[ReadToEnd, Send(PENDING), AwaitFailure, Send(1), Send(1)],
    ),
    (
        "resets after the other end's end and a part of the answer",
        &[ReadToEnd, Send(FEW), Wait, Reset],
        &[
            Send(FEW),
            Finish,
            Read(FEW),
            Tell,
            AwaitFailure,
            TakeFailure,
            ReadToEnd,
        ],
    ),
];

const BOTH: &[Line] = &[
    (
        "both end at once with no byte sent",
        &[Finish, ReadToEnd],
        &[Finish, ReadToEnd],
    ),
    (
        "both send and end at once",
        &[Send(PENDING), Finish, ReadToEnd],
        &[Send(PENDING), Finish, ReadToEnd],
    ),
    ("both close at once", &[Close], &[Close]),
    (
        "both reset at once",
        &[Send(FEW), Read(FEW), Tell, Wait, Reset],
        &[Send(FEW), Read(FEW), Tell, Wait, Reset],
    ),
    (
        "much both ways at once",
        &[Exchange(BULK / 4)],
        &[Exchange(BULK / 4)],
    ),
    (
        "much up, then much down",
        &[Send(BULK / 4), Finish, ReadToEnd],
        &[ReadToEnd, Send(BULK / 4), Close],
    ),
    (
        "requests and answers in turn",
        &[
            Send(1),
            Read(FEW),
            Send(FEW),
            Read(PENDING),
            Send(1),
            Read(1),
            Finish,
            ReadToEnd,
        ],
        &[
            Read(1),
            Send(FEW),
            Read(FEW),
            Send(PENDING),
            Read(1),
            Send(1),
            ReadToEnd,
            Close,
        ],
    ),
    (
        "writes of no byte",
        &[Send(0), Send(FEW), Send(0), Finish, ReadToEnd],
        &[Send(0), ReadToEnd, Send(FEW), Send(0), Finish],
    ),
];

/// What the client has done before the server accepts.
const BEFORE_IT_IS_ACCEPTED: &[Line] = &[
    (
        "the client resets before it is accepted",
        &[Reset, Tell],
        &[Wait, ReadToEnd],
    ),
    (
        "the client closes before it is accepted",
        &[Close, Tell],
        &[Wait, ReadToEnd],
    ),
    (
        "the client sends and closes before it is accepted",
        &[Send(FEW), Close, Tell],
        &[Wait, ReadToEnd],
    ),
    (
        "the client sends and resets before it is accepted",
        &[Send(FEW), Reset, Tell],
        &[Wait, AwaitFailure, ReadToEnd],
    ),
];

const REFUSALS: &[(&str, &[Step])] = &[
    ("nobody listens", &[ReadToEnd]),
    (
        "nobody listens, and the client has ended",
        &[Finish, ReadToEnd],
    ),
];

/// Each split is read before the next one begins, so that no two of them meet in a buffer.
fn splits(name: &str, places: &[usize]) -> Behaviour {
    let (mut client, mut server) = (Vec::new(), Vec::new());
    for &place in places {
        client.extend([Send(place), Wait, Send(SPLIT - place), Wait]);
        server.extend([Read(place), Tell, Read(SPLIT - place), Tell]);
    }
    client.extend([Finish, ReadToEnd]);
    server.extend([ReadToEnd, Close]);
    Behaviour::new(name, &client, &server)
}

/// The first and last bytes, the powers of two and what is a header's length away from them.
fn edges() -> Vec<usize> {
    let mut places: Vec<usize> = (0..=16).chain(SPLIT - 16..=SPLIT).collect();
    for power in 5..16 {
        let power = 1 << power;
        places.extend([power - 12, power - 1, power, power + 1, power + 12]);
    }
    places.sort_unstable();
    places.dedup();
    places
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use tokio::net::TcpListener;

    use super::*;
    use crate::behaviours::{Difference, Seen, play};

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn each_behaviour_has_a_name_of_its_own() {
        let all = all();
        let names: BTreeSet<_> = all.iter().map(Behaviour::name).collect();
        assert_eq!(names.len(), all.len());
        let steps: usize = every_split().iter().map(|part| part.client().len()).sum();
        assert_eq!(4 * (SPLIT + 1) + 2 * every_split().len(), steps);
    }

    /// Else a difference would say nothing.
    #[tokio::test]
    async fn directly_nothing_hangs_and_each_time_is_like_the_other() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nowhere = nobody.local_addr().unwrap();
        drop(nobody);
        for behaviour in all() {
            let entry = if behaviour.is_refused() {
                nowhere
            } else {
                address
            };
            let first = play(&behaviour, entry, &listener, PATIENCE).await;
            let second = play(&behaviour, entry, &listener, PATIENCE).await;
            assert_eq!(first, second, "{}", behaviour.name());
            let hangs = |seen: &Seen| matches!(seen, Seen::Hangs(_));
            let all = first.client.iter().chain(&first.server);
            assert!(!all.clone().any(hangs), "{}: {first}", behaviour.name());
            assert_eq!(second.differs_from(&first), Difference::None);
        }
    }
}
