//! With shell scripts in place of k3s: what counts here is the life of a process.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use lkc_protocol::message::{Cni, ConfigureK3s};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::k3s::{K3s, Runner};
use crate::readiness::K3sState;

const DEADLINE: Duration = Duration::from_secs(10);

struct Bench {
    root: TempDir,
    paths: K3sPaths,
}

struct Running {
    k3s: K3s,
    observed: mpsc::Receiver<Observation>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Bench {
    /// A k3s that does this when it is run as a server.
    fn new(script: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let binary = root.path().join("k3s");
        let text = format!(
            "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'k3s version v1.33.5+k3s1 (test)'; exit 0; fi\necho \"run $*\"\n{script}\n"
        );
        std::fs::write(&binary, text).unwrap();
        std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
        let paths = K3sPaths::below(root.path());
        Self { root, paths }
    }

    fn start(&self) -> Running {
        let (sender, observed) = mpsc::channel(64);
        let cancel = CancellationToken::new();
        let (k3s, task) = K3s::new(
            Runner::Own {
                binary: self.binary(),
            },
            self.paths.clone(),
            sender,
            cancel.clone(),
        );
        Running {
            k3s,
            observed,
            cancel,
            task: tokio::spawn(task),
        }
    }

    fn binary(&self) -> PathBuf {
        self.root.path().join("k3s")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.paths.log_path).unwrap_or_default()
    }

    fn left_over(&self) -> Option<PidFile> {
        PidFile::read_alive(&self.paths.pid_path())
    }
}

impl Running {
    async fn next(&mut self) -> K3sState {
        let observation = tokio::time::timeout(DEADLINE, self.observed.recv()).await;
        match observation
            .expect("an observation in time")
            .expect("the task runs")
        {
            Observation::K3s(state) => state,
            other => panic!("not of k3s: {other:?}"),
        }
    }

    async fn next_running(&mut self) -> u32 {
        loop {
            if let K3sState::Running {
                pid,
                version,
                simulated,
                ..
            } = self.next().await
            {
                assert_eq!((version.as_str(), simulated), ("k3s v1.33.5+k3s1", false));
                return pid;
            }
        }
    }

    /// Ends the supervisor as the end of the agent does.
    async fn end(self) {
        self.cancel.cancel();
        tokio::time::timeout(DEADLINE, self.task)
            .await
            .unwrap()
            .unwrap();
    }
}

fn absent() -> K3sState {
    K3sState::Absent {
        detail: "not started".to_owned(),
    }
}

fn dropin(node_name: &str) -> Dropin {
    Dropin::new(&ConfigureK3s {
        role: K3sRole::Server,
        node_name: node_name.to_owned(),
        node_ip: "192.100.0.10".to_owned(),
        flannel_interface: None,
        cni: Cni::Default,
        tls_san: Vec::new(),
        disable: Vec::new(),
        settings: Vec::new(),
        server_url: None,
        token: None,
    })
    .unwrap()
}

#[tokio::test]
async fn it_outlives_the_agent_and_is_found_again() {
    let bench = Bench::new("exec sleep 600");
    let mut first = bench.start();
    assert_eq!(first.next().await, absent());
    let outcome = first.k3s.configure(dropin("k3s-dev")).await.unwrap();
    assert_eq!(
        outcome,
        K3sConfigured {
            changed: true,
            started: true
        }
    );
    let pid = first.next_running().await;
    let outcome = first.k3s.configure(dropin("k3s-dev")).await.unwrap();
    assert_eq!(
        outcome,
        K3sConfigured {
            changed: false,
            started: false
        }
    );
    first.end().await;

    let mut second = bench.start();
    assert_eq!(second.next_running().await, pid);
    assert!(!second.k3s.ensure_running(K3sRole::Server).await.unwrap());
    let outcome = second.k3s.configure(dropin("other")).await.unwrap();
    assert_eq!(
        outcome,
        K3sConfigured {
            changed: true,
            started: true
        }
    );
    assert_ne!(
        second.next_running().await,
        pid,
        "another configuration needs another process"
    );
    second.k3s.stop(DEADLINE).await.unwrap();
    assert_eq!(second.next().await, absent());
    second.end().await;
    assert_eq!(bench.left_over(), None);
    assert!(
        bench.log().starts_with("run server --config "),
        "{}",
        bench.log()
    );
}

#[tokio::test]
async fn an_adopted_one_that_ends_is_started_again() {
    let bench = Bench::new("exec sleep 600");
    let mut first = bench.start();
    first.k3s.ensure_running(K3sRole::Server).await.unwrap();
    let pid = first.next_running().await;
    first.end().await;

    let mut second = bench.start();
    second.next_running().await;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid.cast_signed()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    let K3sState::Exited {
        status, restarts, ..
    } = second.next().await
    else {
        panic!("it ended")
    };
    assert!(status.starts_with("exit status unknown"), "{status}");
    assert_eq!(restarts, 0);
    assert_ne!(second.next_running().await, pid);
    second.k3s.stop(DEADLINE).await.unwrap();
    second.end().await;
}

#[tokio::test]
async fn a_crash_loop_is_told_with_the_log() {
    let bench = Bench::new("echo 'level=fatal msg=\"bad flag\"' >&2; exit 3");
    let mut running = bench.start();
    running.k3s.ensure_running(K3sRole::Server).await.unwrap();
    let begun = Instant::now();
    let (status, restarts, tail) = loop {
        match running.next().await {
            K3sState::CrashLoop {
                status,
                restarts,
                tail,
            } => break (status, restarts, tail),
            K3sState::Exited { status, tail, .. } => {
                assert_eq!(status, "exit status: 3");
                assert!(tail.iter().any(|line| line.contains("bad flag")));
            }
            _ => {}
        }
    };
    assert!(begun.elapsed() < Duration::from_secs(8));
    assert_eq!((status.as_str(), restarts), ("exit status: 3", 2));
    assert_eq!(
        tail.iter().filter(|line| line.contains("bad flag")).count(),
        3
    );

    mend(&bench.binary());
    assert!(
        running.k3s.ensure_running(K3sRole::Server).await.unwrap(),
        "a request starts it at once"
    );
    running.next_running().await;
    running.k3s.stop(DEADLINE).await.unwrap();
    running.end().await;
}

/// Makes the program one that runs.
fn mend(binary: &Path) {
    let text = std::fs::read_to_string(binary)
        .unwrap()
        .replace("exit 3", "exec sleep 600");
    let new = binary.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(new, binary).unwrap();
}

#[tokio::test]
async fn what_does_not_end_is_killed_with_its_group() {
    let bench = Bench::new("trap '' TERM; sleep 600 & echo child $!; while :; do wait; done");
    let mut running = bench.start();
    running.k3s.ensure_running(K3sRole::Server).await.unwrap();
    running.next_running().await;
    let id = pid_file::ProcessId::of(wait_for_child(&bench).await).unwrap();
    let mut child = K3sChild::adopt(id).unwrap().expect("it runs");
    running.k3s.stop(Duration::from_millis(100)).await.unwrap();
    running.end().await;
    assert_eq!(bench.left_over(), None);
    let gone = tokio::time::timeout(DEADLINE, child.ended()).await;
    assert!(gone.is_ok(), "its children are gone too");
}

async fn wait_for_child(bench: &Bench) -> u32 {
    let mut watch = crate::observe::FileWatch::new(&bench.paths.log_path).unwrap();
    let found = async {
        loop {
            let log = bench.log();
            if let Some(pid) = log.lines().find_map(|line| line.strip_prefix("child ")) {
                return pid.parse().unwrap();
            }
            watch.changed().await.unwrap();
        }
    };
    tokio::time::timeout(DEADLINE, found).await.unwrap()
}

#[tokio::test]
async fn a_program_that_is_not_there_is_said_so() {
    let bench = Bench::new("");
    std::fs::remove_file(bench.binary()).unwrap();
    let mut running = bench.start();
    assert_eq!(running.next().await, absent());
    let error = running
        .k3s
        .ensure_running(K3sRole::Server)
        .await
        .unwrap_err();
    let binary = bench.binary();
    let expected = format!(
        "cannot start k3s: cannot run {}: No such file or directory (os error 2)",
        binary.display()
    );
    assert_eq!(describe(&error), expected);
    assert_eq!(running.next().await, K3sState::Starting);
    assert_eq!(
        running.next().await,
        K3sState::Failed {
            error: expected,
            tail: Vec::new()
        }
    );
    running.end().await;
}
