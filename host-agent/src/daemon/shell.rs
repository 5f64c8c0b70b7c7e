//! Does what the state decides: owns every task, runs each action, feeds back what happens.

mod hands;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    handle::{Ask, Board, Handle, Views},
    machine_tasks, provision,
    reporter::{self, Reporter},
    state::{Action, Begun, Daemon, Event, Report, Task, Ticket},
};
use crate::{config::ClusterName, control::Failure, paths::Paths};
use hands::{Hands, Indexes};

/// How long links, connections and tasks may take to end when the daemon does.
const DRAIN: Duration = Duration::from_secs(5);

/// Longest time that an answer waits for listeners to close: a guest can hold the threads that do.
const CLOSING: Duration = Duration::from_secs(1);

/// How long a daemon stays with nothing to look after.
pub(super) const IDLE: Duration = Duration::from_secs(600);

/// Requests that may wait for the daemon; each takes microseconds.
const ASKS: usize = 64;

/// Where the answer to a request goes.
type Place = oneshot::Sender<Result<Begun, Failure>>;

/// The daemon with everything that it holds.
pub(super) struct Shell {
    paths: Paths,
    boot_id: [u8; 16],
    state: Daemon,
    hands: HashMap<ClusterName, Hands>,
    events: mpsc::Sender<Event>,
    reports: mpsc::Receiver<Event>,
    asks: mpsc::Receiver<Ask>,
    answers: HashMap<Ticket, Place>,
    /// Listeners that have been told to close.
    closing: Vec<TaskTracker>,
    tickets: Ticket,
    views: watch::Sender<Views>,
    board: Arc<Board>,
    tasks: TaskTracker,
    /// Cancelled when the tasks of clusters have to end.
    token: CancellationToken,
    stop: CancellationToken,
}

impl Shell {
    /// A daemon that looks after nothing yet, and the way to it. Cancelling `stop` ends it.
    pub(super) fn new(paths: Paths, stop: CancellationToken) -> (Self, Handle) {
        let (events, reports) = mpsc::channel(reporter::QUEUE);
        let (asks, asked) = mpsc::channel(ASKS);
        let (views, shown) = watch::channel(Views::new());
        let board = Arc::<Board>::default();
        let handle = Handle {
            asks,
            views: shown,
            board: Arc::clone(&board),
            started: Instant::now(),
            stop: stop.clone(),
        };
        let shell = Self {
            paths,
            boot_id: boot_id(),
            state: Daemon::default(),
            hands: HashMap::new(),
            events,
            reports,
            asks: asked,
            answers: HashMap::new(),
            closing: Vec::new(),
            tickets: 0,
            views,
            board,
            tasks: TaskTracker::new(),
            token: CancellationToken::new(),
            stop,
        };
        (shell, handle)
    }

    /// Takes over what a daemon before this one left: specifications, and machines that still run.
    /// Their listeners are bound when it returns.
    pub(super) async fn restore(&mut self) {
        let known = self.paths.known_clusters().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot list the clusters");
            Vec::new()
        });
        for name in known {
            let spec = match provision::persisted(&self.paths, &name) {
                Ok(Some(spec)) if spec.name == name => spec,
                Ok(_) => continue,
                Err(error) => {
                    tracing::error!(cluster = %name, "not restored: {error}");
                    continue;
                }
            };
            let machine = match machine_tasks::find(&self.paths, &spec).await {
                Ok(found) => found.map(Arc::new),
                Err(failure) => {
                    tracing::error!(cluster = %name, "cannot look for its machine: {}", failure.message);
                    None
                }
            };
            let info = match &machine {
                Some(machine) => Some(machine_tasks::info(machine).await),
                None => None,
            };
            tracing::info!(cluster = %name, running = info.is_some(), "restored");
            if let Some(machine) = machine {
                machine_tasks::put(&self.hands_of(&name).machine, machine);
            }
            self.feed(Event::Restored {
                spec: Box::new(spec),
                machine: info,
            });
        }
    }

    /// Runs until it is told to stop or has had nothing to look after for `idle`.
    pub(super) async fn run(mut self, idle: Duration) {
        let mut idle_since = Some(tokio::time::Instant::now());
        loop {
            let idle_end = idle_since.unwrap_or_else(tokio::time::Instant::now) + idle;
            tokio::select! {
                () = self.stop.cancelled() => break,
                Some(event) = self.reports.recv() => self.feed(event),
                Some(ask) = self.asks.recv() => self.take(ask),
                () = sleep_until(idle_end), if idle_since.is_some() => {
                    tracing::info!("nothing to look after");
                    self.stop.cancel();
                }
            }
            idle_since = match (self.state.is_idle(), idle_since) {
                (false, _) => None,
                (true, since) => since.or_else(|| Some(tokio::time::Instant::now())),
            };
        }
        self.drain().await;
    }

    /// Closes listeners and links; machines go on running.
    async fn drain(mut self) {
        tracing::info!("ending; machines go on running");
        self.hands.clear();
        self.token.cancel();
        self.tasks.close();
        self.answers.clear();
        // Reports are taken and thrown away, so that no task waits for their turn.
        let thrown_away = async { while self.reports.recv().await.is_some() {} };
        let ended = async {
            tokio::select! {
                () = self.tasks.wait() => {}
                () = thrown_away => {}
            }
        };
        if timeout(DRAIN, ended).await.is_err() {
            tracing::warn!("tasks are left after {} s", DRAIN.as_secs());
        }
    }

    fn take(&mut self, ask: Ask) {
        self.tickets += 1;
        self.answers.insert(self.tickets, ask.answer);
        tracing::info!(cluster = %ask.request.cluster(), "asked: {}", ask.request.word());
        self.feed(Event::Requested {
            ticket: self.tickets,
            request: ask.request,
        });
    }

    /// Folds an event and does what follows, and what follows from that at once.
    fn feed(&mut self, event: Event) {
        let mut queue = VecDeque::from([event]);
        while let Some(event) = queue.pop_front() {
            for action in self.state.handle(event, Instant::now()) {
                queue.extend(self.execute(action));
            }
        }
    }

    fn execute(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Publish(view) => {
                let name = view.status.name.clone();
                self.views.send_modify(|views| {
                    views.insert(name, view);
                });
                None
            }
            Action::Withdraw(name) => {
                self.hands.remove(&name);
                self.board.withdraw(&name);
                self.views.send_modify(|views| {
                    views.remove(&name);
                });
                None
            }
            Action::Answer { ticket, answer } => {
                if let Some(place) = self.answers.remove(&ticket) {
                    self.answer(place, answer);
                }
                None
            }
            Action::Perform { cluster, run, task } => {
                let report = self.perform(&cluster, run, task)?;
                Some(Event::Reported {
                    cluster,
                    run,
                    report,
                })
            }
        }
    }

    /// Answers a client, who may have gone, once what no longer listens refuses connections.
    fn answer(&mut self, place: Place, answer: Result<Begun, Failure>) {
        self.closing.retain(|doors| !doors.is_empty());
        if self.closing.is_empty() {
            let _ = place.send(answer);
            return;
        }
        let closing = self.closing.clone();
        self.tasks.spawn(async move {
            let closed = async {
                for doors in closing {
                    doors.wait().await;
                }
            };
            let _ = timeout(CLOSING, closed).await;
            let _ = place.send(answer);
        });
    }

    /// Begins a task. What is done at once is reported at once.
    fn perform(&mut self, cluster: &ClusterName, run: u64, task: Task) -> Option<Report> {
        let reporter = Reporter {
            cluster: cluster.clone(),
            run,
            events: self.events.clone(),
        };
        let taken: Vec<u8> = self
            .views
            .borrow()
            .values()
            .filter(|view| view.status.name != *cluster)
            .map(|view| view.status.index)
            .collect();
        let (paths, boot_id) = (self.paths.clone(), self.boot_id);
        let hands = self.hands_of(cluster);
        match task {
            Task::PersistSpec(spec) => Some(match provision::persist(&paths, &spec) {
                Ok(()) => Report::SpecPersisted,
                Err(error) => Report::PersistFailed(error.to_failure()),
            }),
            Task::BindForwards {
                purpose,
                forwards,
                index,
            } => hands.bind(purpose, forwards, Indexes { own: index, taken }, &reporter),
            Task::UnbindForwards(forwards) => {
                let doors = hands.unbind(&forwards);
                self.closing.extend(doors);
                None
            }
            Task::StartMachine(spec) => hands.start_machine(paths, spec, &reporter),
            Task::AdoptMachine => hands.adopt_machine(&reporter),
            Task::StopMachine(spec) => hands.stop_machine(paths, spec, &reporter),
            Task::Connect { carriers, spec } => {
                match provision::credentials(&paths, cluster, boot_id) {
                    Ok(credentials) => hands.connect(carriers, &spec, credentials, &reporter),
                    Err(error) => {
                        let (attempt, failure) = (1, error.to_failure());
                        Some(Report::LinkFailed { attempt, failure })
                    }
                }
            }
            Task::ConnectNow => hands.connect_now(),
            Task::Disconnect => hands.disconnect(),
            Task::ApplyNetwork { link, spec } => {
                let credentials = provision::credentials(&paths, cluster, boot_id).ok();
                hands.apply_network(link, spec, credentials, &reporter)
            }
            Task::ConfigureK3s { link, spec } => hands.configure_k3s(link, spec, &reporter),
            Task::ListenInGuest { link, spec } => hands.listen_in_guest(link, &spec, &reporter),
            Task::Watch { link } => hands.watch(link, &reporter),
            Task::FollowKubeconfig { link, spec } => {
                hands.follow_kubeconfig(paths, link, spec, &reporter)
            }
            Task::ProbeApi {
                number,
                forward,
                identity,
            } => hands.probe_api(number, &forward, &identity, reporter),
            Task::ProbeNow => hands.probe_now(),
            Task::StopProbing => hands.stop_probing(),
            Task::RemoveFiles(spec) => hands.remove_files(paths, spec, &reporter),
        }
    }

    fn hands_of(&mut self, cluster: &ClusterName) -> &mut Hands {
        self.hands.entry(cluster.clone()).or_insert_with(|| {
            Hands::new(
                cluster.clone(),
                Arc::clone(&self.board),
                self.tasks.clone(),
                self.token.child_token(),
            )
        })
    }
}

/// Identifies this boot of the host to the guest; zero where the system does not say.
fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).map_or([0; 16], u128::to_be_bytes)
}

#[cfg(test)]
mod tests;
