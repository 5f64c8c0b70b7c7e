//! Random operations on both ends against a model: per stream and direction, what was written and
//! not yet read. Order, credit, half-closes, resets and the final emptiness are checked.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Operation {
    Open {
        host: bool,
    },
    Answer {
        host: bool,
        accept: bool,
    },
    Write {
        host: bool,
        pick: usize,
        count: usize,
    },
    Read {
        host: bool,
        pick: usize,
    },
    Finish {
        host: bool,
        pick: usize,
    },
    Reset {
        host: bool,
        pick: usize,
    },
    Release {
        host: bool,
        pick: usize,
    },
    Carry {
        host: bool,
        most: usize,
    },
}

fn operation() -> impl Strategy<Value = Operation> {
    let (host, pick) = (any::<bool>(), 0..64_usize);
    prop_oneof![
        2 => host.prop_map(|host| Operation::Open { host }),
        3 => (host, prop::bool::weighted(0.9)).prop_map(|(host, accept)| Operation::Answer { host, accept }),
        8 => (host, pick.clone(), 1..70_000_usize).prop_map(|(host, pick, count)| Operation::Write { host, pick, count }),
        12 => (host, pick.clone()).prop_map(|(host, pick)| Operation::Read { host, pick }),
        2 => (host, pick.clone()).prop_map(|(host, pick)| Operation::Finish { host, pick }),
        1 => (host, pick.clone()).prop_map(|(host, pick)| Operation::Reset { host, pick }),
        1 => (host, pick).prop_map(|(host, pick)| Operation::Release { host, pick }),
        15 => (host, prop_oneof![1..40_usize, 1..100_000_usize]).prop_map(|(host, most)| Operation::Carry { host, most }),
    ]
}

/// What one end knows of a stream.
#[derive(Debug, Default, Clone)]
struct Side {
    /// Bytes written so far; byte `n` of a direction is `n % 251`.
    written: usize,
    read: usize,
    finished: bool,
    end_seen: bool,
    gone: bool,
}

#[derive(Debug, Default)]
struct Model {
    streams: BTreeMap<StreamId, [Side; 2]>,
    /// Streams on which a reset or a refusal happened: their bytes may be lost.
    broken: std::collections::BTreeSet<StreamId>,
    waiting: [Vec<StreamId>; 2],
    live: [Vec<StreamId>; 2],
}

struct World {
    pair: Pair,
    model: Model,
}

impl World {
    fn session(&mut self, host: bool) -> &mut Session {
        if host {
            &mut self.pair.host.session
        } else {
            &mut self.pair.guest.session
        }
    }

    fn pick(&self, host: bool, pick: usize) -> Option<StreamId> {
        let live = &self.model.live[usize::from(host)];
        (!live.is_empty()).then(|| live[pick % live.len()])
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Open { host } => {
                if let Ok(id) = self.session(host).open(b"request") {
                    self.model.streams.insert(id, Default::default());
                }
            }
            Operation::Answer { host, accept } => {
                let Some(id) = self.model.waiting[usize::from(host)].pop() else {
                    return;
                };
                if accept {
                    self.session(host).accept(id, b"answer");
                    self.model.live[usize::from(host)].push(id);
                } else {
                    self.session(host)
                        .refuse(id, &Refusal::new(RefusalCode::Busy, "no"));
                    self.model.broken.insert(id);
                }
            }
            Operation::Write { host, pick, count } => {
                let Some(id) = self.pick(host, pick) else {
                    return;
                };
                let side = self.model.streams[&id][usize::from(host)].clone();
                let bytes: Bytes = (side.written..side.written + count)
                    .map(|byte| (byte % 251) as u8)
                    .collect();
                match self.session(host).write(id, bytes) {
                    Write::Queued => self.side(id, host).written += count,
                    Write::Blocked => {}
                    Write::Finished => assert!(side.finished),
                    Write::Reset(_) => assert!(self.model.broken.contains(&id)),
                }
            }
            Operation::Read { host, pick } => {
                if let Some(id) = self.pick(host, pick) {
                    self.read(host, id);
                }
            }
            Operation::Finish { host, pick } => {
                let Some(id) = self.pick(host, pick) else {
                    return;
                };
                self.session(host).finish(id);
                self.side(id, host).finished = true;
            }
            Operation::Reset { host, pick } => {
                let Some(id) = self.pick(host, pick) else {
                    return;
                };
                self.session(host).reset(id, ResetCode::Failed);
                self.drop_handle(host, id);
                self.model.broken.insert(id);
            }
            Operation::Release { host, pick } => {
                let Some(id) = self.pick(host, pick) else {
                    return;
                };
                let side = self.model.streams[&id][usize::from(host)].clone();
                if !(side.finished && side.end_seen) {
                    self.model.broken.insert(id);
                }
                self.session(host).release(id);
                self.drop_handle(host, id);
            }
            Operation::Carry { host, most } => {
                self.pair.carry(host, most).unwrap();
            }
        }
        self.collect_events();
    }

    fn side(&mut self, id: StreamId, host: bool) -> &mut Side {
        &mut self.model.streams.get_mut(&id).unwrap()[usize::from(host)]
    }

    fn drop_handle(&mut self, host: bool, id: StreamId) {
        self.model.live[usize::from(host)].retain(|&live| live != id);
        self.side(id, host).gone = true;
    }

    fn read(&mut self, host: bool, id: StreamId) -> bool {
        let theirs = self.model.streams[&id][usize::from(!host)].clone();
        match self.session(host).read(id) {
            Read::Data(bytes) => {
                let side = self.side(id, host);
                for byte in &bytes {
                    assert_eq!(
                        usize::from(*byte),
                        side.read % 251,
                        "stream {id} byte {}",
                        side.read
                    );
                    side.read += 1;
                }
                assert!(side.read <= theirs.written);
                true
            }
            Read::End => {
                let side = self.side(id, host);
                side.end_seen = true;
                assert!(theirs.finished, "an end that nobody sent");
                assert_eq!(side.read, theirs.written, "an end in front of bytes");
                false
            }
            Read::Blocked => false,
            Read::Reset(_) => {
                assert!(self.model.broken.contains(&id), "a reset that nobody sent");
                false
            }
        }
    }

    fn collect_events(&mut self) {
        for host in [true, false] {
            while let Some(event) = self.session(host).poll_event() {
                let index = usize::from(host);
                match event {
                    Event::Opened { stream, .. } => self.model.waiting[index].push(stream),
                    Event::Accepted { stream, .. } => self.model.live[index].push(stream),
                    Event::Refused { stream, refusal } => {
                        // Busy also when the end of another stream had not arrived yet.
                        assert_eq!(refusal.code, RefusalCode::Busy);
                        self.model.broken.insert(stream);
                    }
                    Event::Readable(_) | Event::Writable(_) => {}
                    Event::GoAway { code, text } => panic!("{code} {text}"),
                }
            }
        }
    }

    /// Answers, finishes, reads and releases everything, and looks at what is left.
    fn wind_up(&mut self) {
        for _ in 0..5 {
            self.pair.settle();
            self.collect_events();
            for host in [true, false] {
                while !self.model.waiting[usize::from(host)].is_empty() {
                    self.apply(&Operation::Answer { host, accept: true });
                }
            }
        }
        for host in [true, false] {
            for id in self.model.live[usize::from(host)].clone() {
                self.session(host).finish(id);
                self.side(id, host).finished = true;
            }
        }
        let mut progress = true;
        while progress {
            progress = false;
            self.pair.settle();
            self.collect_events();
            for host in [true, false] {
                for id in self.model.live[usize::from(host)].clone() {
                    while self.read(host, id) {
                        progress = true;
                    }
                }
            }
        }
        for (id, sides) in &self.model.streams {
            if !self.model.broken.contains(id) {
                for host in [0, 1] {
                    assert!(sides[host].end_seen, "stream {id}: no end seen");
                    assert_eq!(
                        sides[host].read,
                        sides[1 - host].written,
                        "stream {id}: bytes lost"
                    );
                }
            }
        }
        for host in [true, false] {
            for id in self.model.live[usize::from(host)].clone() {
                self.session(host).release(id);
            }
        }
        self.pair.settle();
        for host in [true, false] {
            let session = self.session(host);
            assert_eq!(
                (
                    session.stream_count(),
                    session.promised(),
                    session.unanswered,
                    session.opened_by_us
                ),
                (0, 0, 0, 0)
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_arrives_once_in_order_or_the_stream_is_known_to_be_broken(
        operations in prop::collection::vec(operation(), 1..300),
        window in 16_384..200_000_usize,
    ) {
        let limits = Limits { window, send_buffer: 100_000, max_streams: 12, ..Limits::default() };
        let mut world = World { pair: Pair::new(limits), model: Model::default() };
        for operation in &operations {
            world.apply(operation);
        }
        world.wind_up();
    }

    #[test]
    fn arbitrary_bytes_never_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20)) {
        let now = Instant::now();
        let limits = Limits::default();
        let mut session = Session::new(Role::Guest, limits, &hello(Role::Host, &limits), now);
        let mut input = BytesMut::new();
        for chunk in chunks {
            input.extend_from_slice(&chunk);
            if session.handle_bytes(&mut input, now).is_err() {
                break;
            }
        }
    }
}
