//! One scenario per promise: events in, actions and what is shown out.

use std::time::Duration;

use lkc_protocol::message::{Cni, K3sSummary, Rung, RungState, RungStatus};

use super::*;
use crate::{
    config::{Driver, Encrypt, K3sSpec},
    control::{ForwardState, LinkState, Phase},
};

pub(crate) fn spec(name: &str, index: u8) -> ClusterSpec {
    let forward = |name: &str, host_port: u16, guest_port: u16| ForwardSpec {
        name: name.to_owned(),
        bind: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        host_port: host_port + u16::from(index),
        guest_host: "127.0.0.1".to_owned(),
        guest_port,
    };
    ClusterSpec {
        name: name.parse().unwrap(),
        index,
        driver: Driver::Sandbox,
        address: format!("192.100.0.{}", 10 + index).parse().unwrap(),
        prefix: 24,
        gateway: None,
        mac: format!("52:54:00:c8:32:{:02x}", 10 + index)
            .parse()
            .unwrap(),
        interface: "eth0".to_owned(),
        mtu: None,
        nameservers: Vec::new(),
        cni: Cni::Default,
        k3s: K3sSpec::default(),
        forwards: vec![forward("api", 6443, 6443), forward("http", 8080, 80)],
        encrypt: Encrypt::Auto,
    }
}

pub(crate) fn machine() -> MachineInfo {
    MachineInfo {
        pid: Some(4242),
        description: "sandbox, pid 4242".to_owned(),
        carrier: Carrier::Unix("/run/lkc/k3s-dev/agent.sock".into()),
    }
}

pub(crate) fn failure(kind: Kind, message: &str) -> Failure {
    Failure {
        kind,
        message: message.to_owned(),
        hints: Vec::new(),
        tail: Vec::new(),
    }
}

pub(crate) fn ladder(sequence: u64, top: Rung) -> Snapshot {
    let status = |&rung: &Rung| RungStatus {
        rung,
        state: if rung <= top {
            RungState::Ready
        } else {
            RungState::Pending
        },
        detail: format!("{rung} detail"),
        tail: Vec::new(),
    };
    Snapshot {
        sequence,
        rungs: Rung::ALL.iter().map(status).collect(),
        k3s: K3sSummary::default(),
    }
}

/// A daemon with its clock, and what it did last.
struct Bench {
    daemon: Daemon,
    now: Instant,
    tickets: Ticket,
    actions: Vec<Action>,
}

impl Bench {
    fn new() -> Self {
        Self {
            daemon: Daemon::default(),
            now: Instant::now(),
            tickets: 0,
            actions: Vec::new(),
        }
    }

    /// A daemon whose cluster `k3s-dev` is up with a node that is Ready.
    fn up() -> Self {
        let mut bench = Self::new();
        bench.request(ClusterRequest::Up(Box::new(spec("k3s-dev", 0))));
        bench.climb();
        bench
    }

    fn handle(&mut self, event: Event) {
        self.now += Duration::from_millis(10);
        self.actions = self.daemon.handle(event, self.now);
    }

    fn request(&mut self, request: ClusterRequest) -> Option<Result<Begun, Failure>> {
        self.tickets += 1;
        let ticket = self.tickets;
        self.handle(Event::Requested { ticket, request });
        self.answer_to(ticket)
    }

    fn answer_to(&self, wanted: Ticket) -> Option<Result<Begun, Failure>> {
        self.actions.iter().find_map(|action| match action {
            Action::Answer { ticket, answer } if *ticket == wanted => Some(answer.clone()),
            _ => None,
        })
    }

    fn report(&mut self, report: Report) {
        let (cluster, run) = (name(), self.view().run);
        self.handle(Event::Reported {
            cluster,
            run,
            report,
        });
    }

    /// From the answered request to a node that is Ready.
    fn climb(&mut self) {
        self.report(Report::SpecPersisted);
        self.bound();
        self.report(Report::MachineStarted(machine()));
        self.connect();
    }

    fn connect(&mut self) {
        let link = self.link() + 1;
        self.report(Report::LinkUp {
            link,
            agent_version: "0.1.0".to_owned(),
        });
        self.configure();
        let (link, snapshot) = (self.link(), ladder(7, Rung::Node));
        self.report(Report::Snapshot { link, snapshot });
    }

    fn configure(&mut self) {
        let (link, summary) = (self.link(), "192.100.0.10/24 on eth0".to_owned());
        self.report(Report::NetworkApplied { link, summary });
        self.report(Report::K3sConfigured { link });
    }

    /// Reports that whatever was to be bound last is.
    fn bound(&mut self) {
        let task = self.tasks().into_iter().find_map(|task| match task {
            Task::BindForwards {
                purpose, forwards, ..
            } => Some((purpose, forwards)),
            _ => None,
        });
        let (purpose, forwards) = task.expect("nothing was to be bound");
        self.report(Report::ForwardsBound { purpose, forwards });
    }

    fn tasks(&self) -> Vec<Task> {
        let task = |action: &Action| match action {
            Action::Perform { task, .. } => Some(task.clone()),
            _ => None,
        };
        self.actions.iter().filter_map(task).collect()
    }

    fn task_names(&self) -> Vec<String> {
        let word = |task: &Task| {
            let text = format!("{task:?}");
            text.split([' ', '(', '{'])
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        self.tasks().iter().map(word).collect()
    }

    fn view(&self) -> &View {
        self.daemon.view(&name()).expect("k3s-dev is not shown")
    }

    fn link(&self) -> u64 {
        self.view().status.link.connects
    }

    fn phase(&self) -> Phase {
        self.view().status.phase
    }

    fn rung(&self, rung: Rung) -> (RungState, String) {
        let step = self.view().status.rung(rung).expect("every rung is shown");
        (step.state, step.detail.clone())
    }

    fn step_states(&self) -> Vec<RungState> {
        let steps = &self.view().status.steps;
        steps.iter().map(|step| step.state).collect()
    }
}

fn name() -> ClusterName {
    "k3s-dev".parse().unwrap()
}

fn up() -> ClusterRequest {
    ClusterRequest::Up(Box::new(spec("k3s-dev", 0)))
}

#[test]
fn up_climbs_one_step_at_a_time() {
    let mut bench = Bench::new();
    let begun = bench.request(up()).unwrap().unwrap();
    assert_eq!(
        begun,
        Begun {
            run: 1,
            changed: true
        }
    );
    assert_eq!(bench.task_names(), ["PersistSpec"]);
    assert!(
        matches!(bench.actions[0], Action::Publish(_)),
        "shown before it is answered"
    );
    bench.report(Report::SpecPersisted);
    assert_eq!(bench.task_names(), ["BindForwards"]);
    bench.bound();
    assert_eq!(bench.task_names(), ["StartMachine"]);
    bench.report(Report::MachineStarted(machine()));
    assert_eq!(bench.task_names(), ["Connect"]);
    assert_eq!(bench.rung(Rung::Agent).0, RungState::Progressing);
    let link = bench.link() + 1;
    bench.report(Report::LinkUp {
        link,
        agent_version: "0.1.0".to_owned(),
    });
    assert_eq!(bench.task_names(), ["ApplyNetwork"]);
    assert_eq!(bench.rung(Rung::Agent).1, "lkc-guest 0.1.0, link up");
    let (link, summary) = (1, "192.100.0.10/24 on eth0".to_owned());
    bench.report(Report::NetworkApplied { link, summary });
    assert_eq!(bench.task_names(), ["ConfigureK3s"]);
    assert_eq!(
        bench.rung(Rung::Network),
        (RungState::Ready, "192.100.0.10/24 on eth0".to_owned())
    );
    assert_eq!(bench.phase(), Phase::Starting);
    bench.report(Report::K3sConfigured { link });
    assert_eq!(bench.task_names(), ["Watch", "FollowKubeconfig"]);
    assert_eq!(bench.phase(), Phase::Up);
    bench.report(Report::Snapshot {
        link,
        snapshot: ladder(3, Rung::Node),
    });
    assert_eq!(
        bench.rung(Rung::Node),
        (RungState::Ready, "node detail".to_owned())
    );
    assert_eq!(bench.rung(Rung::System).0, RungState::Pending);
    let times: Vec<_> = bench
        .view()
        .status
        .steps
        .iter()
        .map(|step| step.ready_after_ms)
        .collect();
    assert_eq!(
        times,
        [30, 40, 50, 70, 70, 70, 70]
            .map(Some)
            .into_iter()
            .chain([None])
            .collect::<Vec<_>>()
    );
}

#[test]
fn up_of_what_is_up_changes_nothing_and_says_so() {
    let mut bench = Bench::up();
    let begun = bench.request(up()).unwrap().unwrap();
    assert_eq!(
        begun,
        Begun {
            run: 1,
            changed: false
        }
    );
    assert_eq!(bench.task_names(), [""; 0]);
}

#[test]
fn up_during_up_joins() {
    let mut bench = Bench::new();
    bench.request(up());
    assert_eq!(
        bench.request(up()).unwrap().unwrap(),
        Begun {
            run: 1,
            changed: true
        }
    );
    assert_eq!(bench.task_names(), [""; 0]);
    bench.report(Report::SpecPersisted);
    bench.bound();
    let begun = bench.request(up()).unwrap().unwrap();
    assert_eq!(
        (begun.run, bench.task_names().len()),
        (1, 0),
        "one machine start is in flight"
    );
    let other = ClusterSpec {
        mtu: Some(1400),
        ..spec("k3s-dev", 0)
    };
    let refused = bench
        .request(ClusterRequest::Up(Box::new(other)))
        .unwrap()
        .unwrap_err();
    assert_eq!(refused.kind, Kind::Conflict);
}

#[test]
fn a_taken_port_fails_before_any_machine() {
    let mut bench = Bench::new();
    bench.request(up());
    bench.report(Report::SpecPersisted);
    bench.report(Report::BindFailed {
        purpose: BindPurpose::Up,
        forward: "api".to_owned(),
        failure: failure(Kind::Conflict, "port 6443 is taken by pid 17 (nginx)"),
    });
    assert_eq!(bench.phase(), Phase::Failed);
    assert_eq!(bench.view().failure.as_ref().unwrap().kind, Kind::Conflict);
    let forwards = &bench.view().status.forwards;
    assert_eq!(forwards[0].state, ForwardState::Failed);
    assert_eq!(
        forwards[0].last_error.as_deref(),
        Some("host: port 6443 is taken by pid 17 (nginx)")
    );
    assert_eq!(forwards[1].state, ForwardState::Closed);
    assert_eq!(bench.task_names(), ["UnbindForwards", "Disconnect"]);
    bench.request(up());
    assert_eq!(
        bench.task_names(),
        ["PersistSpec"],
        "the next up begins again"
    );
}

#[test]
fn a_machine_that_fails_or_ends_is_not_started_again_until_asked() {
    let mut bench = Bench::new();
    bench.request(up());
    bench.report(Report::SpecPersisted);
    bench.bound();
    bench.report(Report::MachineFailed(failure(
        Kind::HostIo,
        "no user namespaces",
    )));
    assert_eq!(bench.phase(), Phase::Failed);
    assert_eq!(bench.view().status.steps[0].detail, "no user namespaces");
    bench.request(up());
    bench.climb();
    assert_eq!((bench.phase(), bench.view().run), (Phase::Up, 2));
    bench.report(Report::MachineExited {
        how: "killed".to_owned(),
        tail: vec!["oops\u{1b}[2J".to_owned()],
    });
    assert_eq!(bench.phase(), Phase::Failed);
    let failure = bench.view().failure.clone().unwrap();
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (Kind::Unreachable, "the machine ended: killed")
    );
    assert_eq!(failure.tail, ["oops\\u{1b}[2J"]);
    assert_eq!(bench.task_names(), ["UnbindForwards", "Disconnect"]);
    assert!(!bench.step_states().contains(&RungState::Ready));
}

#[test]
fn a_lost_link_leaves_no_rung_standing() {
    let mut bench = Bench::up();
    bench.report(Report::LinkDown {
        why: "silent for 10 s".to_owned(),
    });
    let states = bench.step_states();
    assert_eq!(states[0], RungState::Ready, "the machine still runs");
    assert!(
        states[1..].iter().all(|state| *state == RungState::Unknown),
        "{states:?}"
    );
    assert_eq!(bench.rung(Rung::Node).1, "link lost: silent for 10 s");
    assert_eq!(bench.phase(), Phase::Up);
    bench.report(Report::Snapshot {
        link: 1,
        snapshot: ladder(99, Rung::System),
    });
    assert_eq!(
        bench.rung(Rung::Node).0,
        RungState::Unknown,
        "what comes late does not count"
    );
    let link = bench.link() + 1;
    bench.report(Report::LinkUp {
        link,
        agent_version: "0.1.0".to_owned(),
    });
    assert_eq!(bench.task_names(), ["ApplyNetwork"]);
    assert_eq!(bench.rung(Rung::Node).0, RungState::Pending);
    bench.configure();
    assert_eq!(bench.task_names(), ["Watch", "FollowKubeconfig"]);
    bench.report(Report::Snapshot {
        link: 2,
        snapshot: ladder(1, Rung::Node),
    });
    assert_eq!(
        bench.rung(Rung::Node).0,
        RungState::Ready,
        "a guest that began again counts from 1"
    );
}

#[test]
fn older_news_of_the_guest_is_ignored() {
    let mut bench = Bench::up();
    let change = |sequence, state| Change {
        sequence,
        rungs: vec![RungStatus {
            rung: Rung::Node,
            state,
            detail: format!("at {sequence}"),
            tail: Vec::new(),
        }],
        k3s: None,
    };
    bench.report(Report::Change {
        link: 1,
        change: change(9, RungState::Progressing),
    });
    assert_eq!(
        bench.rung(Rung::Node),
        (RungState::Progressing, "at 9".to_owned())
    );
    bench.report(Report::Change {
        link: 1,
        change: change(9, RungState::Ready),
    });
    bench.report(Report::Change {
        link: 1,
        change: change(8, RungState::Ready),
    });
    bench.report(Report::Snapshot {
        link: 1,
        snapshot: ladder(8, Rung::System),
    });
    assert_eq!(
        bench.rung(Rung::Node),
        (RungState::Progressing, "at 9".to_owned())
    );
}

#[test]
fn a_rung_above_one_that_does_not_hold_is_never_shown_ready() {
    let mut bench = Bench::up();
    let mut snapshot = ladder(20, Rung::System);
    snapshot.rungs[2].state = RungState::Failed;
    bench.report(Report::Snapshot { link: 1, snapshot });
    assert_eq!(bench.rung(Rung::K3s).0, RungState::Failed);
    assert_eq!(
        bench.rung(Rung::Node),
        (RungState::Pending, "waits for k3s".to_owned())
    );
}

#[test]
fn authentication_and_version_are_told_at_once_and_mend_with_the_next_link() {
    for kind in [Kind::Authentication, Kind::Version] {
        let mut bench = Bench::up();
        bench.report(Report::LinkDown {
            why: "closed".to_owned(),
        });
        let unreachable = failure(Kind::Unreachable, "connection refused");
        bench.report(Report::LinkFailed {
            attempt: 3,
            failure: unreachable,
        });
        assert_eq!(bench.view().failure, None);
        assert_eq!(
            bench.view().status.link.detail,
            "connection refused (attempt 3)"
        );
        bench.report(Report::LinkFailed {
            attempt: 4,
            failure: failure(kind, "another key"),
        });
        assert_eq!(bench.view().failure.as_ref().unwrap().kind, kind);
        assert_eq!(
            bench.rung(Rung::Agent),
            (RungState::Failed, "another key".to_owned())
        );
        bench.request(up());
        assert_eq!(bench.task_names(), ["ConnectNow"]);
        assert_eq!(bench.view().failure, None);
        bench.connect();
        assert_eq!(bench.rung(Rung::Node).0, RungState::Ready);
    }
}

#[test]
fn a_network_that_fails_is_tried_again_by_up() {
    let mut bench = Bench::new();
    bench.request(up());
    bench.report(Report::SpecPersisted);
    bench.bound();
    bench.report(Report::MachineStarted(machine()));
    let link = bench.link() + 1;
    bench.report(Report::LinkUp {
        link,
        agent_version: String::new(),
    });
    bench.report(Report::NetworkFailed {
        link: 1,
        failure: failure(Kind::BadInput, "no interface has this MAC"),
    });
    assert_eq!(
        bench.rung(Rung::Network),
        (RungState::Failed, "no interface has this MAC".to_owned())
    );
    assert_eq!(bench.view().failure.as_ref().unwrap().kind, Kind::BadInput);
    let begun = bench.request(up()).unwrap().unwrap();
    assert!(begun.changed);
    assert_eq!(bench.task_names(), ["ApplyNetwork"]);
    bench.configure();
    assert_eq!(
        (bench.phase(), bench.view().failure.clone()),
        (Phase::Up, None)
    );
}

#[test]
fn down_stops_the_machine_and_twice_is_a_no_op() {
    let mut bench = Bench::up();
    let begun = bench
        .request(ClusterRequest::Down(name()))
        .unwrap()
        .unwrap();
    assert!(begun.changed);
    assert_eq!(bench.task_names(), ["UnbindForwards", "StopMachine"]);
    assert_eq!(
        (bench.phase(), bench.view().wanted),
        (Phase::Stopping, false)
    );
    bench.report(Report::LinkDown {
        why: "shut down".to_owned(),
    });
    bench.report(Report::MachineExited {
        how: "shut down".to_owned(),
        tail: Vec::new(),
    });
    assert_eq!(
        bench.phase(),
        Phase::Stopping,
        "the task that stops it reports"
    );
    bench.report(Report::MachineStopped);
    assert_eq!(bench.task_names(), ["Disconnect"]);
    assert_eq!((bench.phase(), bench.daemon.is_idle()), (Phase::Down, true));
    let begun = bench
        .request(ClusterRequest::Down(name()))
        .unwrap()
        .unwrap();
    assert!(!begun.changed);
}

#[test]
fn down_during_a_start_waits_for_it_and_then_stops() {
    let mut bench = Bench::new();
    bench.request(up());
    bench.report(Report::SpecPersisted);
    bench.bound();
    bench.request(ClusterRequest::Down(name()));
    assert_eq!(bench.task_names(), ["UnbindForwards"]);
    bench.report(Report::MachineStarted(machine()));
    assert_eq!(bench.task_names(), ["StopMachine"]);
    bench.report(Report::MachineStopped);
    assert_eq!(bench.phase(), Phase::Down);
}

#[test]
fn restart_keeps_the_listeners_and_begins_a_new_run() {
    let mut bench = Bench::up();
    let begun = bench
        .request(ClusterRequest::Restart(name()))
        .unwrap()
        .unwrap();
    assert_eq!(
        begun,
        Begun {
            run: 2,
            changed: true
        }
    );
    assert_eq!(bench.task_names(), ["StopMachine"]);
    assert!(bench.view().wanted);
    bench.report(Report::MachineStopped);
    assert_eq!(bench.task_names(), ["Disconnect", "PersistSpec"]);
    assert_eq!(bench.view().run, 2);
    bench.climb();
    assert_eq!(bench.phase(), Phase::Up);
}

#[test]
fn up_during_down_follows_it() {
    let mut bench = Bench::up();
    bench.request(ClusterRequest::Down(name()));
    let begun = bench.request(up()).unwrap().unwrap();
    assert_eq!(begun.run, 2);
    bench.report(Report::MachineStopped);
    bench.climb();
    assert_eq!((bench.phase(), bench.view().run), (Phase::Up, 2));
}

#[test]
fn delete_leaves_nothing_and_cannot_be_overtaken() {
    let mut bench = Bench::up();
    bench.request(ClusterRequest::Delete(name()));
    let refused = bench.request(up()).unwrap().unwrap_err();
    assert_eq!(refused.message, "cluster k3s-dev is being deleted");
    bench.report(Report::MachineStopped);
    assert_eq!(bench.task_names(), ["Disconnect", "RemoveFiles"]);
    bench.report(Report::FilesRemoved);
    assert!(matches!(&bench.actions[..], [Action::Withdraw(gone)] if *gone == name()));
    assert!(bench.daemon.view(&name()).is_none());
    let unknown = bench
        .request(ClusterRequest::Delete(name()))
        .unwrap()
        .unwrap_err();
    assert_eq!(unknown.kind, Kind::NotFound);
}

#[test]
fn a_machine_that_still_runs_is_adopted_with_its_listeners_first() {
    let mut bench = Bench::new();
    bench.handle(Event::Restored {
        spec: Box::new(spec("k3s-dev", 0)),
        machine: Some(machine()),
    });
    assert_eq!(
        bench.task_names(),
        ["BindForwards", "AdoptMachine", "Connect"]
    );
    assert_eq!(bench.phase(), Phase::Starting);
    bench.report(Report::BindFailed {
        purpose: BindPurpose::Restore,
        forward: "api".to_owned(),
        failure: failure(Kind::Conflict, "port 6443 is taken"),
    });
    assert_eq!(
        bench.task_names(),
        ["BindForwards"],
        "the others are still wanted"
    );
    bench.bound();
    let states: Vec<_> = bench
        .view()
        .status
        .forwards
        .iter()
        .map(|forward| forward.state)
        .collect();
    assert_eq!(states, [ForwardState::Failed, ForwardState::Listening]);
    bench.connect();
    assert_eq!(bench.phase(), Phase::Up);
    assert!(bench.request(up()).unwrap().unwrap().changed);
    assert_eq!(
        bench.task_names(),
        ["BindForwards"],
        "up tries the port again"
    );
    bench.bound();
    assert_eq!(
        bench.view().status.forwards[0].state,
        ForwardState::Listening
    );
    assert_eq!(bench.view().status.forwards[0].last_error, None);
}

#[test]
fn a_cluster_without_a_machine_is_known_and_idle() {
    let mut bench = Bench::new();
    bench.handle(Event::Restored {
        spec: Box::new(spec("k3s-dev", 0)),
        machine: None,
    });
    assert_eq!(
        (bench.phase(), bench.view().status.link.state),
        (Phase::Down, LinkState::Down)
    );
    assert!(bench.daemon.is_idle());
    assert_eq!(bench.task_names(), [""; 0]);
    bench.request(ClusterRequest::Restart(name()));
    assert_eq!(bench.task_names(), ["PersistSpec"]);
}

#[test]
fn what_can_change_while_it_runs_does() {
    let mut bench = Bench::up();
    let mut changed = spec("k3s-dev", 0);
    changed.mtu = Some(1400);
    changed.forwards[1].host_port = 9090;
    assert_eq!(
        bench.request(ClusterRequest::Up(Box::new(changed.clone()))),
        None,
        "answered once it is bound"
    );
    let ticket = bench.tickets;
    bench.bound();
    assert!(bench.answer_to(ticket).unwrap().unwrap().changed);
    assert_eq!(
        bench.task_names(),
        ["UnbindForwards", "PersistSpec", "ApplyNetwork"]
    );
    assert_eq!(bench.phase(), Phase::Starting);
    bench.configure();
    assert_eq!(
        bench.task_names(),
        ["FollowKubeconfig"],
        "the ladder is followed already"
    );
    assert_eq!(bench.phase(), Phase::Up);
    assert!(
        !bench
            .request(ClusterRequest::Up(Box::new(changed)))
            .unwrap()
            .unwrap()
            .changed
    );
}

#[test]
fn what_needs_a_new_machine_is_refused_with_the_way_out() {
    let mut bench = Bench::up();
    let changed = ClusterSpec {
        address: "192.100.0.77".parse().unwrap(),
        cni: Cni::None,
        ..spec("k3s-dev", 0)
    };
    let refused = bench
        .request(ClusterRequest::Up(Box::new(changed)))
        .unwrap()
        .unwrap_err();
    assert_eq!(refused.kind, Kind::Conflict);
    assert_eq!(
        refused.message,
        "cluster k3s-dev is up with another address, cni, which cannot change while it runs"
    );
    assert_eq!(
        refused.hints,
        ["run `lkc-host down k3s-dev`, then `lkc-host up k3s-dev`: its data stays"]
    );
}

#[test]
fn clusters_that_are_up_share_nothing() {
    let mut bench = Bench::up();
    let twin = spec("k3s-twin", 0);
    let refused = bench
        .request(ClusterRequest::Up(Box::new(twin.clone())))
        .unwrap()
        .unwrap_err();
    assert_eq!(
        refused.message,
        "the clusters k3s-twin and k3s-dev have the same index 0"
    );
    let mut beside = spec("k3s-twin", 1);
    beside.forwards[0].host_port = 6443;
    let refused = bench
        .request(ClusterRequest::Up(Box::new(beside)))
        .unwrap()
        .unwrap_err();
    assert_eq!(
        refused.message,
        "the clusters k3s-twin and k3s-dev have the same host port 6443, by their forwards `api` and `api`"
    );
    bench.request(ClusterRequest::Down(name()));
    bench.report(Report::MachineStopped);
    assert!(
        bench
            .request(ClusterRequest::Up(Box::new(twin)))
            .unwrap()
            .is_ok(),
        "one that is down is in nobody's way"
    );
}

#[test]
fn forwards_come_and_go_while_it_is_up() {
    let mut bench = Bench::up();
    let extra = ForwardSpec {
        name: "pg".to_owned(),
        host_port: 5432,
        guest_port: 5432,
        ..spec("k3s-dev", 0).forwards.remove(0)
    };
    let add = || ClusterRequest::AddForward(name(), Box::new(extra.clone()));
    assert_eq!(bench.request(add()), None);
    let ticket = bench.tickets;
    bench.bound();
    assert!(bench.answer_to(ticket).unwrap().unwrap().changed);
    assert_eq!(bench.view().status.forwards.len(), 3);
    assert!(!bench.request(add()).unwrap().unwrap().changed);
    let taken = ForwardSpec {
        name: "mine".to_owned(),
        ..extra.clone()
    };
    let refused = bench
        .request(ClusterRequest::AddForward(name(), Box::new(taken)))
        .unwrap()
        .unwrap_err();
    assert_eq!(
        refused.message,
        "port 5432 is taken by forward pg of cluster k3s-dev"
    );
    assert!(
        bench
            .request(ClusterRequest::RemoveForward(name(), "5432".to_owned()))
            .unwrap()
            .is_ok()
    );
    assert_eq!(bench.tasks(), [Task::UnbindForwards(vec![extra])]);
    let unknown = bench
        .request(ClusterRequest::RemoveForward(name(), "pg".to_owned()))
        .unwrap()
        .unwrap_err();
    assert_eq!(unknown.kind, Kind::NotFound);
}

#[test]
fn a_forward_bound_for_a_cluster_that_stopped_meanwhile_is_let_go() {
    let mut bench = Bench::up();
    let extra = ForwardSpec {
        name: "pg".to_owned(),
        host_port: 5432,
        ..spec("k3s-dev", 0).forwards.remove(0)
    };
    bench.request(ClusterRequest::AddForward(name(), Box::new(extra.clone())));
    let ticket = bench.tickets;
    bench.request(ClusterRequest::Down(name()));
    let (purpose, forwards) = (
        BindPurpose::Add(ticket, Box::new(extra.clone())),
        vec![extra.clone()],
    );
    bench.report(Report::ForwardsBound { purpose, forwards });
    assert_eq!(bench.tasks(), [Task::UnbindForwards(vec![extra])]);
    assert_eq!(
        bench.answer_to(ticket).unwrap().unwrap_err().message,
        "cluster k3s-dev is not up"
    );
}

#[test]
fn a_stop_that_fails_can_be_tried_again() {
    let mut bench = Bench::up();
    bench.request(ClusterRequest::Down(name()));
    bench.report(Report::StopFailed(failure(
        Kind::HostIo,
        "process 4242 is still there after SIGKILL",
    )));
    assert_eq!(
        (bench.phase(), bench.view().status.machine.running),
        (Phase::Failed, true)
    );
    bench.request(ClusterRequest::Down(name()));
    assert_eq!(bench.task_names(), ["UnbindForwards", "StopMachine"]);
    bench.report(Report::MachineStopped);
    assert_eq!(
        (bench.phase(), bench.view().failure.clone()),
        (Phase::Down, None)
    );
}

#[test]
fn a_stop_forgets_the_failure_that_it_may_mend() {
    for request in [
        ClusterRequest::Restart(name()),
        ClusterRequest::Down(name()),
    ] {
        let mut bench = Bench::up();
        let why = "closed".to_owned();
        bench.report(Report::LinkDown { why });
        let failure = failure(Kind::Authentication, "another key");
        bench.report(Report::LinkFailed {
            attempt: 1,
            failure,
        });
        bench.request(request);
        assert_eq!(bench.view().failure, None);
    }
}

#[test]
fn text_of_the_guest_is_made_harmless() {
    let mut bench = Bench::up();
    let mut snapshot = ladder(30, Rung::Node);
    snapshot.rungs[5].detail = "\u{1b}[31mred".repeat(1000);
    snapshot.rungs[5].tail = vec!["\u{7}".to_owned(); 1000];
    snapshot.k3s.version = "v1\u{202e}".to_owned();
    bench.report(Report::Snapshot { link: 1, snapshot });
    let step = bench.view().status.rung(Rung::Node).unwrap();
    assert!(!step.detail.contains('\u{1b}') && step.detail.len() < 4096);
    assert_eq!((step.tail.len(), step.tail[0].as_str()), (40, "\\u{7}"));
    assert_eq!(
        bench.view().status.k3s.as_ref().unwrap().version,
        "v1\\u{202e}"
    );
}

/// A cluster `k3s-dev` whose node is Ready, for those who judge views.
pub(crate) fn up_view() -> View {
    Bench::up().view().clone()
}
