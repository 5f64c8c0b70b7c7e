//! Who changes the network: one change after the other, and the one that waits for a confirmation.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use lkc_protocol::message::{
    ApplyNetwork, NetworkApplied, NetworkMeans, NetworkPhase, NetworkStatusAnswer, NetworkTried,
    TryNetwork,
};
use tokio::time::timeout;

use super::super::config::NetworkConfig;
use super::super::observed::ObservedNetwork;
use super::super::plan::Means;
use super::super::session::{Attempt, Session};
use super::super::{NetworkError, apply_by, check, summary};
use super::machine::{Change, Event, Machine, Phase, Refused, Secret, Step};
use super::probe::{Prober, Probing};
use super::record::{Files, Outcome, Record};
use super::request::{LONGEST, News, Request, TrialError, undone};
use super::roll_back::take_back;
use super::{BootTime, ChangeId, timer};
use crate::observe::describe;

/// Steps that are told to a host.
const MOST_STEPS: usize = 100;

/// Changes the network. Lives in one task; everything else asks it.
pub struct Keeper {
    files: Files,
    prober: Prober,
    machine: Machine,
    /// The change under way.
    trial: Option<Trial>,
    news: Vec<News>,
}

struct Trial {
    wanted: Option<ApplyNetwork>,
    attempt: Option<Attempt>,
    record: Option<Record>,
    summary: String,
    steps: Vec<String>,
    probes: Option<Probing>,
    /// Held from the last thing done to the network until the record is gone: the timer's process would
    /// find it, and take the change back once more, or one that is confirmed.
    lock: Option<File>,
}

impl Keeper {
    /// A keeper with its files in these directories. What an agent before it began is taken up.
    pub async fn new(state: &Path, runtime: &Path, prober: Prober) -> Self {
        let mut keeper = Self {
            files: Files::new(state, runtime),
            prober,
            machine: Machine::default(),
            trial: None,
            news: Vec::new(),
        };
        if let Err(error) = keeper.take_up().await {
            tracing::error!(error = %describe(&error), "a change of the network cannot be taken up");
        }
        keeper
    }

    /// Sets up what was confirmed, or sees to it that it is; nothing where nothing was.
    ///
    /// # Errors
    /// It is not so.
    pub async fn begin(&mut self) -> Result<Option<NetworkApplied>, NetworkError> {
        let Some(confirmed) = self.files.confirmed()? else {
            return Ok(None);
        };
        if self.machine.under_way().is_some() {
            return Ok(None);
        }
        let config = NetworkConfig::parse(&confirmed)?;
        let mut session = Session::open().await?;
        let applied = apply_by(&mut session, config, self.earlier().as_ref()).await;
        session.close().await;
        self.tell(&applied);
        self.files.write_current(&confirmed)?;
        applied.map(Some)
    }

    /// What hosts should see without asking, since the last call.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// Whether nobody has asked for anything since the boot, nor before it.
    pub fn is_untouched(&self) -> bool {
        let nothing = |file| matches!(file, Ok(None));
        *self.machine.phase() == Phase::Idle
            && nothing(self.files.current())
            && nothing(self.files.confirmed())
    }

    /// Where nothing at all configures the network cards, has systemd-networkd ask for leases, until
    /// a host says what it wants. Tells whether that was so.
    ///
    /// # Errors
    /// systemd-networkd cannot be told.
    pub async fn fall_back(&mut self) -> Result<bool, NetworkError> {
        let _lock = self.files.lock().await?;
        let session = Session::open().await?;
        let done = session.fall_back().await;
        session.close().await;
        done
    }

    /// Time until something is to do without being asked.
    pub fn patience(&self) -> Option<Duration> {
        let change = self.machine.under_way()?;
        Some(change.deadline.since(BootTime::now()))
    }

    /// Does what time has brought.
    pub async fn tick(&mut self) {
        // The timer's process may have been first.
        if self.machine.under_way().is_some() && matches!(self.files.record(), Ok(None)) {
            self.trial = None;
            self.machine = Machine::default();
            if let Ok(Some(outcome)) = self.files.outcome()
                && let Some(id) = outcome.id()
            {
                self.end_as(id, outcome);
            }
            return;
        }
        let _ = self.happened(Event::Tick).await;
    }

    /// Answers one request.
    pub async fn handle(&mut self, request: Request) {
        // Whoever asked may have gone; what was asked is done all the same.
        match request {
            Request::Apply(wanted, reply) => {
                let _ = reply.send(self.apply(&wanted).await.map_err(Into::into));
            }
            Request::Try(wanted, reply) => {
                let _ = reply.send(self.attempt(wanted).await.map_err(Into::into));
            }
            Request::Confirm(wanted, link_since, reply) => {
                let event = Event::Confirm {
                    id: ChangeId(wanted.id),
                    link_since,
                    proof: wanted.proof,
                };
                let done = self.happened(event).await;
                let done = done.and_then(|()| self.verdict(ChangeId(wanted.id)));
                let _ = reply.send(done.map_err(Into::into));
            }
            Request::RollBack(id, reply) => {
                let done = self.happened(Event::RollBack { id }).await;
                let _ = reply.send(done.map_err(Into::into));
            }
            Request::Status(reply) => {
                let _ = reply.send(Ok(self.status().await));
            }
        }
    }

    async fn apply(&mut self, wanted: &ApplyNetwork) -> Result<NetworkApplied, NetworkError> {
        let config = NetworkConfig::parse(wanted)?;
        if let Some(change) = self.machine.under_way() {
            let left = change.deadline.since(BootTime::now());
            return Err(NetworkError::Busy(Refused::Busy {
                id: change.id,
                left,
            }));
        }
        // Without a directory of its own an agent has no trials either, which is all that a lock is
        // for; and what is in force is only asked of the files where networkd is.
        let _lock = self.files.lock().await.ok().flatten();
        let mut session = Session::open().await?;
        let applied = apply_by(&mut session, config, self.earlier().as_ref()).await;
        session.close().await;
        self.tell(&applied);
        if applied.is_ok()
            && let Err(error) = self.files.write_current(wanted)
        {
            tracing::debug!(error = %describe(&error), "what is in force is not written down");
        }
        applied
    }

    async fn attempt(&mut self, wanted: TryNetwork) -> Result<NetworkTried, TrialError> {
        let deadline = Duration::from_millis(u64::from(wanted.deadline_ms));
        if !(Duration::from_secs(1)..=LONGEST).contains(&deadline) {
            return Err(TrialError::Deadline(wanted.deadline_ms));
        }
        let config = NetworkConfig::parse(&wanted.network).map_err(NetworkError::from)?;
        if wanted.plan_only {
            return self.plan(config).await;
        }
        let change = Change {
            id: ChangeId(wanted.id),
            deadline: BootTime(BootTime::now().0 + deadline),
            secret: wanted.probe.then(secret).transpose()?,
        };
        if self.machine.under_way().is_none() {
            let session = Session::open().await?;
            let attempt = session.prepare(config, self.earlier().as_ref()).await;
            session.close().await;
            let attempt = attempt?;
            self.trial = Some(Trial {
                wanted: Some(wanted.network),
                steps: steps(&attempt),
                attempt: Some(attempt),
                record: None,
                summary: String::new(),
                probes: None,
                lock: None,
            });
        }
        self.happened(Event::Try { change }).await?;
        self.verdict(change.id)?;
        Ok(self.tried())
    }

    async fn plan(&self, config: NetworkConfig) -> Result<NetworkTried, TrialError> {
        let session = Session::open().await?;
        let attempt = session.prepare(config, self.earlier().as_ref()).await;
        session.close().await;
        Ok(NetworkTried {
            pending: false,
            left_ms: 0,
            summary: String::new(),
            steps: steps(&attempt?),
            probes: Vec::new(),
        })
    }

    /// Folds an event and everything that follows from it.
    async fn happened(&mut self, event: Event) -> Result<(), TrialError> {
        let (steps, verdict) = self.machine.handle(event, BootTime::now());
        let mut steps = std::collections::VecDeque::from(steps);
        while let Some(step) = steps.pop_front() {
            if let Some(next) = self.take(step).await {
                let (more, _) = self.machine.handle(next, BootTime::now());
                steps.extend(more);
            }
        }
        Ok(verdict?)
    }

    /// Takes one step and tells what happened.
    async fn take(&mut self, step: Step) -> Option<Event> {
        match step {
            Step::Arm => Some(Event::Armed(
                self.arm().await.map_err(|error| describe(&error)),
            )),
            Step::CarryOut => Some(self.carry_out().await),
            Step::Keep => Some(Event::Kept(
                self.keep().await.map_err(|error| describe(&error)),
            )),
            Step::TakeBack => {
                let left = self.take_back().await;
                Some(Event::TakenBack { left })
            }
            Step::Disarm => {
                self.disarm().await;
                None
            }
        }
    }

    async fn arm(&mut self) -> Result<(), NetworkError> {
        let Some(change) = self.machine.under_way() else {
            return Ok(());
        };
        let Some(trial) = &mut self.trial else {
            return Ok(());
        };
        let _lock = self.files.lock().await?;
        let before = trial.attempt.as_ref().map(|attempt| attempt.before.clone());
        let record = before.map(|before| Record::new(change, before));
        if let Some(record) = &record {
            self.files.write_record(record)?;
        }
        trial.record = record;
        let left = change.deadline.since(BootTime::now());
        if !timer::arm(change.id, left, &self.files).await? {
            trial.steps.push(
                "limit: no systemd here to hold the timer; an agent that is killed takes the \
                 change back when it starts again"
                    .to_owned(),
            );
        }
        Ok(())
    }

    async fn carry_out(&mut self) -> Event {
        let patience = self.patience().unwrap_or_default();
        let secret = self.machine.under_way().and_then(|change| change.secret);
        let Some(trial) = &mut self.trial else {
            return Event::Failed("it is not known any more".to_owned());
        };
        let lock = self.files.lock().await;
        let done = timeout(patience, carry_out(trial)).await;
        drop(lock);
        let network = match done {
            Ok(Ok(network)) => network,
            Ok(Err(error)) => {
                let why = describe(&error);
                return Event::Failed(why);
            }
            Err(_) => return Event::Failed("it took longer than its deadline".to_owned()),
        };
        let Some(attempt) = &trial.attempt else {
            return Event::Failed("it is not known any more".to_owned());
        };
        trial.summary = summary(attempt, &network);
        let changed = attempt.changes();
        if let Some(record) = &mut trial.record {
            record.applied = true;
            if let Err(error) = self.files.write_record(record) {
                return Event::Failed(describe(&error));
            }
        }
        if let Some(secret) = secret.filter(|_| changed) {
            let addresses = addresses(attempt, &network);
            trial.probes = Some(self.prober.listen(addresses, secret).await);
        }
        if let Some(wanted) = &trial.wanted
            && let Err(error) = self.files.write_current(wanted)
        {
            tracing::warn!(error = %describe(&error), "what is in force is not written down");
        }
        self.news.push(News::Applied(trial.summary.clone()));
        Event::Applied { changed }
    }

    async fn keep(&mut self) -> Result<(), NetworkError> {
        let lock = self.files.lock().await?;
        if self.files.record()?.is_none() {
            // The timer's process was first.
            return Err(NetworkError::Forgotten);
        }
        if let Some(trial) = &mut self.trial {
            trial.lock = lock;
        }
        let trial = self.trial.as_ref();
        let wanted = match trial.and_then(|trial| trial.wanted.clone()) {
            Some(wanted) => Some(wanted),
            // An agent before this one made the change.
            None => self.files.current()?,
        };
        match wanted {
            Some(wanted) => Ok(self.files.write_confirmed(&wanted)?),
            None => Err(NetworkError::Forgotten),
        }
    }

    async fn take_back(&mut self) -> Option<String> {
        let unknown = || Some("the state before is not known".to_owned());
        let Some(trial) = &mut self.trial else {
            return unknown();
        };
        trial.probes = None;
        let Some(record) = &trial.record else {
            return unknown();
        };
        if trial.lock.is_none() {
            trial.lock = self.files.lock().await.ok().flatten();
        }
        take_back(&self.files, &record.before).await
    }

    async fn disarm(&mut self) {
        let trial = self.trial.take();
        let (id, outcome) = match self.machine.phase() {
            Phase::Committed(id) => {
                tracing::info!(%id, "the network is confirmed");
                (*id, Outcome::confirmed(*id))
            }
            Phase::RolledBack { id, reason, left } => {
                tracing::warn!(%id, reason, ?left, "the network is taken back");
                let text = format!("{reason}{}", undone(left.as_deref()));
                self.news.push(News::Failed(text));
                (*id, Outcome::taken_back(*id, reason, left.clone()).told())
            }
            _ => return self.forget_record(),
        };
        if let Err(error) = self.files.write_outcome(&outcome) {
            tracing::warn!(error = %describe(&error), "how the change ended will be forgotten");
        }
        self.forget_record();
        drop(trial);
        if let Err(error) = timer::disarm(id).await {
            // It finds nothing to do.
            tracing::warn!(error = %describe(&error), "the timer is left");
        }
    }

    fn forget_record(&self) {
        if let Err(error) = self.files.remove_record() {
            tracing::warn!(error = %describe(&error), "a record is left");
        }
    }

    /// What an agent before this one left.
    async fn take_up(&mut self) -> Result<(), NetworkError> {
        let Some(record) = self.files.record()? else {
            if let Some(outcome) = self.files.outcome()?
                && let Some(id) = outcome.id()
            {
                self.end_as(id, outcome);
            }
            return Ok(());
        };
        let Some(change) = record.change() else {
            return Ok(());
        };
        let applied = record.applied;
        self.trial = Some(Trial {
            wanted: None,
            attempt: None,
            record: Some(record),
            summary: String::new(),
            steps: Vec::new(),
            probes: None,
            lock: None,
        });
        if let Some(secret) = change.secret.filter(|_| applied) {
            let addresses = super::super::own_addresses().await;
            let trial = self.trial.as_mut();
            if let Some(trial) = trial {
                trial.probes = Some(self.prober.listen(addresses, secret).await);
            }
        }
        // It is no host's request, so nobody is refused.
        let _ = self.happened(Event::Found { change, applied }).await;
        Ok(())
    }

    /// Takes over how somebody else ended a change.
    fn end_as(&mut self, id: ChangeId, outcome: Outcome) {
        if outcome.confirmed {
            let _ = self
                .machine
                .handle(Event::Confirmed { id }, BootTime::now());
            return;
        }
        let Outcome { reason, left, .. } = outcome;
        if !outcome.told {
            let text = format!("{reason}{}", undone(left.as_deref()));
            self.news.push(News::Failed(text));
        }
        let over = Event::Over { id, reason, left };
        let _ = self.machine.handle(over, BootTime::now());
    }

    /// Whether a change is as its host wants it.
    fn verdict(&self, id: ChangeId) -> Result<(), TrialError> {
        match self.machine.phase() {
            Phase::RolledBack {
                id: other,
                reason,
                left,
            } if *other == id => Err(TrialError::TakenBack {
                reason: reason.clone(),
                left: left.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn tried(&self) -> NetworkTried {
        let pending = matches!(self.machine.phase(), Phase::AwaitConfirm { .. });
        let trial = self.trial.as_ref();
        NetworkTried {
            pending,
            left_ms: self.left_ms(),
            summary: trial.map(|trial| trial.summary.clone()).unwrap_or_default(),
            steps: trial.map(|trial| trial.steps.clone()).unwrap_or_default(),
            probes: self.probes(),
        }
    }

    async fn status(&self) -> NetworkStatusAnswer {
        let trial = self.trial.as_ref();
        let made = || trial.map(|trial| trial.summary.clone()).unwrap_or_default();
        let (phase, id, detail) = match self.machine.phase() {
            Phase::Idle => (NetworkPhase::Idle, None, String::new()),
            Phase::Arming(change) | Phase::Applying(change) => {
                (NetworkPhase::Applying, Some(change.id), String::new())
            }
            Phase::AwaitConfirm { change, .. } | Phase::Committing(change) => {
                (NetworkPhase::Pending, Some(change.id), made())
            }
            Phase::RollingBack { change, reason } => {
                (NetworkPhase::RollingBack, Some(change.id), reason.clone())
            }
            Phase::Committed(id) => (NetworkPhase::Committed, Some(*id), String::new()),
            Phase::RolledBack { id, reason, left } => {
                let phase = match left {
                    None => NetworkPhase::RolledBack,
                    Some(_) => NetworkPhase::HalfRolledBack,
                };
                let detail = format!("{reason}{}", undone(left.as_deref()));
                (phase, Some(*id), detail)
            }
        };
        let means = match Session::open().await {
            Ok(session) => {
                let means = session.means();
                session.close().await;
                means
            }
            Err(_) => Means::Netlink,
        };
        NetworkStatusAnswer {
            means: match means {
                Means::Netlink => NetworkMeans::Netlink,
                Means::Networkd => NetworkMeans::Networkd,
            },
            phase,
            id: id.map(|id| id.0),
            left_ms: self.left_ms(),
            detail,
            probes: self.probes(),
            confirmed: self.files.confirmed().ok().flatten(),
        }
    }

    fn tell(&mut self, applied: &Result<NetworkApplied, NetworkError>) {
        self.news.push(match applied {
            Ok(applied) => News::Applied(applied.summary.clone()),
            Err(error) => News::Failed(describe(error)),
        });
    }

    fn left_ms(&self) -> u32 {
        let left = self.patience().unwrap_or_default().as_millis();
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    fn probes(&self) -> Vec<String> {
        let probes = self.trial.as_ref().and_then(|trial| trial.probes.as_ref());
        let addresses = probes.map(Probing::addresses).unwrap_or_default();
        addresses.iter().map(ToString::to_string).collect()
    }

    fn earlier(&self) -> Option<NetworkConfig> {
        let current = self.files.current().ok().flatten()?;
        NetworkConfig::parse(&current).ok()
    }
}

async fn carry_out(trial: &mut Trial) -> Result<ObservedNetwork, NetworkError> {
    let attempt = trial.attempt.as_ref().ok_or(NetworkError::Forgotten)?;
    let mut session = Session::open().await?;
    let done = async {
        check::addresses(&mut session, attempt).await?;
        let network = session.carry_out(attempt).await?;
        check::gateways(&session, attempt, &network).await?;
        Ok(network)
    };
    let done = done.await.map_err(NetworkError::Failed);
    session.close().await;
    done
}

/// The addresses that a host may reach the machine under.
fn addresses(attempt: &Attempt, network: &ObservedNetwork) -> Vec<std::net::IpAddr> {
    let links = attempt.planned.links.iter();
    links
        .filter_map(|&index| network.link(index))
        .flat_map(|link| link.addresses.iter().filter(|one| one.global))
        .map(|one| one.address.ip())
        .collect()
}

fn steps(attempt: &Attempt) -> Vec<String> {
    let mut steps: Vec<String> = attempt.steps();
    let more = steps.len().saturating_sub(MOST_STEPS);
    steps.truncate(MOST_STEPS);
    if more > 0 {
        steps.push(format!("and {more} more"));
    }
    steps
}

/// From the kernel: who can guess it need not reach anything.
fn secret() -> Result<Secret, NetworkError> {
    use std::io::Read as _;
    let mut secret = Secret::default();
    let mut source = File::open("/dev/urandom").map_err(NetworkError::Random)?;
    source
        .read_exact(&mut secret)
        .map_err(NetworkError::Random)?;
    Ok(secret)
}
