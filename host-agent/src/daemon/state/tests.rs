//! One scenario per promise: events in, actions and what is shown out.

mod change;
mod guest;
mod life;
mod probe;
mod reverse;

use std::time::Duration;

use lkc_protocol::message::{Change, Cni, K3sSummary, Rung, RungState, RungStatus, Snapshot};

use super::*;
use crate::{
    carrier::Carrier,
    config::{ClusterSpec, Driver, Encrypt, ForwardProtocol, K3sSpec},
    control::{ForwardState, LinkState, Phase},
};

pub(crate) fn spec(name: &str, index: u8) -> ClusterSpec {
    let forward = |name: &str, host_port: u16, guest_port: u16| ForwardSpec {
        protocol: ForwardProtocol::Tcp,
        socket: None,
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
        reach: None,
        vm: None,
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
        reverse: Vec::new(),
        encrypt: Encrypt::Auto,
    }
}

pub(crate) fn machine() -> MachineInfo {
    MachineInfo {
        pid: Some(4242),
        description: "sandbox, pid 4242".to_owned(),
        carriers: vec![Carrier::Unix("/run/lkc/k3s-dev/agent.sock".into()).into()],
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
            carrier: None,
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

/// A cluster `k3s-dev` whose node is Ready, for those who judge views.
pub(crate) fn up_view() -> View {
    Bench::up().view().clone()
}
