//! A cluster kept connected to a guest that listens on a real unix socket.

use lkc_protocol::link::Encrypt as LinkEncrypt;
use tokio::{
    net::UnixListener,
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};

use super::{super::state::Event, *};

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
        let dir = tempfile::tempdir().unwrap();
        let (host, guest) = (identity(), identity());
        let (slot, slot_seen) = watch::channel(None);
        let (events, reports) = mpsc::channel(16);
        let cluster: ClusterName = "k3s-dev".parse().unwrap();
        let token = CancellationToken::new();
        let link = GuestLink {
            cluster: cluster.clone(),
            carrier: Carrier::Unix(dir.path().join("agent.sock")),
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
        UnixListener::bind(self.dir.path().join("agent.sock")).unwrap()
    }

    /// Accepts one link as the guest and keeps it until the set is dropped.
    async fn accept(&self, listener: &UnixListener) -> JoinSet<()> {
        let (carrier, _) = timeout(LIMIT, listener.accept()).await.unwrap().unwrap();
        let options = LinkOptions {
            identity: Arc::clone(&self.guest),
            version: "0.1.7".to_owned(),
            node: "k3s-dev".to_owned(),
            boot_id: [2; 16],
            encrypt: LinkEncrypt::Auto,
            local: true,
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
async fn a_link_that_is_ended_here_is_ended_there() {
    let mut bench = Bench::new(None);
    let listener = bench.listen();
    let mut guest = bench.accept(&listener).await;
    while !matches!(bench.report().await, Report::LinkUp { .. }) {}
    bench.end().await;
    let ended = timeout(LIMIT, guest.join_next()).await;
    ended.expect("the guest was not told").unwrap().unwrap();
}
