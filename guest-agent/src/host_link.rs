//! One connected host: each of its requests becomes a task that ends with the link.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::StreamExt;
use lkc_protocol::{
    error::{Refusal, RefusalCode, ResetCode},
    handover::Giver,
    link::{Driver, Incoming, IncomingRequest, Link, LinkEnd, Stream, StreamError},
    message::{
        AnyRequest, ApplyNetwork, ConfigureK3s, ConfirmNetwork, Dial, DialNetwork, Dialled, Exec,
        HandOver, Info, InfoAnswer, Kubeconfig, KubeconfigAnswer, LogSource, Logs, LogsAnswer,
        NetworkConfirmed, NetworkRolledBack, NetworkStatus, Request, RollBackNetwork, SetTime,
        Shutdown, ShutdownAnswer, TryNetwork, Usage, Watch, WatchAnswer, WatchObject,
        WatchObjectAnswer,
    },
    relay::{Counters, relay},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock,
    dial::{self, Block, Policy},
    exec,
    follow_log::{self, agent_log},
    network::{
        self,
        change::{BootTime, ChangeId, Request as NetworkRequest},
    },
    observe::{Observer, describe},
    readiness::difference,
    reverse::{self, Listeners},
    steward::Steward,
    usage,
};

/// Requests of one link that are being worked on at once, connections included. As many as the
/// link's streams; a bound of its own keeps the tasks in step with it.
const MAX_REQUESTS: usize = 16_384;

/// Programs that run for hosts at once.
const MAX_PROGRAMS: usize = 64;

/// What the requests work on. Clones lead to the same.
#[derive(Clone)]
pub struct Guest {
    observer: Observer,
    network: mpsc::Sender<NetworkRequest>,
    stop: mpsc::Sender<Duration>,
    agent_log: Option<PathBuf>,
    sets_clock: bool,
    cluster_ranges: Arc<Mutex<Vec<Block>>>,
    programs: Arc<Semaphore>,
    steward: Option<Steward>,
    link_since: BootTime,
    giver: Option<Arc<Giver>>,
}

impl Guest {
    /// A guest that observes through `observer`, applies networks through `network` and is ended
    /// through `stop`, with the grace that k3s has. Programs are started by `steward` if there is one.
    #[must_use]
    pub fn new(
        observer: Observer,
        network: mpsc::Sender<NetworkRequest>,
        stop: mpsc::Sender<Duration>,
        agent_log: Option<PathBuf>,
        steward: Option<Steward>,
    ) -> Self {
        let cluster_ranges = Arc::new(Mutex::new(Policy::K3S_RANGES.to_vec()));
        Self {
            observer,
            network,
            stop,
            agent_log,
            sets_clock: false,
            cluster_ranges,
            programs: Arc::new(Semaphore::new(MAX_PROGRAMS)),
            steward,
            link_since: BootTime::default(),
            giver: None,
        }
    }

    /// The same, whose clock hosts may set where it has no steward, who then has a say of its own.
    #[must_use]
    pub fn whose_clock_is_set(self, sets_clock: bool) -> Self {
        Self { sets_clock, ..self }
    }

    /// The same for one link, whose host takes connections from `giver`.
    #[must_use]
    pub fn of_link(self, giver: Option<Giver>) -> Self {
        Self {
            giver: giver.map(Arc::new),
            link_since: BootTime::now(),
            ..self
        }
    }

    async fn policy(&self, target: &Dial) -> Policy {
        Policy {
            node_addresses: node_addresses(target).await,
            cluster_ranges: self
                .cluster_ranges
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }
}

/// Serves a host until the link ends or the agent does.
pub async fn serve<C>(
    link: Link,
    mut incoming: Incoming,
    driver: Driver<C>,
    guest: Guest,
    cancel: CancellationToken,
) -> LinkEnd
where
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut requests = JoinSet::new();
    let mut driving = JoinSet::new();
    driving.spawn(driver.run());
    let listeners = Listeners::new(link.clone(), reverse::Limits::default());
    loop {
        tokio::select! {
            () = cancel.cancelled() => {
                link.close();
                break;
            }
            Some(ended) = requests.join_next() => log_defect(ended),
            request = incoming.next() => match request {
                Some(request) if requests.len() < MAX_REQUESTS => {
                    requests.spawn(handle(request, guest.clone(), listeners.clone()));
                }
                Some(request) => request.refuse(&Refusal::new(RefusalCode::Busy, "too many requests at once")),
                None => break,
            },
        }
    }
    requests.shutdown().await;
    match driving.join_next().await {
        Some(Ok(end)) => end,
        _ => LinkEnd::Abandoned,
    }
}

fn log_defect(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a request ended badly");
    }
}

async fn handle(request: IncomingRequest, guest: Guest, listeners: Listeners) {
    match request.request().clone() {
        AnyRequest::Info(_) => answer_info(request).await,
        AnyRequest::SetTime(wanted) => set_time(request, &wanted, &guest).await,
        AnyRequest::Usage(_) => request.answer::<Usage>(&usage::read()),
        AnyRequest::Watch(_) => watch(request.accept::<Watch>(&WatchAnswer {}), &guest).await,
        AnyRequest::ApplyNetwork(wanted) => apply_network(request, wanted, &guest).await,
        AnyRequest::TryNetwork(wanted) => try_network(request, wanted, &guest).await,
        AnyRequest::ConfirmNetwork(wanted) => confirm_network(request, wanted, &guest).await,
        AnyRequest::RollBackNetwork(wanted) => {
            roll_back_network(request, ChangeId(wanted.id), &guest).await;
        }
        AnyRequest::NetworkStatus(_) => network_status(request, &guest).await,
        AnyRequest::ConfigureK3s(wanted) => configure_k3s(request, &wanted, &guest).await,
        AnyRequest::Kubeconfig(_) => {
            kubeconfig(request.accept::<Kubeconfig>(&KubeconfigAnswer {}), &guest).await;
        }
        AnyRequest::Dial(target) => connect(request, &target, &guest).await,
        AnyRequest::HandOver(wanted) => hand_over(request, &wanted.target, &guest).await,
        AnyRequest::Logs(wanted) => tell_log(request, &wanted, &guest).await,
        AnyRequest::FollowLog(wanted) => {
            follow_log::serve(request, wanted, &guest.observer, guest.agent_log.as_deref()).await;
        }
        AnyRequest::WatchObject(wanted) => watch_object(request, wanted, &guest).await,
        AnyRequest::Exec(wanted) => run_program(request, &wanted, &guest).await,
        AnyRequest::Listen(wanted) => listeners.serve(request, &wanted).await,
        AnyRequest::Arrive(_) => {
            let text = "connections arrive at a host, not at a guest";
            request.refuse(&Refusal::new(RefusalCode::Denied, text));
        }
        AnyRequest::Enrol(_) => {
            let text = "a host that is let in already needs no token";
            request.refuse(&Refusal::new(RefusalCode::Denied, text));
        }
        AnyRequest::Shutdown(wanted) => {
            let grace = Duration::from_millis(u64::from(wanted.grace_ms));
            request.answer::<Shutdown>(&ShutdownAnswer {});
            // A second request changes nothing: the stop has begun.
            let _ = guest.stop.try_send(grace);
        }
    }
}

async fn answer_info(request: IncomingRequest) {
    match network::interfaces().await {
        Ok(interfaces) => request.answer::<Info>(&InfoAnswer {
            hostname: hostname(),
            os: os_name(),
            kernel: nix::sys::utsname::uname()
                .map(|name| name.release().to_string_lossy().into_owned())
                .unwrap_or_default(),
            clock_unix_ms: milliseconds(
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default(),
            ),
            uptime_ms: uptime_ms(),
            interfaces,
        }),
        Err(error) => request.refuse(&Refusal::new(RefusalCode::Failed, error.to_string())),
    }
}

async fn set_time(request: IncomingRequest, wanted: &SetTime, guest: &Guest) {
    let done = match &guest.steward {
        Some(steward) => steward.ask(wanted).await,
        None => clock::set(wanted, guest.sets_clock).map_err(Refusal::from),
    };
    match done {
        Ok(set) => request.answer::<SetTime>(&set),
        Err(refusal) => request.refuse(&refusal),
    }
}

/// The name of this node as the kernel has it.
#[must_use]
pub fn hostname() -> String {
    nix::unistd::gethostname()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn os_name() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map(|name| name.trim_matches('"').to_owned())
        .unwrap_or_default()
}

/// Time since boot as /proc has it, suspend included.
fn uptime_ms() -> u64 {
    let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text
        .split(' ')
        .next()
        .and_then(|first| first.parse::<f64>().ok());
    milliseconds(Duration::try_from_secs_f64(seconds.unwrap_or(0.0)).unwrap_or_default())
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

async fn watch(mut stream: Stream, guest: &Guest) {
    let mut snapshots = guest.observer.snapshots();
    let result: Result<(), StreamError> = async {
        let mut last = snapshots.borrow_and_update().clone();
        stream.send(&*last).await?;
        while snapshots.changed().await.is_ok() {
            let next = snapshots.borrow_and_update().clone();
            stream.send(&difference(&last, &next)).await?;
            last = next;
        }
        Ok(())
    }
    .await;
    conclude(&stream, result);
}

async fn apply_network(request: IncomingRequest, wanted: ApplyNetwork, guest: &Guest) {
    let (reply, result) = oneshot::channel();
    let applied = ask_network(guest, NetworkRequest::Apply(wanted, reply), result).await;
    answer::<ApplyNetwork>(request, applied);
}

async fn try_network(request: IncomingRequest, wanted: TryNetwork, guest: &Guest) {
    let (reply, result) = oneshot::channel();
    let tried = ask_network(guest, NetworkRequest::Try(wanted, reply), result).await;
    answer::<TryNetwork>(request, tried);
}

async fn confirm_network(request: IncomingRequest, wanted: ConfirmNetwork, guest: &Guest) {
    let (reply, result) = oneshot::channel();
    let asked = NetworkRequest::Confirm(wanted, guest.link_since, reply);
    let confirmed = ask_network(guest, asked, result).await;
    answer::<ConfirmNetwork>(request, confirmed.map(|()| NetworkConfirmed {}));
}

async fn roll_back_network(request: IncomingRequest, id: ChangeId, guest: &Guest) {
    let (reply, result) = oneshot::channel();
    let done = ask_network(guest, NetworkRequest::RollBack(id, reply), result).await;
    answer::<RollBackNetwork>(request, done.map(|()| NetworkRolledBack {}));
}

async fn network_status(request: IncomingRequest, guest: &Guest) {
    let (reply, result) = oneshot::channel();
    let status = ask_network(guest, NetworkRequest::Status(reply), result).await;
    answer::<NetworkStatus>(request, status);
}

async fn ask_network<T>(
    guest: &Guest,
    asked: NetworkRequest,
    result: oneshot::Receiver<Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let ending = || Refusal::new(RefusalCode::Busy, "the agent is ending");
    guest.network.send(asked).await.map_err(|_| ending())?;
    result.await.map_err(|_| ending())?
}

fn answer<R: Request>(request: IncomingRequest, result: Result<R::Answer, Refusal>) {
    match result {
        Ok(done) => request.answer::<R>(&done),
        Err(refusal) => request.refuse(&refusal),
    }
}

async fn configure_k3s(request: IncomingRequest, wanted: &ConfigureK3s, guest: &Guest) {
    match guest.observer.configure_k3s(wanted).await {
        Ok(configured) => {
            let ranges = cluster_ranges(&wanted.settings);
            *guest
                .cluster_ranges
                .lock()
                .unwrap_or_else(PoisonError::into_inner) = ranges;
            request.answer::<ConfigureK3s>(&configured);
        }
        Err(error) => {
            request.refuse(&error.into());
        }
    }
}

/// The ranges of pods and services that k3s was told, else its own.
fn cluster_ranges(settings: &[String]) -> Vec<Block> {
    let told = |key: &str| -> Vec<Block> {
        settings
            .iter()
            .filter_map(|setting| setting.split_once('='))
            .filter(|(name, _)| *name == key)
            .flat_map(|(_, value)| value.split(','))
            .filter_map(parse_block)
            .collect()
    };
    let [pods, services] = Policy::K3S_RANGES;
    let mut ranges = told("cluster-cidr");
    if ranges.is_empty() {
        ranges.push(pods);
    }
    let told_services = told("service-cidr");
    if told_services.is_empty() {
        ranges.push(services);
    }
    ranges.extend(told_services);
    ranges
}

fn parse_block(text: &str) -> Option<Block> {
    let (address, prefix) = text.trim().split_once('/')?;
    let (address, prefix) = (address.parse::<IpAddr>().ok()?, prefix.parse::<u8>().ok()?);
    // A range that is nearly everything would make the policy nothing.
    let sensible = if address.is_ipv4() { 8..=32 } else { 32..=128 };
    sensible
        .contains(&prefix)
        .then_some(Block { address, prefix })
}

async fn kubeconfig(mut stream: Stream, guest: &Guest) {
    let mut states = guest.observer.kubeconfig();
    let result: Result<(), StreamError> = async {
        loop {
            let values = states.borrow_and_update().values().cloned();
            if let Some(values) = values {
                stream.send(&*values).await?;
            }
            if states.changed().await.is_err() {
                return Ok(());
            }
        }
    }
    .await;
    conclude(&stream, result);
}

async fn connect(request: IncomingRequest, target: &Dial, guest: &Guest) {
    let policy = guest.policy(target).await;
    match target.network {
        DialNetwork::Tcp => match dial::dial(target, &policy).await {
            Ok((connection, address)) => {
                let stream = request.accept::<Dial>(&dialled(address));
                let end = relay(connection, stream, &Counters::default()).await;
                tracing::trace!(%address, %end, "connection ended");
            }
            Err(refusal) => refuse_dial(request, target, &refusal),
        },
        DialNetwork::Udp => match dial::dial_udp(target, &policy).await {
            Ok((socket, address)) => {
                let stream = request.accept::<Dial>(&dialled(address));
                let end = dial::datagrams::relay(&socket, &stream).await;
                tracing::trace!(%address, end = describe(&end), "datagrams ended");
            }
            Err(refusal) => refuse_dial(request, target, &refusal),
        },
    }
}

fn dialled(address: SocketAddr) -> Dialled {
    let address = address.to_string();
    Dialled { address }
}

fn refuse_dial(request: IncomingRequest, target: &Dial, refusal: &Refusal) {
    let Dial {
        network,
        host,
        port,
    } = target;
    tracing::debug!(%network, host, port, %refusal, "dial refused");
    request.refuse(refusal);
}

/// Connects as for a stream, and gives the connection to the host.
async fn hand_over(request: IncomingRequest, target: &Dial, guest: &Guest) {
    let giver = guest.giver.as_ref();
    let Some(giver) = giver.filter(|_| target.network == DialNetwork::Tcp) else {
        let text = "this link hands no connections over";
        return request.refuse(&Refusal::new(RefusalCode::Unsupported, text));
    };
    let given = match dial::dial(target, &guest.policy(target).await).await {
        Ok((connection, address)) => giver.give(&connection, address.to_string()),
        Err(refusal) => Err(refusal),
    };
    match given {
        Ok(answer) => request.answer::<HandOver>(&answer),
        Err(refusal) => refuse_dial(request, target, &refusal),
    }
}

/// Asked of the kernel only for targets whose fate depends on it.
async fn node_addresses(target: &Dial) -> Vec<IpAddr> {
    let loopback = target
        .host
        .parse::<IpAddr>()
        .is_ok_and(|address| address.is_loopback());
    if loopback || target.host.eq_ignore_ascii_case("localhost") {
        return Vec::new();
    }
    network::own_addresses().await
}

async fn tell_log(request: IncomingRequest, wanted: &Logs, guest: &Guest) {
    let tail = usize::try_from(wanted.tail).unwrap_or(usize::MAX);
    let mut lines = match wanted.source {
        LogSource::K3s => guest.observer.k3s_log(tail, wanted.follow),
        LogSource::Agent => agent_log(guest.agent_log.as_deref(), tail, wanted.follow),
    };
    let mut stream = request.accept::<Logs>(&LogsAnswer {});
    while let Some(line) = lines.next().await {
        let sent = match line {
            Ok(line) => stream.send(&line).await,
            Err(error) => {
                tracing::warn!(%error, "cannot read a log");
                stream.reset(ResetCode::Failed);
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
    finish(stream).await;
}

async fn watch_object(request: IncomingRequest, wanted: WatchObject, guest: &Guest) {
    let mut stream = None;
    let mut request = Some(request);
    let mut statuses = std::pin::pin!(guest.observer.watch_object(wanted));
    while let Some(status) = statuses.next().await {
        match (status, request.take()) {
            (Err(error), Some(request)) => {
                return request.refuse(&Refusal::new(RefusalCode::Invalid, describe(&error)));
            }
            (Err(error), None) => {
                tracing::debug!(%error, "an object cannot be watched any more");
                return;
            }
            (Ok(status), waiting) => {
                if let Some(request) = waiting {
                    stream = Some(request.accept::<WatchObject>(&WatchObjectAnswer {}));
                }
                if let Some(stream) = &mut stream
                    && stream.send(&status).await.is_err()
                {
                    return;
                }
            }
        }
    }
}

async fn run_program(request: IncomingRequest, wanted: &Exec, guest: &Guest) {
    match guest.programs.try_acquire() {
        Ok(_permit) => exec::run(request, wanted, guest.steward.as_ref()).await,
        Err(_) => {
            let text = format!("{MAX_PROGRAMS} programs run for hosts already");
            request.refuse(&Refusal::new(RefusalCode::Busy, text));
        }
    }
}

/// Ends a stream cleanly: what is queued arrives, and the host's own end is waited for.
pub(crate) async fn finish(mut stream: Stream) {
    stream.finish();
    // Whatever the host still says is not for us; its end or a reset is.
    while let Ok(Some(_)) = stream.receive_raw().await {}
}

fn conclude(stream: &Stream, result: Result<(), StreamError>) {
    match result {
        Ok(()) => stream.finish(),
        Err(error) => tracing::debug!(%error, stream = %stream.id(), "a stream of messages ended"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranges_follow_k3s_own_settings() {
        let settings = |text: &[&str]| text.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        assert_eq!(cluster_ranges(&[]), Policy::K3S_RANGES);
        let told = cluster_ranges(&settings(&[
            "cluster-cidr=10.52.0.0/16,fd42::/56",
            "disable=traefik",
        ]));
        let permitted = Policy {
            node_addresses: Vec::new(),
            cluster_ranges: told,
        };
        for (address, expected) in [
            ("10.52.1.1", true),
            ("fd42::1", true),
            ("10.43.0.1", true),
            ("10.42.0.1", false),
        ] {
            assert_eq!(
                permitted.permits(address.parse().unwrap()),
                expected,
                "{address}"
            );
        }
    }

    #[test]
    fn a_range_of_everything_is_not_believed() {
        let settings = [
            "cluster-cidr=0.0.0.0/0".to_owned(),
            "service-cidr=::/0".to_owned(),
        ];
        assert_eq!(cluster_ranges(&settings), Policy::K3S_RANGES);
    }
}
