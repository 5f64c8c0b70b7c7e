//! Against the k3s simulator: the one that `LKC_K3S_SIMULATOR` names, else the one that was built
//! with the tests; without either they say that they were skipped. One thread, as in the agent.

use std::path::PathBuf;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::Api;
use kube::api::PostParams;
use lkc_protocol::message::{
    Cni, ConfigureK3s, K3sRole, ObjectStatus, Rung, RungState, RungStatus, Snapshot, WatchObject,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::k3s::{K3sPaths, Runner};
use crate::readiness::{NetworkState, Observation};

const DEADLINE: Duration = Duration::from_secs(20);

struct Bench {
    root: Root,
    observer: Observer,
    tasks: ObserverTasks,
    cancel: CancellationToken,
    port: u16,
}

/// Leaves no k3s behind when a test fails.
struct Root(TempDir);

impl Root {
    fn k3s_pid(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.0.path().join("run/k3s.pid")).ok()?;
        text.split_whitespace()
            .next()?
            .parse()
            .ok()
            .map(Pid::from_raw)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if let Some(pid) = self.k3s_pid() {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

impl Bench {
    async fn new() -> Option<Self> {
        let binary = simulator()?;
        let root = Root(tempfile::tempdir().unwrap());
        let paths = K3sPaths::below(root.0.path());
        let runner = Runner::Own { binary };
        let cancel = CancellationToken::new();
        let (observer, tasks) = Observer::start(runner, paths, &cancel);
        let applied = NetworkState::Applied {
            summary: "127.0.0.1/8 on lo".to_owned(),
        };
        let told = observer.observations();
        told.send(Observation::Network(applied)).await.unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        Some(Self {
            root,
            observer,
            tasks,
            cancel,
            port,
        })
    }

    fn request(&self, settings: &[&str]) -> ConfigureK3s {
        let mut settings: Vec<String> = settings
            .iter()
            .map(|setting| (*setting).to_owned())
            .collect();
        settings.push(format!("https-listen-port={}", self.port));
        ConfigureK3s {
            role: K3sRole::Server,
            node_name: "k3s-dev".to_owned(),
            node_ip: "127.0.0.1".to_owned(),
            flannel_interface: None,
            cni: Cni::Default,
            tls_san: Vec::new(),
            disable: Vec::new(),
            settings,
            server_url: None,
            token: None,
        }
    }

    async fn configure(&self, settings: &[&str]) {
        self.observer
            .configure_k3s(&self.request(settings))
            .await
            .unwrap();
    }

    /// Waits until a rung is what is asked for, and checks every snapshot on the way.
    async fn wait(&self, rung: Rung, what: impl Fn(&RungStatus) -> bool) -> RungStatus {
        let mut snapshots = self.observer.snapshots();
        let mut sequence = 0;
        let found = async {
            loop {
                let snapshot = snapshots.borrow_and_update().clone();
                assert!(snapshot.sequence > sequence);
                sequence = snapshot.sequence;
                check(&snapshot);
                let status = snapshot
                    .rungs
                    .iter()
                    .find(|status| status.rung == rung)
                    .unwrap()
                    .clone();
                if what(&status) {
                    return status;
                }
                snapshots.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(DEADLINE, found).await {
            Ok(status) => status,
            Err(_) => panic!(
                "not in time: {:#?}",
                self.observer.snapshots().borrow().rungs
            ),
        }
    }

    async fn ready(&self, rung: Rung) -> RungStatus {
        self.wait(rung, |status| status.state == RungState::Ready)
            .await
    }

    fn k3s_pid(&self) -> Pid {
        self.root.k3s_pid().unwrap()
    }

    fn client(&self) -> kube::Client {
        let values = self
            .observer
            .kubeconfig()
            .borrow()
            .values()
            .unwrap()
            .clone();
        connect(&values).unwrap()
    }

    async fn end(self) {
        self.observer
            .stop_k3s(Duration::from_secs(5))
            .await
            .unwrap();
        self.cancel.cancel();
        assert!(
            tokio::time::timeout(DEADLINE, self.tasks.join())
                .await
                .unwrap()
        );
    }
}

/// The tests are in `deps` of the directory that the workspace's programs are in.
pub(crate) fn simulator() -> Option<PathBuf> {
    let beside = || {
        let own = std::env::current_exe().ok()?;
        let program = own.parent()?.parent()?.join("k3s-simulator");
        program.exists().then_some(program)
    };
    let found = std::env::var_os("LKC_K3S_SIMULATOR")
        .map(PathBuf::from)
        .or_else(beside);
    if found.is_none() {
        eprintln!("skipped: the k3s simulator is not built: cargo test --workspace builds it");
    }
    found
}

fn check(snapshot: &Snapshot) {
    let lost = snapshot
        .rungs
        .iter()
        .position(|rung| rung.state != RungState::Ready)
        .unwrap_or(7);
    assert!(
        snapshot.rungs[lost..]
            .iter()
            .skip(1)
            .all(|rung| rung.state == RungState::Pending)
    );
}

fn object(resource: &str, namespace: Option<&str>, name: Option<&str>) -> WatchObject {
    WatchObject {
        resource: resource.to_owned(),
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
        selector: None,
        condition: None,
    }
}

async fn satisfied(
    statuses: &mut (impl futures::Stream<Item = Result<ObjectStatus, WatchObjectError>> + Unpin),
) -> Vec<String> {
    let mut details = Vec::new();
    loop {
        let next = tokio::time::timeout(DEADLINE, statuses.next()).await;
        let status = next
            .unwrap_or_else(|_| panic!("not in time: {details:?}"))
            .unwrap()
            .unwrap();
        details.push(status.detail);
        if status.satisfied {
            return details;
        }
    }
}

#[tokio::test]
async fn a_node_climbs_and_its_objects_are_waited_for() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    let mut coredns = pin!(bench.observer.watch_object(object(
        "deployment",
        Some("kube-system"),
        Some("coredns")
    )));
    let mut later = pin!(
        bench
            .observer
            .watch_object(object("cm", None, Some("later")))
    );
    for statuses in [coredns.next().await, later.next().await] {
        assert_eq!(statuses.unwrap().unwrap().detail, "the API is not ready");
    }
    bench.configure(&[]).await;
    assert_eq!(
        bench.ready(Rung::K3s).await.detail,
        "running (simulated; no containers run)"
    );
    assert_eq!(bench.ready(Rung::Api).await.detail, "/readyz ok");
    assert_eq!(bench.ready(Rung::Registered).await.detail, "k3s-dev");
    assert_eq!(bench.ready(Rung::Node).await.detail, "k3s-dev Ready");
    let system = bench.ready(Rung::System).await.detail;
    assert!(system.ends_with(" available"), "{system}");
    assert!(bench.observer.snapshots().borrow().k3s.simulated);

    let details = satisfied(&mut coredns).await;
    assert_eq!(
        details.last().map(String::as_str),
        Some("deployment kube-system/coredns: 1 of 1 available")
    );
    assert_eq!(
        later.next().await.unwrap().unwrap().detail,
        "no configmap default/later yet"
    );
    let map: ConfigMap =
        serde_json::from_value(serde_json::json!({"metadata": {"name": "later"}})).unwrap();
    Api::default_namespaced(bench.client())
        .create(&PostParams::default(), &map)
        .await
        .unwrap();
    assert_eq!(
        satisfied(&mut later).await,
        ["configmap default/later: exists"]
    );

    let mut pods = pin!(
        bench
            .observer
            .watch_object(object("po", Some("kube-system"), None))
    );
    satisfied(&mut pods).await;
    let mut nodes = pin!(bench.observer.watch_object(object("nodes", None, None)));
    assert_eq!(satisfied(&mut nodes).await, ["node k3s-dev: Ready"]);
    let mut unknown = pin!(
        bench
            .observer
            .watch_object(object("gateways.example.org", None, None))
    );
    assert_eq!(
        unknown.next().await.unwrap().unwrap().detail,
        "no kind gateways.example.org yet"
    );
    let mut wrong = pin!(
        bench
            .observer
            .watch_object(object("../secrets", None, None))
    );
    assert!(matches!(
        wrong.next().await,
        Some(Err(WatchObjectError::Invalid { .. }))
    ));
    bench.end().await;
}

#[tokio::test]
async fn a_ready_node_is_told_within_50_ms() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    bench.configure(&["simulate-node-ready-delay=1s"]).await;
    bench.ready(Rung::Registered).await;
    let nodes: Api<Node> = Api::all(bench.client());
    let own = async {
        let config = kube::runtime::watcher::Config::default().fields("metadata.name=k3s-dev");
        let mut events = pin!(kube::runtime::watcher(nodes, config));
        while let Some(event) = events.next().await {
            if format!("{:?}", event.unwrap()).contains("KubeletReady") {
                return Instant::now();
            }
        }
        panic!("the watch ended")
    };
    let ladder = async {
        bench.ready(Rung::Node).await;
        Instant::now()
    };
    let (own, ladder) = tokio::join!(own, ladder);
    assert!(ladder.saturating_duration_since(own) < Duration::from_millis(50));
    bench.end().await;
}

#[tokio::test]
async fn a_killed_k3s_comes_back() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    bench.configure(&[]).await;
    bench.ready(Rung::Node).await;
    kill(bench.k3s_pid(), Signal::SIGKILL).unwrap();
    let ended = bench
        .wait(Rung::K3s, |status| status.state != RungState::Ready)
        .await;
    assert_eq!(
        ended.detail,
        "ended (signal: 9 (SIGKILL)), starting it again"
    );
    assert_eq!(
        bench
            .wait(Rung::Node, |status| status.state == RungState::Pending)
            .await
            .detail,
        "waits for k3s"
    );
    bench.ready(Rung::System).await;
    assert_eq!(bench.observer.snapshots().borrow().k3s.restarts, 1);
    bench.end().await;
}

#[tokio::test]
async fn rotated_credentials_are_followed() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    bench.configure(&[]).await;
    bench.ready(Rung::Node).await;
    let mut kubeconfig = bench.observer.kubeconfig();
    let before = kubeconfig.borrow_and_update().values().unwrap().clone();
    kill(bench.k3s_pid(), Signal::SIGHUP).unwrap();
    tokio::time::timeout(DEADLINE, kubeconfig.changed())
        .await
        .unwrap()
        .unwrap();
    let after = kubeconfig.borrow_and_update().values().unwrap().clone();
    assert_ne!(before.client_certificate, after.client_certificate);
    assert_eq!(before.certificate_authority, after.certificate_authority);
    bench.ready(Rung::System).await;
    bench.end().await;
}

#[tokio::test]
async fn without_a_pod_network_the_node_says_why() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    let request = ConfigureK3s {
        cni: Cni::None,
        ..bench.request(&[])
    };
    bench.observer.configure_k3s(&request).await.unwrap();
    let node = bench
        .wait(Rung::Node, |status| status.state == RungState::Progressing)
        .await;
    assert!(
        node.detail.starts_with("KubeletNotReady: "),
        "{}",
        node.detail
    );
    bench.end().await;
}

#[tokio::test]
async fn a_hostile_kubeconfig_is_named() {
    for (kind, problem) in [
        (
            "wrong-pem",
            "client-certificate-data in the kubeconfig of k3s cannot be used: no PEM block",
        ),
        (
            "ten-megabytes",
            "the kubeconfig of k3s has more than 262144 bytes",
        ),
        (
            "terminal-escapes",
            "cluster.server in the kubeconfig of k3s is not an https URL with a port",
        ),
        ("yaml-bomb", "the kubeconfig of k3s is no kubeconfig: "),
        (
            "exec-plugin",
            "the kubeconfig of k3s has exec, only values in the file itself are used",
        ),
    ] {
        let Some(bench) = Bench::new().await else {
            return;
        };
        bench
            .configure(&[&format!("simulate-hostile={kind}")])
            .await;
        let api = bench
            .wait(Rung::Api, |status| {
                status.detail.contains("the kubeconfig of k3s")
            })
            .await;
        assert!(api.detail.starts_with(problem), "{kind}: {}", api.detail);
        bench.end().await;
    }
}

#[tokio::test]
async fn a_crash_loop_fails_and_a_mended_configuration_ends_it() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    bench
        .configure(&["simulate-fail=no route to the datastore"])
        .await;
    let k3s = bench
        .wait(Rung::K3s, |status| status.state == RungState::Failed)
        .await;
    assert!(
        k3s.detail
            .starts_with("crash loop: exit status: 1 after 2 restarts"),
        "{}",
        k3s.detail
    );
    assert!(
        k3s.tail
            .iter()
            .any(|line| line.contains("no route to the datastore")),
        "{:?}",
        k3s.tail
    );
    bench.configure(&[]).await;
    bench.ready(Rung::Node).await;
    bench.end().await;
}

#[tokio::test]
async fn the_next_agent_finds_everything() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    bench.configure(&[]).await;
    bench.ready(Rung::System).await;
    let pid = bench.k3s_pid();
    let Bench {
        root,
        observer,
        tasks,
        cancel,
        port,
    } = bench;
    cancel.cancel();
    assert!(tasks.join().await);
    drop(observer);
    let paths = K3sPaths::below(root.0.path());
    let runner = Runner::Own {
        binary: simulator().unwrap(),
    };
    let cancel = CancellationToken::new();
    let (observer, tasks) = Observer::start(runner, paths, &cancel);
    let applied = NetworkState::Applied {
        summary: String::new(),
    };
    let told = observer.observations();
    told.send(Observation::Network(applied)).await.unwrap();
    let next = Bench {
        root,
        observer,
        tasks,
        cancel,
        port,
    };
    next.ready(Rung::System).await;
    assert_eq!(next.k3s_pid(), pid);
    assert!(!next.observer.resume_k3s().await.unwrap());
    next.end().await;
}

/// Resident memory of this process with everything watched, for the record: run alone, with
/// `--nocapture`.
#[tokio::test]
async fn memory_when_idle() {
    let Some(bench) = Bench::new().await else {
        return;
    };
    bench.configure(&[]).await;
    bench.ready(Rung::System).await;
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let lines = status
        .lines()
        .filter(|line| line.starts_with("VmRSS") || line.starts_with("RssAnon"));
    eprintln!("{}", lines.collect::<Vec<_>>().join(" "));
    bench.end().await;
}
