//! A cluster kept connected to a guest that listens on a real unix socket.

use lkc_protocol::{handover, link::Encrypt as LinkEncrypt};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::UnixListener,
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};

use super::{super::state::Event, *};
use crate::carrier::Carrier;

/// Longest wait of a test for anything.
const LIMIT: Duration = Duration::from_secs(20);

struct Bench {
    dir: tempfile::TempDir,
    host: Arc<Identity>,
    guest: Arc<Identity>,
    slot: LinkSlot,
    reports: mpsc::Receiver<Event>,
    token: CancellationToken,
    task: JoinHandle<()>,
}

impl Bench {
    /// Begins to connect to a guest that is expected to have the key of `pinned`.
    fn new(pinned: Option<&Identity>) -> Self {
        Self::over(pinned, &["agent.sock"])
    }

    /// The same with several carriers, sockets of these names.
    fn over(pinned: Option<&Identity>, sockets: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (host, guest) = (identity(), identity());
        let (slot, slot_seen) = watch::channel(None);
        let (events, reports) = mpsc::channel(16);
        let cluster: ClusterName = "k3s-dev".parse().unwrap();
        let token = CancellationToken::new();
        let link = GuestLink {
            cluster: cluster.clone(),
            carriers: sockets
                .iter()
                .map(|socket| Carrier::Unix(dir.path().join(socket)).into())
                .collect(),
            machine: Place::default(),
            credentials: Credentials {
                identity: Arc::clone(&host),
                guest: pinned.unwrap_or(&guest).public_key(),
                boot_id: [1; 16],
            },
            encrypt: Encrypt::Auto,
            slot: Arc::new(slot),
            reporter: Reporter {
                cluster,
                run: 1,
                events,
            },
            denied: Arc::default(),
            now: Arc::default(),
            token: token.clone(),
        };
        Self {
            dir,
            host,
            guest,
            slot: slot_seen,
            reports,
            token,
            task: tokio::spawn(link.run()),
        }
    }

    fn listen(&self) -> UnixListener {
        self.listen_at("agent.sock")
    }

    fn listen_at(&self, socket: &str) -> UnixListener {
        UnixListener::bind(self.dir.path().join(socket)).unwrap()
    }

    /// Accepts one link as the guest and keeps it until the set is dropped.
    async fn accept(&self, listener: &UnixListener) -> JoinSet<()> {
        let (carrier, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
        self.serve(carrier)
    }

    /// The same on bytes that were accepted.
    fn serve<C>(&self, carrier: C) -> JoinSet<()>
    where
        C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        self.serve_as(Arc::clone(&self.guest), carrier)
    }

    /// The same with another key.
    fn serve_as<C>(&self, identity: Arc<Identity>, carrier: C) -> JoinSet<()>
    where
        C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let options = LinkOptions {
            identity,
            version: "0.1.7".to_owned(),
            node: "k3s-dev".to_owned(),
            boot_id: [2; 16],
            encrypt: LinkEncrypt::Auto,
            locality: Locality::Local,
            limits: Limits::default(),
        };
        let authorized = [self.host.public_key()];
        let mut running = JoinSet::new();
        running.spawn(async move {
            if let Ok((link, _incoming, driver)) =
                link::accept(carrier, &authorized, &options).await
            {
                driver.run().await;
                drop(link);
            }
        });
        running
    }

    async fn report(&mut self) -> Report {
        match timeout(LIMIT, self.reports.recv()).await.unwrap() {
            Some(Event::Reported { report, .. }) => report,
            other => panic!("{other:?}"),
        }
    }

    async fn end(self) {
        self.token.cancel();
        timeout(LIMIT, self.task).await.unwrap().unwrap();
        assert!(self.slot.borrow().is_none(), "a link is left in the slot");
    }
}

fn identity() -> Arc<Identity> {
    Arc::new(Identity::generate().unwrap())
}

#[tokio::test]
async fn an_agent_that_comes_late_is_met_and_met_again() {
    let mut bench = Bench::new(None);
    let Report::LinkFailed { attempt, failure } = bench.report().await else {
        panic!("linked to nobody");
    };
    assert_eq!((attempt, failure.kind), (1, Kind::Unreachable));
    assert_eq!(failure.message, "waiting for the agent");
    let listener = bench.listen();
    for number in 1..=3 {
        let guest = bench.accept(&listener).await;
        let Report::LinkUp {
            link,
            agent_version,
            ..
        } = bench.report().await
        else {
            panic!("not linked");
        };
        assert_eq!((link, agent_version.as_str()), (number, "0.1.7"));
        let shown = bench.slot.borrow().clone().unwrap();
        assert!(shown.number == number && !shown.link.is_closed());
        drop(guest);
        assert!(matches!(bench.report().await, Report::LinkDown { .. }));
        assert!(bench.slot.borrow().is_none(), "empty before it is reported");
    }
    bench.end().await;
}

#[tokio::test]
async fn another_key_is_told_at_once_with_both_fingerprints() {
    let expected = identity();
    let mut bench = Bench::new(Some(&expected));
    let listener = bench.listen();
    let _guest = bench.accept(&listener).await;
    let failure = loop {
        match bench.report().await {
            Report::LinkFailed { failure, .. } if failure.kind == Kind::Unreachable => {}
            Report::LinkFailed { failure, .. } => break failure,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(failure.kind, Kind::Authentication);
    for key in [expected.public_key(), bench.guest.public_key()] {
        assert!(
            failure.message.contains(&key.fingerprint()),
            "{}",
            failure.message
        );
    }
    assert!(
        failure.hints[0].contains("lkc-host restart k3s-dev"),
        "{:?}",
        failure.hints
    );
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_does_not_answer_is_soon_asked_again_and_given_more_time_then() {
    let mut bench = Bench::new(None);
    let listener = bench.listen();
    for patience in [1, 2, 4, 5, 5] {
        let (mut carrier, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
        let since = tokio::time::Instant::now();
        let mut preface = Vec::new();
        carrier.read_to_end(&mut preface).await.unwrap();
        assert!(!preface.is_empty());
        assert_eq!(since.elapsed().as_secs(), patience);
    }
    let since = tokio::time::Instant::now();
    let _guest = bench.accept(&listener).await;
    while !matches!(bench.report().await, Report::LinkUp { .. }) {}
    assert!(since.elapsed() < Duration::from_secs(1), "the wait grew");
    bench.end().await;
}

#[tokio::test]
async fn something_else_that_answers_is_no_authentication_error() {
    let mut bench = Bench::new(None);
    let listener = bench.listen();
    let (mut carrier, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
    let noise = vec![b'#'; 256 * 1024];
    let _ = tokio::io::AsyncWriteExt::write_all(&mut carrier, &noise).await;
    let failure = loop {
        match bench.report().await {
            Report::LinkFailed { failure, .. } if failure.message == "waiting for the agent" => {}
            Report::LinkFailed { failure, .. } => break failure,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(failure.kind, Kind::Unreachable);
    assert!(
        failure.message.starts_with("preface: "),
        "{}",
        failure.message
    );
    bench.end().await;
}

#[tokio::test]
async fn only_a_socket_under_our_own_kernel_leads_to_a_plain_link() {
    let mut bench = Bench::new(None);
    let listener = bench.listen();
    for is_forwarded in [false, true] {
        let (carrier, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
        let guest = if is_forwarded {
            // As behind `ssh -L` or socat: the bytes come through, descriptors do not.
            bench.serve(carrier)
        } else {
            let (carrier, _offered) = handover::offer(carrier).unwrap();
            bench.serve(carrier)
        };
        while !matches!(bench.report().await, Report::LinkUp { .. }) {}
        let shown = bench.slot.borrow().clone().unwrap();
        assert_eq!(shown.link.is_encrypted(), is_forwarded);
        drop(guest);
        while !matches!(bench.report().await, Report::LinkDown { .. }) {}
    }
    bench.end().await;
}

#[tokio::test]
async fn the_first_carrier_that_authenticates_is_used_and_the_worst_failure_told() {
    let mut bench = Bench::over(None, &["absent", "impostor", "guest"]);
    let wrong = bench.listen_at("impostor");
    let carrier = timeout(LIMIT, wrong.accept()).await.unwrap().unwrap().0;
    let impostor = bench.serve_as(identity(), carrier);
    let failure = loop {
        match bench.report().await {
            Report::LinkFailed { failure, .. } if failure.kind == Kind::Authentication => {
                break failure;
            }
            Report::LinkFailed { .. } => {}
            report => panic!("{report:?}"),
        }
    };
    let named = format!("unix:{}: ", bench.dir.path().join("impostor").display());
    assert!(failure.message.starts_with(&named), "{}", failure.message);
    let right = bench.listen_at("guest");
    drop((wrong, impostor));
    let _guest = bench.accept(&right).await;
    let carrier = loop {
        if let Report::LinkUp { carrier, .. } = bench.report().await {
            break carrier.unwrap();
        }
    };
    let expected = format!("unix:{}", bench.dir.path().join("guest").display());
    assert_eq!(carrier.to_string(), expected);
    bench.end().await;
}

#[tokio::test]
async fn a_link_that_is_ended_here_is_ended_there() {
    let mut bench = Bench::new(None);
    let listener = bench.listen();
    let mut guest = bench.accept(&listener).await;
    while !matches!(bench.report().await, Report::LinkUp { .. }) {}
    bench.end().await;
    let ended = timeout(LIMIT, guest.join_next()).await;
    ended.expect("the guest was not told").unwrap().unwrap();
}
