//! Whatever happens in whatever order: no panic, no second machine, no stale Ready, no lost answer.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use lkc_protocol::message::{Change, Rung, RungState, RungStatus};
use proptest::prelude::*;

use super::{
    tests::{failure, ladder, machine, spec},
    *,
};
use crate::{
    config::{ClusterSpec, HostTarget, ReverseSpec},
    control::{ForwardState, Phase},
};

#[derive(Debug, Clone)]
enum Move {
    Up {
        index: u8,
        mtu: Option<u32>,
        /// How many reverse forwards it has.
        reverse: u16,
    },
    Down,
    Restart,
    Delete,
    AddForward(u16),
    RemoveForward(u16),
    /// The oldest task that has not reported does: well, or not.
    Report {
        well: bool,
    },
    Exit,
    LinkUp,
    LinkFailed,
    LinkDown,
    Guest {
        sequence: u64,
        top: usize,
        change: bool,
        link_back: u64,
    },
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        2 => (0..2_u8, prop_oneof![Just(None), Just(Some(1400))], 0..3_u16)
            .prop_map(|(index, mtu, reverse)| Move::Up { index, mtu, reverse }),
        1 => Just(Move::Down),
        1 => Just(Move::Restart),
        1 => Just(Move::Delete),
        1 => (6440..6450_u16).prop_map(Move::AddForward),
        1 => (6440..6450_u16).prop_map(Move::RemoveForward),
        12 => prop::bool::weighted(0.85).prop_map(|well| Move::Report { well }),
        1 => Just(Move::Exit),
        4 => Just(Move::LinkUp),
        1 => Just(Move::LinkFailed),
        2 => Just(Move::LinkDown),
        4 => (0..20_u64, 0..7_usize, any::<bool>(), 0..2_u64)
            .prop_map(|(sequence, top, change, link_back)| Move::Guest { sequence, top, change, link_back }),
    ]
}

/// The world that a daemon acts on, as far as its promises go.
#[derive(Default)]
struct World {
    daemon: Daemon,
    open: Vec<(u64, Task)>,
    asked: Ticket,
    unanswered: BTreeSet<Ticket>,
    bound: Vec<ForwardSpec>,
}

impl World {
    fn handle(&mut self, event: Event, now: Instant) -> Result<(), TestCaseError> {
        for action in self.daemon.handle(event, now) {
            match action {
                Action::Answer { ticket, .. } => {
                    prop_assert!(self.unanswered.remove(&ticket), "{ticket} answered twice");
                }
                Action::Perform { run, task, .. } => self.perform(run, task)?,
                Action::Publish(_) | Action::Withdraw(_) => {}
            }
        }
        self.check()
    }

    fn perform(&mut self, run: u64, task: Task) -> Result<(), TestCaseError> {
        let in_flight =
            |wanted: fn(&Task) -> bool| self.open.iter().filter(|(_, task)| wanted(task)).count();
        match &task {
            Task::StartMachine(_) => {
                prop_assert_eq!(
                    in_flight(|task| matches!(task, Task::StartMachine(_) | Task::StopMachine(_))),
                    0
                );
            }
            Task::StopMachine(_) => {
                prop_assert_eq!(
                    in_flight(|task| matches!(task, Task::StartMachine(_) | Task::StopMachine(_))),
                    0
                );
            }
            Task::UnbindForwards(gone) => self.bound.retain(|known| !gone.contains(known)),
            _ => {}
        }
        let reports = !matches!(
            task,
            Task::UnbindForwards(_)
                | Task::AdoptMachine
                | Task::Connect { .. }
                | Task::ConnectNow
                | Task::Disconnect
                | Task::Watch { .. }
                | Task::FollowKubeconfig { .. }
                | Task::ProbeApi { .. }
                | Task::ProbeNow
                | Task::StopProbing
        );
        if reports {
            self.open.push((run, task));
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for view in self.daemon.views() {
            let steps = &view.status.steps;
            let first_not_ready = steps
                .iter()
                .position(|step| step.state != RungState::Ready)
                .unwrap_or(steps.len());
            let stray = steps[first_not_ready..]
                .iter()
                .any(|step| step.state == RungState::Ready);
            prop_assert!(!stray, "ready above what is not: {steps:?}");
            let has_link = view.status.link.state == crate::control::LinkState::Up;
            prop_assert!(has_link || first_not_ready <= 1, "ready without a link");
            if view.status.phase == Phase::Down {
                prop_assert!(!view.status.machine.running);
            }
            for reverse in &view.status.reverse {
                prop_assert!(
                    reverse.state == ForwardState::Closed || has_link,
                    "{} without a link",
                    reverse.name
                );
            }
            for forward in &view.status.forwards {
                let listens = self.bound.iter().any(|known| known.name == forward.name);
                prop_assert!(
                    forward.state != ForwardState::Listening || listens,
                    "{} does not listen",
                    forward.name
                );
            }
        }
        Ok(())
    }

    fn report(&mut self, well: bool) -> Option<(u64, Report)> {
        if self.open.is_empty() {
            return None;
        }
        let (run, task) = self.open.remove(0);
        let wrong = || failure(Kind::Other, "went wrong");
        let report = match (task, well) {
            (Task::PersistSpec(_), true) => Report::SpecPersisted,
            (Task::PersistSpec(_), false) => Report::PersistFailed(wrong()),
            (
                Task::BindForwards {
                    purpose, forwards, ..
                },
                true,
            ) => {
                self.bound.extend(forwards.iter().cloned());
                Report::ForwardsBound { purpose, forwards }
            }
            (
                Task::BindForwards {
                    purpose, forwards, ..
                },
                false,
            ) => Report::BindFailed {
                purpose,
                forward: forwards
                    .first()
                    .map(|forward| forward.name.clone())
                    .unwrap_or_default(),
                failure: wrong(),
            },
            (Task::StartMachine(_), true) => Report::MachineStarted(machine()),
            (Task::StartMachine(_), false) => Report::MachineFailed(wrong()),
            (Task::StopMachine(_), true) => Report::MachineStopped,
            (Task::StopMachine(_), false) => Report::StopFailed(wrong()),
            (Task::ApplyNetwork { link, .. }, true) => Report::NetworkApplied {
                link,
                summary: "applied".to_owned(),
            },
            (Task::ApplyNetwork { link, .. }, false) => Report::NetworkFailed {
                link,
                failure: wrong(),
            },
            (Task::ConfigureK3s { link, .. }, true) => Report::K3sConfigured { link },
            (Task::ConfigureK3s { link, .. }, false) => Report::K3sFailed {
                link,
                failure: wrong(),
            },
            (Task::ListenInGuest { link, spec }, well) => Report::ReverseForward {
                link,
                // One of another time, if this one has none.
                spec: spec.reverse.first().cloned().unwrap_or(leads_back(7)),
                error: (!well).then(|| "agent: in use".to_owned()),
            },
            (Task::RemoveFiles(_), true) => Report::FilesRemoved,
            (Task::RemoveFiles(_), false) => Report::RemoveFailed(wrong()),
            (other, _) => unreachable!("{other:?} does not report"),
        };
        Some((run, report))
    }

    fn event(&mut self, step: Move) -> Option<Event> {
        let cluster: ClusterName = "k3s-dev".parse().unwrap();
        let view = self.daemon.view(&cluster).cloned();
        let run = view.as_ref().map_or(0, |view| view.run);
        let forward = |port| ForwardSpec {
            name: format!("extra-{port}"),
            host_port: port,
            ..spec("k3s-dev", 0).forwards.remove(0)
        };
        let request = match step {
            Move::Up {
                index,
                mtu,
                reverse,
            } => ClusterRequest::Up(Box::new(ClusterSpec {
                mtu,
                reverse: (0..reverse).map(leads_back).collect(),
                ..spec("k3s-dev", index)
            })),
            Move::Down => ClusterRequest::Down(cluster),
            Move::Restart => ClusterRequest::Restart(cluster),
            Move::Delete => ClusterRequest::Delete(cluster),
            Move::AddForward(port) => ClusterRequest::AddForward(cluster, Box::new(forward(port))),
            Move::RemoveForward(port) => ClusterRequest::RemoveForward(cluster, port.to_string()),
            reported => {
                let (run, report) = match reported {
                    Move::Report { well } => self.report(well)?,
                    Move::Exit => (
                        run,
                        Report::MachineExited {
                            how: "killed".to_owned(),
                            tail: Vec::new(),
                        },
                    ),
                    Move::LinkUp => (
                        run,
                        Report::LinkUp {
                            link: view.map_or(0, |view| view.status.link.connects) + 1,
                            agent_version: "0.1.0".to_owned(),
                            carrier: None,
                        },
                    ),
                    Move::LinkFailed => (
                        run,
                        Report::LinkFailed {
                            attempt: 1,
                            failure: failure(Kind::Authentication, "no"),
                        },
                    ),
                    Move::LinkDown => (
                        run,
                        Report::LinkDown {
                            why: "gone".to_owned(),
                        },
                    ),
                    Move::Guest {
                        sequence,
                        top,
                        change,
                        link_back,
                    } => {
                        let link = view
                            .map_or(0, |view| view.status.link.connects)
                            .saturating_sub(link_back);
                        (run, guest(link, sequence, Rung::ALL[top], change))
                    }
                    _ => return None,
                };
                return Some(Event::Reported {
                    cluster,
                    run,
                    report,
                });
            }
        };
        self.asked += 1;
        self.unanswered.insert(self.asked);
        Some(Event::Requested {
            ticket: self.asked,
            request,
        })
    }
}

fn leads_back(number: u16) -> ReverseSpec {
    ReverseSpec {
        name: format!("reverse-{number}"),
        bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
        guest_port: 5000 + number,
        target: HostTarget::Unix("/run/x.sock".into()),
    }
}

fn guest(link: u64, sequence: u64, rung: Rung, change: bool) -> Report {
    if change {
        let state = RungState::Ready;
        let rungs = vec![RungStatus {
            rung,
            state,
            detail: String::new(),
            tail: Vec::new(),
        }];
        Report::Change {
            link,
            change: Change {
                sequence,
                rungs,
                k3s: None,
            },
        }
    } else {
        Report::Snapshot {
            link,
            snapshot: ladder(sequence, rung),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_promises_hold(script in prop::collection::vec(moves(), 1..120)) {
        let mut world = World::default();
        let mut now = Instant::now();
        for step in script {
            now += Duration::from_millis(7);
            if let Some(event) = world.event(step) {
                world.handle(event, now)?;
            }
        }
        while let Some((run, report)) = world.report(true) {
            let cluster: ClusterName = "k3s-dev".parse().unwrap();
            world.handle(Event::Reported { cluster, run, report }, now)?;
        }
        prop_assert!(world.unanswered.is_empty(), "never answered: {:?}", world.unanswered);
    }
}
