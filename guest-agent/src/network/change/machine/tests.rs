use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

const SECRET: Secret = [7; 16];

fn at(seconds: u64) -> BootTime {
    BootTime(Duration::from_secs(seconds))
}

fn id(number: u8) -> ChangeId {
    ChangeId([number; 16])
}

fn change(number: u8, deadline: u64) -> Change {
    Change {
        id: id(number),
        deadline: at(deadline),
        secret: Some(SECRET),
    }
}

/// A machine in which change 1 waits since second 10, until second 40.
fn waiting() -> Machine {
    let mut machine = Machine::default();
    let events = [
        (
            Event::Try {
                change: change(1, 40),
            },
            vec![Step::Arm],
        ),
        (Event::Armed(Ok(())), vec![Step::CarryOut]),
        (Event::Applied { changed: true }, vec![]),
    ];
    for (event, steps) in events {
        assert_eq!(machine.handle(event, at(10)), (steps, Ok(())));
    }
    machine
}

fn confirm(number: u8, link_since: u64, proof: &[u8]) -> Event {
    Event::Confirm {
        id: id(number),
        link_since: at(link_since),
        proof: proof.to_vec(),
    }
}

#[test]
fn a_change_is_kept_once_it_is_confirmed() {
    let mut machine = waiting();
    let confirmed = confirm(1, 11, &SECRET);
    assert_eq!(
        machine.handle(confirmed.clone(), at(12)),
        (vec![Step::Keep], Ok(()))
    );
    assert_eq!(
        machine.handle(Event::Kept(Ok(())), at(12)),
        (vec![Step::Disarm], Ok(()))
    );
    assert_eq!(machine.phase(), &Phase::Committed(id(1)));
    // Asked again, by a host that has not heard the answer.
    assert_eq!(machine.handle(confirmed, at(100)), (vec![], Ok(())));
    let again = Event::Try {
        change: change(1, 140),
    };
    assert_eq!(machine.handle(again, at(100)), (vec![], Ok(())));
}

#[test]
fn what_is_no_confirmation() {
    let table = [
        (confirm(1, 10, &SECRET), Refused::OldLink),
        (confirm(1, 3, &SECRET), Refused::OldLink),
        (confirm(1, 11, &[]), Refused::NotProven),
        (confirm(1, 11, &[8; 16]), Refused::NotProven),
        (confirm(2, 11, &SECRET), Refused::Unknown { id: id(2) }),
        (
            Event::Try {
                change: change(2, 60),
            },
            Refused::Busy {
                id: id(1),
                left: Duration::from_secs(28),
            },
        ),
        (
            Event::RollBack { id: id(2) },
            Refused::Unknown { id: id(2) },
        ),
    ];
    for (event, refused) in table {
        let mut machine = waiting();
        let before = machine.phase().clone();
        assert_eq!(machine.handle(event, at(12)), (vec![], Err(refused)));
        assert_eq!(machine.phase(), &before);
    }
}

#[test]
fn a_confirmation_after_the_deadline_takes_the_change_back() {
    let mut machine = waiting();
    let (steps, refused) = machine.handle(confirm(1, 11, &SECRET), at(40));
    assert_eq!(steps, [Step::TakeBack]);
    let reason = "no host has confirmed it in time".to_owned();
    let expected = Refused::RolledBack { id: id(1), reason };
    assert_eq!(refused, Err(expected.clone()));
    let over = machine.handle(Event::TakenBack { left: None }, at(41));
    assert_eq!(over, (vec![Step::Disarm], Ok(())));
    let (steps, refused) = machine.handle(confirm(1, 11, &SECRET), at(42));
    assert_eq!((steps, refused), (vec![], Err(expected.clone())));
    let again = Event::Try {
        change: change(1, 140),
    };
    assert_eq!(machine.handle(again, at(42)), (vec![], Err(expected)));
    let other = Event::Try {
        change: change(2, 140),
    };
    assert_eq!(machine.handle(other, at(42)), (vec![Step::Arm], Ok(())));
}

#[test]
fn every_failure_leads_back() {
    let table: [(&[Event], &str); 5] = [
        (
            &[Event::Armed(Ok(())), Event::Failed("no lease".to_owned())],
            "no lease",
        ),
        (
            &[
                Event::Armed(Ok(())),
                Event::Applied { changed: true },
                Event::RollBack { id: id(1) },
            ],
            "the host asked for it",
        ),
        (
            &[
                Event::Armed(Ok(())),
                Event::Applied { changed: true },
                confirm(1, 11, &SECRET),
                Event::Kept(Err("disk full".to_owned())),
            ],
            "it cannot be kept: disk full",
        ),
        (
            &[Event::Armed(Err("no bus".to_owned()))],
            "it was not begun: no bus",
        ),
        (
            &[
                Event::Armed(Ok(())),
                Event::Applied { changed: false },
                Event::Kept(Err("disk full".to_owned())),
            ],
            "it cannot be kept: disk full",
        ),
    ];
    for (events, expected) in table {
        let mut machine = Machine::default();
        let event = Event::Try {
            change: change(1, 40),
        };
        let (mut steps, _) = machine.handle(event, at(10));
        for event in events {
            steps = machine.handle(event.clone(), at(10)).0;
        }
        if steps == [Step::TakeBack] {
            steps = machine.handle(Event::TakenBack { left: None }, at(11)).0;
        }
        assert_eq!(steps, [Step::Disarm]);
        let reason = expected.to_owned();
        let over = Phase::RolledBack {
            id: id(1),
            reason,
            left: None,
        };
        assert_eq!(machine.phase(), &over);
    }
}

#[test]
fn what_an_agent_before_left_is_taken_up() {
    let found = |applied, now| {
        let mut machine = Machine::default();
        let change = change(1, 40);
        let (steps, _) = machine.handle(Event::Found { change, applied }, at(now));
        (steps, machine)
    };
    assert_eq!(found(false, 12).0, [Step::TakeBack]);
    assert_eq!(found(true, 40).0, [Step::TakeBack]);
    let (steps, mut machine) = found(true, 12);
    assert_eq!(steps, []);
    // Its own link from before says nothing.
    let old = machine.handle(confirm(1, 11, &SECRET), at(13));
    assert_eq!(old, (vec![], Err(Refused::OldLink)));
    let new = machine.handle(confirm(1, 13, &SECRET), at(14));
    assert_eq!(new, (vec![Step::Keep], Ok(())));
}

#[test]
fn what_the_timer_took_back_is_known() {
    let mut machine = Machine::default();
    let reason = "the agent was not there".to_owned();
    let over = Event::Over {
        id: id(1),
        reason: reason.clone(),
        left: None,
    };
    assert_eq!(machine.handle(over, at(50)), (vec![], Ok(())));
    let late = machine.handle(confirm(1, 51, &SECRET), at(52));
    assert_eq!(
        late,
        (vec![], Err(Refused::RolledBack { id: id(1), reason }))
    );
}

#[test]
fn what_was_confirmed_before_stays_so() {
    let mut machine = Machine::default();
    let known = machine.handle(Event::Confirmed { id: id(1) }, at(50));
    assert_eq!(known, (vec![], Ok(())));
    let again = machine.handle(confirm(1, 51, &SECRET), at(52));
    assert_eq!(again, (vec![], Ok(())));
    let back = machine.handle(Event::RollBack { id: id(1) }, at(53));
    assert_eq!(back, (vec![], Err(Refused::Committed { id: id(1) })));
}

#[derive(Debug, Clone)]
enum Move {
    Try(u8),
    Confirm {
        change: u8,
        age: u8,
        proven: bool,
    },
    RollBack(u8),
    /// The answer to the step that is out, good or bad.
    Answer(bool),
    /// The agent ends and another begins.
    Restart,
    /// Seconds go by.
    Wait(u8),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        (0..3_u8).prop_map(Move::Try),
        (0..3_u8, 0..20_u8, any::<bool>()).prop_map(|(change, age, proven)| Move::Confirm {
            change,
            age,
            proven
        }),
        (0..3_u8).prop_map(Move::RollBack),
        any::<bool>().prop_map(Move::Answer),
        any::<bool>().prop_map(Move::Answer),
        Just(Move::Restart),
        (0..20_u8).prop_map(Move::Wait),
    ];
    prop::collection::vec(one, 0..24)
}

/// What the machine stands for, kept beside it: a network, the record of a change, a timer.
#[derive(Debug, Default)]
struct World {
    now: u64,
    /// Which change the network is, as confirmed and as it is now.
    kept: Option<u8>,
    network: Option<u8>,
    /// The change that is written down, when it is to be over, since when it was applied.
    record: Option<(u8, u64, Option<u64>)>,
    out: Option<Step>,
}

impl World {
    fn perform(&mut self, step: Step, machine: &Machine) -> Option<Event> {
        let change = machine.under_way();
        match step {
            Step::Arm => {
                let change = change.unwrap();
                self.record = Some((change.id.0[0], change.deadline.0.as_secs(), None));
            }
            Step::CarryOut => {
                let (record, ..) = self.record.expect("changed without a way back");
                self.network = Some(record);
            }
            Step::Keep => {}
            Step::TakeBack => self.network = self.kept,
            Step::Disarm => {
                self.record = None;
                return None;
            }
        }
        self.out = Some(step);
        None
    }

    fn answer(&mut self, good: bool) -> Option<Event> {
        Some(match self.out.take()? {
            Step::Arm if good => Event::Armed(Ok(())),
            Step::Arm => Event::Armed(Err("no".to_owned())),
            Step::CarryOut if good => {
                let record = self.record.as_mut().unwrap();
                record.2 = Some(self.now);
                Event::Applied { changed: true }
            }
            Step::CarryOut => Event::Failed("no".to_owned()),
            Step::Keep if good => {
                self.kept = self.network;
                Event::Kept(Ok(()))
            }
            Step::Keep => Event::Kept(Err("no".to_owned())),
            Step::TakeBack => Event::TakenBack { left: None },
            Step::Disarm => return None,
        })
    }
}

fn feed(machine: &mut Machine, world: &mut World, event: Event) -> Result<(), Refused> {
    let (steps, verdict) = machine.handle(event, at(world.now));
    assert!(steps.len() <= 1, "one step at a time");
    for step in steps {
        world.perform(step, machine);
    }
    verdict
}

fn play(moves: Vec<Move>) {
    let mut machine = Machine::default();
    let mut world = World {
        now: 100,
        ..World::default()
    };
    for one in moves {
        match one {
            Move::Try(number) => {
                let other = machine
                    .under_way()
                    .is_some_and(|change| change.id != id(number));
                let deadline = world.now + 30;
                let tried = feed(
                    &mut machine,
                    &mut world,
                    Event::Try {
                        change: change(number, deadline),
                    },
                );
                assert!(!other || tried.is_err(), "two at once");
            }
            Move::Confirm {
                change,
                age,
                proven,
            } => {
                let since = world.now.saturating_sub(u64::from(age));
                let proof: &[u8] = if proven { &SECRET } else { &[] };
                let was = machine.phase().clone();
                let confirmed = feed(&mut machine, &mut world, confirm(change, since, proof));
                if confirmed.is_ok() && !matches!(was, Phase::Committed(_)) {
                    let (number, deadline, applied) = world.record.expect("confirmed nothing");
                    assert_eq!(number, change);
                    assert!(proven && world.now < deadline);
                    assert!(applied.is_some_and(|applied| since > applied));
                }
            }
            Move::RollBack(number) => {
                let _ = feed(&mut machine, &mut world, Event::RollBack { id: id(number) });
            }
            Move::Answer(good) => {
                if let Some(event) = world.answer(good) {
                    feed(&mut machine, &mut world, event).unwrap();
                }
            }
            Move::Restart => {
                machine = Machine::default();
                world.out = None;
                if let Some((number, deadline, applied)) = world.record {
                    // An agent that is killed while it writes down what was confirmed may have.
                    let found = Event::Found {
                        change: change(number, deadline),
                        applied: applied.is_some(),
                    };
                    if let Some(record) = &mut world.record
                        && applied.is_some()
                    {
                        record.2 = Some(world.now);
                    }
                    feed(&mut machine, &mut world, found).unwrap();
                }
            }
            Move::Wait(seconds) => {
                world.now += u64::from(seconds);
                feed(&mut machine, &mut world, Event::Tick).unwrap();
            }
        }
        // What is not confirmed is in force only while somebody will take it back.
        if world.network != world.kept {
            let (number, deadline, _) = world.record.expect("nobody takes it back");
            assert_eq!(world.network, Some(number));
            let busy = world.out.is_some();
            assert!(busy || world.now < deadline, "in force after its deadline");
        }
    }
}

#[test]
fn nothing_unconfirmed_outlives_its_deadline() {
    let config = ProptestConfig {
        cases: 10_000,
        rng_seed: RngSeed::Fixed(5),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(moves in moves())| play(moves));
}
