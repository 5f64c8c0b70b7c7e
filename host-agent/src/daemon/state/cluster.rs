//! One cluster's life: where it is in it, and the few moves between the stages. What is asked of it
//! is in `requests`, what its tasks report in `reports`.

mod reports;
mod requests;

use std::{path::PathBuf, sync::Arc, time::Instant};

use lkc_protocol::message::{K3sSummary, Rung};

use super::{
    ApiCheck, BindPurpose, MachineInfo, Steps, Task, Ticket, View,
    ladder::{self, Culprit, Knowledge, Picture, ReadyTimes},
    probes::Probes,
};
use crate::{
    carrier::Route,
    config::{ClusterSpec, ForwardSpec, ReverseSpec},
    control::{
        ClusterStatus, Failure, ForwardState, ForwardStatus, LinkState, LinkStatus, MachineStatus,
        Phase, ReverseStatus,
    },
    sanitize,
};

/// Lines of a console or a log that are kept to explain a failure.
pub(super) const MAX_TAIL: usize = 40;

#[derive(Debug)]
pub(super) struct Cluster {
    spec: Arc<ClusterSpec>,
    run: u64,
    stage: Stage,
    /// When this run, or the last change of it, was asked for.
    since: Instant,
    machine: Option<MachineInfo>,
    link: Link,
    setup: Setup,
    /// Whether the specification changed while the guest was being set up with the one before.
    reapply: bool,
    /// The link on which the ladder is being followed.
    watched: u64,
    /// Whether k3s has been configured in this run; from then on the cluster counts as up.
    settled: bool,
    forwards: Vec<Forward>,
    reverse: Vec<Reverse>,
    /// Whether the guest was asked to listen on the current link.
    asked_to_listen: bool,
    kubeconfig: Option<PathBuf>,
    kubeconfig_error: Option<String>,
    probes: Probes,
    picture: Option<Picture>,
    k3s: Option<K3sSummary>,
    ready: ReadyTimes,
    failure: Option<(Culprit, Failure)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Down,
    Persisting,
    Binding,
    StartingMachine,
    Running,
    /// `starting` is whether a start is in flight that has to be waited for.
    Stopping {
        after: After,
        starting: bool,
    },
    Removing,
    Removed,
    Failed,
}

/// What follows a stop.
#[derive(Debug, Clone, PartialEq, Eq)]
enum After {
    Stay,
    Start(Arc<ClusterSpec>),
    Remove,
}

#[derive(Debug, Default)]
struct Link {
    up: bool,
    /// Links made in this run; the number of the current one.
    number: u64,
    /// Why it is not up.
    detail: String,
    agent_version: Option<String>,
    /// Over which it is, where there are several.
    carrier: Option<Route>,
}

/// How far the guest is set up on the current link.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Setup {
    None,
    Network,
    K3s { network: String },
    Done { network: String },
}

#[derive(Debug)]
struct Forward {
    spec: ForwardSpec,
    state: ForwardState,
    error: Option<String>,
}

/// A reverse forward as far as the guest has told of it on the current link.
#[derive(Debug)]
struct Reverse {
    spec: ReverseSpec,
    state: ForwardState,
    error: Option<String>,
}

impl Cluster {
    /// A cluster that a client asks for and that was not known.
    pub(super) fn created(
        ticket: Ticket,
        spec: ClusterSpec,
        now: Instant,
        steps: &mut Steps,
    ) -> Self {
        let mut cluster = Self::at_rest(spec, now);
        cluster.start(now, steps);
        cluster.answer(ticket, true, steps);
        cluster
    }

    /// A cluster found on disk, perhaps with a machine that never stopped running.
    pub(super) fn restored(
        spec: ClusterSpec,
        machine: Option<MachineInfo>,
        now: Instant,
        steps: &mut Steps,
    ) -> Self {
        let mut cluster = Self::at_rest(spec, now);
        if let Some(machine) = machine {
            cluster.begin_run(now);
            cluster.bind(BindPurpose::Restore, cluster.spec.forwards.clone(), steps);
            cluster.perform(Task::AdoptMachine, steps);
            cluster.machine_runs(machine, steps);
        }
        cluster
    }

    fn at_rest(spec: ClusterSpec, now: Instant) -> Self {
        let forwards = closed(&spec.forwards);
        let reverse = unasked(&spec.reverse);
        Self {
            spec: Arc::new(spec),
            run: 0,
            stage: Stage::Down,
            since: now,
            machine: None,
            link: Link::default(),
            setup: Setup::None,
            reapply: false,
            watched: 0,
            settled: false,
            forwards,
            reverse,
            asked_to_listen: false,
            kubeconfig: None,
            kubeconfig_error: None,
            probes: Probes::default(),
            picture: None,
            k3s: None,
            ready: ReadyTimes::default(),
            failure: None,
        }
    }

    pub(super) fn spec(&self) -> &ClusterSpec {
        &self.spec
    }

    pub(super) fn forwards(&self) -> impl Iterator<Item = &ForwardSpec> {
        self.forwards.iter().map(|forward| &forward.spec)
    }

    /// Whether nothing of it runs or is about to.
    pub(super) fn is_at_rest(&self) -> bool {
        self.stage == Stage::Down
    }

    /// Whether it has, or is about to have, ports and addresses of this host.
    pub(super) fn occupies(&self) -> bool {
        self.is_wanted() || self.machine.is_some()
    }

    pub(super) fn is_removed(&self) -> bool {
        self.stage == Stage::Removed
    }
}

/// The moves.
impl Cluster {
    /// From rest or failure to the first step of coming up.
    fn start(&mut self, now: Instant, steps: &mut Steps) {
        self.begin_run(now);
        self.stage = Stage::Persisting;
        self.perform(Task::PersistSpec(Arc::clone(&self.spec)), steps);
    }

    fn begin_run(&mut self, now: Instant) {
        self.run += 1;
        self.since = now;
        self.forget_run();
    }

    /// Back to knowing nothing but the specification.
    fn forget_run(&mut self) {
        self.link = Link::default();
        self.setup = Setup::None;
        self.reapply = false;
        self.watched = 0;
        self.settled = false;
        self.forwards = closed(&self.spec.forwards);
        self.forget_listeners();
        self.kubeconfig_error = None;
        self.probes = Probes::default();
        self.picture = None;
        self.k3s = None;
        self.failure = None;
    }

    fn machine_runs(&mut self, machine: MachineInfo, steps: &mut Steps) {
        let carriers = machine.carriers.clone();
        self.machine = Some(machine);
        self.stage = Stage::Running;
        let spec = Arc::clone(&self.spec);
        self.perform(Task::Connect { carriers, spec }, steps);
    }

    /// Sets the guest up from the start. What it told of its ladder was of the setup before; it is
    /// asked to tell all of it again afterwards.
    fn set_up(&mut self, steps: &mut Steps) {
        self.setup = Setup::Network;
        self.reapply = false;
        self.watched = 0;
        self.picture = None;
        self.failure = None;
        if self.probes.forget() {
            self.perform(Task::StopProbing, steps);
        }
        let (link, spec) = (self.link.number, Arc::clone(&self.spec));
        self.perform(Task::ApplyNetwork { link, spec }, steps);
    }

    /// Has the guest listen for the reverse forwards, once its network stands: an address that it
    /// does not have yet cannot be listened on.
    fn listen_in_guest(&mut self, steps: &mut Steps) {
        if self.link.up && matches!(self.setup, Setup::K3s { .. } | Setup::Done { .. }) {
            self.asked_to_listen = true;
            let (link, spec) = (self.link.number, Arc::clone(&self.spec));
            self.perform(Task::ListenInGuest { link, spec }, steps);
        }
    }

    /// With the link the guest's listeners are gone.
    fn forget_listeners(&mut self) {
        self.asked_to_listen = false;
        self.reverse = unasked(&self.spec.reverse);
    }

    /// Probes the forward of the API from now on, if it listens and it is known what has to answer.
    fn probe(&mut self, steps: &mut Steps) {
        let Some(forward) = self.api_forward().map(|forward| forward.spec.clone()) else {
            return;
        };
        if let Some((number, identity)) = self.probes.begin() {
            let task = Task::ProbeApi {
                number,
                forward,
                identity,
            };
            self.perform(task, steps);
        }
    }

    /// The forward of the API, when it listens.
    fn api_forward(&self) -> Option<&Forward> {
        self.forwards.iter().find(|forward| {
            forward.spec.name == ForwardSpec::API && forward.state == ForwardState::Listening
        })
    }

    /// From a machine that runs, or may run, to one that does not.
    fn stop(&mut self, after: After, steps: &mut Steps) {
        if !matches!(after, After::Start(_)) {
            self.unbind_all(steps);
        }
        let starting = false;
        self.stage = Stage::Stopping { after, starting };
        self.failure = None;
        self.perform(Task::StopMachine(Arc::clone(&self.spec)), steps);
    }

    /// To rest, with nothing left running.
    fn rest(&mut self) {
        self.stage = Stage::Down;
        self.machine = None;
        self.forget_run();
    }

    fn remove(&mut self, steps: &mut Steps) {
        self.rest();
        self.kubeconfig = None;
        self.stage = Stage::Removing;
        self.perform(Task::RemoveFiles(Arc::clone(&self.spec)), steps);
    }

    /// To a failure that only a client's request leads out of. The machine does not run, or is
    /// beyond our reach.
    fn fail(&mut self, failure: Failure, steps: &mut Steps) {
        self.unbind_all(steps);
        self.perform(Task::Disconnect, steps);
        let failed = std::mem::take(&mut self.forwards);
        self.forget_run();
        self.forwards = failed;
        self.stage = Stage::Failed;
        self.failure = Some((Culprit::Machine, bounded(failure)));
    }

    fn bind(&self, purpose: BindPurpose, forwards: Vec<ForwardSpec>, steps: &mut Steps) {
        let index = self.spec.index;
        let task = Task::BindForwards {
            purpose,
            forwards,
            index,
        };
        self.perform(task, steps);
    }

    fn unbind_all(&mut self, steps: &mut Steps) {
        for forward in &mut self.forwards {
            if forward.state == ForwardState::Listening {
                forward.state = ForwardState::Closed;
            }
        }
        let forwards = self.forwards().cloned().collect();
        self.perform(Task::UnbindForwards(forwards), steps);
    }

    fn perform(&self, task: Task, steps: &mut Steps) {
        steps.perform(self.run, task);
    }
}

/// What is shown.
impl Cluster {
    pub(super) fn view(&mut self, now: Instant) -> View {
        let mut steps = ladder::steps(&self.knowledge());
        let after = u64::try_from(now.saturating_duration_since(self.since).as_millis());
        self.ready.note(&mut steps, after.unwrap_or(u64::MAX));
        let status = ClusterStatus {
            name: self.spec.name.clone(),
            index: self.spec.index,
            phase: self.phase(),
            cni: self.spec.cni,
            machine: self.machine_status(),
            link: self.link_status(),
            agent_version: self.link.agent_version.clone(),
            node: None,
            k3s: self.k3s.clone(),
            steps,
            forwards: self
                .forwards
                .iter()
                .map(|one| self.forward_status(one))
                .collect(),
            reverse: self.reverse_statuses(),
            kubeconfig: self.kubeconfig.clone(),
            kubeconfig_error: self.kubeconfig_error.clone(),
        };
        View {
            status,
            run: self.run,
            wanted: self.is_wanted(),
            failure: self.failure.as_ref().map(|(_, failure)| failure.clone()),
            api: self.api_check(),
        }
    }

    fn api_check(&self) -> ApiCheck {
        match self.api_forward() {
            Some(_) if self.kubeconfig_error.is_none() => self.probes.check(),
            _ => ApiCheck::None,
        }
    }

    fn forward_status(&self, forward: &Forward) -> ForwardStatus {
        let mut status = forward.status();
        if forward.spec.name == ForwardSpec::API && forward.state == ForwardState::Listening {
            status.probe = self.probes.status().cloned();
            let failed = status.probe.as_ref().filter(|probe| !probe.ok);
            status.last_error = failed.map(|probe| probe.detail.clone());
        }
        status
    }

    /// A guest that is being stopped listens for nobody any more, whatever it told last.
    fn reverse_statuses(&self) -> Vec<ReverseStatus> {
        let linked = self.link_status().state == LinkState::Up;
        let status = |reverse: &Reverse| {
            let status = reverse.status();
            if linked { status } else { status.closed() }
        };
        self.reverse.iter().map(status).collect()
    }

    fn knowledge(&self) -> Knowledge<'_> {
        Knowledge {
            driver: self.spec.driver,
            phase: self.phase(),
            machine_runs: self.machine.is_some(),
            link_up: self.link.up,
            links: self.link.number,
            link_detail: &self.link.detail,
            agent_version: self.link.agent_version.as_deref().unwrap_or_default(),
            network: match &self.setup {
                Setup::None | Setup::Network => None,
                Setup::K3s { network } | Setup::Done { network } => Some(network),
            },
            picture: self.picture.as_ref(),
            failure: self.failure.as_ref(),
        }
    }

    fn phase(&self) -> Phase {
        match self.stage {
            Stage::Down | Stage::Removed => Phase::Down,
            Stage::Persisting | Stage::Binding | Stage::StartingMachine => Phase::Starting,
            Stage::Running if self.settled => Phase::Up,
            Stage::Running => Phase::Starting,
            Stage::Stopping { .. } | Stage::Removing => Phase::Stopping,
            Stage::Failed => Phase::Failed,
        }
    }

    fn is_wanted(&self) -> bool {
        match &self.stage {
            Stage::Persisting | Stage::Binding | Stage::StartingMachine | Stage::Running => true,
            Stage::Stopping { after, .. } => matches!(after, After::Start(_)),
            Stage::Down | Stage::Removing | Stage::Removed | Stage::Failed => false,
        }
    }

    fn machine_status(&self) -> MachineStatus {
        MachineStatus {
            driver: self.spec.driver,
            running: self.machine.is_some(),
            pid: self.machine.as_ref().and_then(|machine| machine.pid),
            description: self.machine.as_ref().map_or_else(
                || self.spec.driver.to_string(),
                |machine| machine.description.clone(),
            ),
        }
    }

    fn link_status(&self) -> LinkStatus {
        let usual = self
            .machine
            .as_ref()
            .and_then(|machine| machine.carriers.first());
        let carrier = self.link.carrier.as_ref().or(usual);
        LinkStatus {
            state: match (&self.stage, self.link.up) {
                (Stage::Running, true) => LinkState::Up,
                (Stage::Running, false) => LinkState::Connecting,
                _ => LinkState::Down,
            },
            carrier: carrier.map(ToString::to_string),
            carriers: self
                .machine
                .as_ref()
                .map_or_else(Vec::new, |machine| machine.carriers.clone()),
            detail: self.link.detail.clone(),
            connects: self.link.number,
            denied: 0,
        }
    }
}

impl Forward {
    fn status(&self) -> ForwardStatus {
        ForwardStatus {
            name: self.spec.name.clone(),
            listen: self.spec.listens_on(),
            target: self.spec.target(),
            protocol: self.spec.protocol,
            state: self.state,
            open: 0,
            total: 0,
            refused: 0,
            parked: 0,
            failed: 0,
            dropped: 0,
            sent_bytes: 0,
            received_bytes: 0,
            last_error: self.error.clone(),
            probe: None,
        }
    }
}

impl Reverse {
    fn status(&self) -> ReverseStatus {
        ReverseStatus {
            name: self.spec.name.clone(),
            listen: self.spec.listens_on().to_string(),
            target: self.spec.target.to_string(),
            state: self.state,
            open: 0,
            total: 0,
            refused: 0,
            failed: 0,
            sent_bytes: 0,
            received_bytes: 0,
            last_error: self.error.clone(),
        }
    }
}

fn unasked(reverse: &[ReverseSpec]) -> Vec<Reverse> {
    let unasked = |spec: &ReverseSpec| Reverse {
        spec: spec.clone(),
        state: ForwardState::Closed,
        error: None,
    };
    reverse.iter().map(unasked).collect()
}

fn closed(forwards: &[ForwardSpec]) -> Vec<Forward> {
    let closed = |spec: &ForwardSpec| Forward {
        spec: spec.clone(),
        state: ForwardState::Closed,
        error: None,
    };
    forwards.iter().map(closed).collect()
}

/// A failure with its texts made harmless and its log lines bounded.
fn bounded(mut failure: Failure) -> Failure {
    failure.message = sanitize::line(&failure.message);
    let excess = failure.tail.len().saturating_sub(MAX_TAIL);
    failure.tail.drain(..excess);
    for line in &mut failure.tail {
        *line = sanitize::line(line);
    }
    failure
}

/// A failure of the guest's setup at `rung`.
fn at_rung(rung: Rung, failure: Failure) -> (Culprit, Failure) {
    (Culprit::Rung(rung), bounded(failure))
}
