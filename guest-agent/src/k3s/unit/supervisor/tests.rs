//! With a systemd that answers as it is told, and writes down what is asked of it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use futures::{Stream, StreamExt as _};
use lkc_protocol::message::{Cni, ConfigureK3s, K3sRole, LogEntry, LogLine};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;
use crate::k3s::unit::tests::standing;
use crate::k3s::unit::{Begin, Cursor};
use crate::k3s::{K3s, Runner};

const DEADLINE: Duration = Duration::from_secs(10);

const JOURNALCTL: &str = r#"#!/bin/sh
cd "${0%/*}" || exit 9
echo "$*" >> asked-journal
case "$*" in
*--output=cat*) cat journal || exit 1;;
*--cursor=*i=2*) sed -n '/;i=2;/,$p' exported || exit 1;;
*) cat exported || exit 1;;
esac
case "$*" in *--follow*) echo $$ > follower; exec sleep 600;; esac
"#;

#[derive(Clone, Default)]
struct Scripted {
    script: Arc<Mutex<Script>>,
    news: Arc<Notify>,
}

#[derive(Default)]
struct Script {
    /// None when it cannot be asked.
    shown: Option<Status>,
    /// Where the unit stands once a job was asked for.
    after: HashMap<&'static str, Status>,
    refused: Option<Job>,
    asked: Vec<&'static str>,
}

impl Scripted {
    fn with<T>(&self, change: impl FnOnce(&mut Script) -> T) -> T {
        let done = change(&mut self.script.lock().unwrap());
        self.news.notify_one();
        done
    }
}

impl Systemd for Scripted {
    async fn status(&mut self) -> Result<Status, SystemdError> {
        let shown = self.script.lock().unwrap().shown.clone();
        shown.ok_or(SystemdError::NoBus)
    }

    async fn begin(&mut self, job: Job) -> Result<(), SystemdError> {
        let mut script = self.script.lock().unwrap();
        script.asked.push(job.in_words());
        if script.refused == Some(job) {
            return Err(SystemdError::Slow);
        }
        if let Some(status) = script.after.remove(job.in_words()) {
            script.shown = Some(status);
        }
        Ok(())
    }

    async fn word(&mut self) -> Word {
        self.news.notified().await;
        Word::Changed
    }
}

struct Bench {
    root: TempDir,
    systemd: Scripted,
    k3s: K3s,
    observed: mpsc::Receiver<Observation>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

const STOPPED: [(&str, &str); 3] = [
    ("MainPID", "0"),
    ("ActiveState", "inactive"),
    ("SubState", "dead"),
];

/// The place of an entry of the journal.
fn place(number: u32) -> String {
    format!("s=1;i={number};b=b0;m={number};t=7;x=ab")
}

/// The journal as it is exported.
fn exported() -> Vec<u8> {
    let entry = |(number, text): (u32, &str)| {
        let mut bytes = format!("__CURSOR={}\nMESSAGE\n", place(number)).into_bytes();
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(format!("{text}\n\n").into_bytes());
        bytes
    };
    let entries = [(1, "one"), (2, "two \u{1b}[31m"), (3, "three\nand on")];
    entries.map(entry).concat()
}

impl Bench {
    fn new(shown: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("journalctl");
        fs::write(&path, JOURNALCTL).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(root.path().join("journal"), "one\ntwo \u{1b}[31m\n").unwrap();
        fs::write(root.path().join("exported"), exported()).unwrap();
        let (sender, observed) = mpsc::channel(64);
        let cancel = CancellationToken::new();
        let (k3s, requests) = K3s::asking();
        let systemd = Scripted::default();
        systemd.with(|script| script.shown = Some(standing(shown)));
        let supervisor = Supervisor::new(
            systemd.clone(),
            unit(root.path()),
            K3sPaths::below(root.path()),
            sender,
            cancel.clone(),
        );
        Self {
            root,
            systemd,
            k3s,
            observed,
            cancel,
            task: tokio::spawn(supervisor.run(requests)),
        }
    }

    /// What systemd answers from now on, or after it was asked for a job.
    fn answer(&self, job: Option<Job>, changes: &[(&str, &str)]) {
        let status = standing(changes);
        self.systemd.with(|script| match job {
            None => script.shown = Some(status),
            Some(job) => drop(script.after.insert(job.in_words(), status)),
        });
    }

    async fn next(&mut self) -> K3sState {
        let observation = tokio::time::timeout(DEADLINE, self.observed.recv()).await;
        match observation.expect("in time").expect("the task runs") {
            Observation::K3s(state) => state,
            other => panic!("not of k3s: {other:?}"),
        }
    }

    fn asked(&self) -> Vec<&'static str> {
        self.systemd.with(|script| script.asked.clone())
    }

    async fn end(self) {
        self.cancel.cancel();
        tokio::time::timeout(DEADLINE, self.task)
            .await
            .unwrap()
            .unwrap();
    }
}

fn unit(directory: &Path) -> Unit {
    "k3s".parse::<Unit>().unwrap().with_tools(directory)
}

/// A process in place of k3s', and a program that says k3s' version.
fn main_process(directory: &Path) -> (Child, u32, String) {
    let child = Command::new("sleep")
        .arg("600")
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pid = child.id().unwrap();
    let program = directory.join("k3s");
    fs::write(&program, "#!/bin/sh\necho 'k3s version v1.33.5+k3s1 (x)'\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    (child, pid, program.display().to_string())
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

fn running(pid: u32, restarts: u32) -> K3sState {
    K3sState::Running {
        pid,
        version: "k3s v1.33.5+k3s1".to_owned(),
        simulated: false,
        restarts,
    }
}

fn absent(detail: &str) -> K3sState {
    K3sState::Absent {
        detail: detail.to_owned(),
    }
}

#[tokio::test]
async fn it_is_started_restarted_and_stopped_by_systemd() {
    let mut bench = Bench::new(&STOPPED);
    assert_eq!(bench.next().await, absent("k3s.service is not started"));
    let (_first, pid, started) = main_process(bench.root.path());
    let text = pid.to_string();
    bench.answer(
        Some(Job::Start),
        &[("MainPID", &text), ("ExecStart", &started)],
    );
    let both = K3sConfigured {
        changed: true,
        started: true,
    };
    assert_eq!(bench.k3s.configure(dropin("k3s-dev")).await.unwrap(), both);
    assert_eq!(bench.next().await, K3sState::Starting);
    assert_eq!(bench.next().await, running(pid, 0));
    let neither = K3sConfigured {
        changed: false,
        started: false,
    };
    let again = bench.k3s.configure(dropin("k3s-dev")).await.unwrap();
    assert_eq!(again, neither);
    assert_eq!(bench.asked(), ["start"]);

    let (mut second, pid, started) = main_process(bench.root.path());
    let text = pid.to_string();
    bench.answer(
        Some(Job::Restart),
        &[("MainPID", &text), ("ExecStart", &started)],
    );
    assert_eq!(bench.k3s.configure(dropin("other")).await.unwrap(), both);
    assert_eq!(bench.next().await, K3sState::Starting);
    assert_eq!(bench.next().await, running(pid, 0));
    assert_eq!(bench.asked()[1..], ["restart"]);

    bench.answer(Some(Job::Stop), &STOPPED);
    let stop = bench.k3s.stop(DEADLINE);
    let (stopped, ()) = tokio::join!(stop, async {
        second.kill().await.unwrap();
    });
    stopped.unwrap();
    assert_eq!(bench.asked()[2..], ["stop"]);
    assert_eq!(bench.next().await, absent("k3s.service is not started"));
    bench.end().await;
}

#[tokio::test]
async fn a_restart_that_was_not_made_is_made_up_for() {
    let bench = Bench::new(&STOPPED);
    let (_child, pid, started) = main_process(bench.root.path());
    let text = pid.to_string();
    bench.answer(None, &[("MainPID", &text), ("ExecStart", &started)]);
    bench
        .systemd
        .with(|script| script.refused = Some(Job::Restart));
    let error = bench.k3s.configure(dropin("k3s-dev")).await.unwrap_err();
    assert_eq!(error.to_string(), "systemd gives no answer within 10 s");
    bench.systemd.with(|script| script.refused = None);
    let configured = bench.k3s.configure(dropin("k3s-dev")).await.unwrap();
    assert_eq!(
        configured,
        K3sConfigured {
            changed: false,
            started: true
        }
    );
    assert_eq!(bench.asked().len(), 2);
    bench.end().await;
}

#[tokio::test]
async fn its_end_is_heard_of_and_told_with_the_journal() {
    let mut bench = Bench::new(&STOPPED);
    bench.next().await;
    let (mut child, pid, started) = main_process(bench.root.path());
    let text = pid.to_string();
    bench.answer(None, &[("MainPID", &text), ("ExecStart", &started)]);
    assert_eq!(bench.next().await, running(pid, 0), "somebody started it");
    bench.answer(
        None,
        &[
            ("MainPID", "0"),
            ("ActiveState", "failed"),
            ("SubState", "failed"),
            ("Result", "start-limit-hit"),
            ("NRestarts", "5"),
            ("Exited", "3"),
        ],
    );
    child.kill().await.unwrap();
    assert_eq!(
        bench.next().await,
        K3sState::CrashLoop {
            status: "exit status: 3, start-limit-hit".to_owned(),
            restarts: 5,
            tail: vec!["one".to_owned(), "two \\u{1b}[31m".to_owned()],
        }
    );
    let journal = fs::read_to_string(bench.root.path().join("asked-journal")).unwrap();
    assert_eq!(
        journal.trim_end(),
        "--unit=k3s.service --lines=20 --output=cat --no-pager --quiet"
    );
    let (_child, pid, started) = main_process(bench.root.path());
    let text = pid.to_string();
    bench.answer(
        Some(Job::Start),
        &[("MainPID", &text), ("ExecStart", &started)],
    );
    assert!(bench.k3s.ensure_running(K3sRole::Server).await.unwrap());
    assert_eq!(bench.asked(), ["forget the failures of", "start"]);
    assert_eq!(bench.next().await, K3sState::Starting);
    assert_eq!(bench.next().await, running(pid, 0));
    bench.end().await;
}

#[tokio::test]
async fn what_is_missing_is_said() {
    let mut bench = Bench::new(&[
        ("LoadState", "not-found"),
        ("ActiveState", "inactive"),
        ("MainPID", "0"),
    ]);
    let missing = absent(
        "there is no unit k3s.service: install k3s in the guest, or name its unit with --k3s-unit",
    );
    assert_eq!(bench.next().await, missing);
    let configured = bench.k3s.configure(dropin("k3s-dev")).await.unwrap();
    assert!(configured.changed && !configured.started);
    assert_eq!(bench.asked(), [""; 0]);

    bench.systemd.with(|script| script.shown = None);
    let error = "systemd cannot be asked: there is no /run/dbus/system_bus_socket; install D-Bus in the guest";
    let failed = K3sState::Failed {
        error: error.to_owned(),
        tail: Vec::new(),
    };
    assert_eq!(bench.next().await, failed);
    let refused = bench.k3s.configure(dropin("k3s-dev")).await.unwrap_err();
    assert_eq!(describe(&refused), error);
    bench.end().await;
}

#[tokio::test]
async fn nobody_to_run_it() {
    let (sender, mut observed) = mpsc::channel(8);
    let cancel = CancellationToken::new();
    let runner = Runner::Nobody {
        why: "no systemd".to_owned(),
    };
    let (k3s, task) = K3s::new(runner, K3sPaths::usual(), sender, cancel.clone());
    let task = tokio::spawn(task);
    let failed = K3sState::Failed {
        error: "no systemd".to_owned(),
        tail: Vec::new(),
    };
    assert_eq!(observed.recv().await, Some(Observation::K3s(failed)));
    let error = k3s.ensure_running(K3sRole::Server).await.unwrap_err();
    assert_eq!(error.to_string(), "no systemd");
    assert!(k3s.configure(dropin("k3s-dev")).await.is_err());
    k3s.stop(DEADLINE).await.unwrap();
    cancel.cancel();
    task.await.unwrap();
}

#[tokio::test]
async fn its_log_is_the_journal() {
    let bench = Bench::new(&STOPPED);
    let unit = unit(bench.root.path());
    let past: Vec<LogLine> = unit
        .clone()
        .log(5, false)
        .map(|line| line.unwrap())
        .collect()
        .await;
    let past: Vec<&str> = past.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(past, ["one", "two \u{1b}[31m", "three", "and on"]);

    let follower = {
        let mut lines = pin!(unit.clone().log(5, true));
        assert_eq!(next_line(&mut lines).await, "one");
        assert_eq!(next_line(&mut lines).await, "two \u{1b}[31m");
        let path = bench.root.path().join("follower");
        let mut watch = crate::observe::FileWatch::new(&path).unwrap();
        let written = async {
            loop {
                let text = fs::read_to_string(&path).unwrap_or_default();
                if let Ok(pid) = text.trim_end().parse::<u32>() {
                    return pid;
                }
                watch.changed().await.unwrap();
            }
        };
        let pid = tokio::time::timeout(DEADLINE, written).await.unwrap();
        Pidfd::open(pid).unwrap().expect("it follows")
    };
    let ended = tokio::time::timeout(DEADLINE, follower.ended()).await;
    ended.expect("it ends with the stream").unwrap();

    fs::remove_file(bench.root.path().join("exported")).unwrap();
    let failed: Vec<_> = unit.log(5, false).collect().await;
    let [Err(error)] = failed.as_slice() else {
        panic!("{failed:?}")
    };
    assert!(
        error
            .to_string()
            .starts_with("journalctl: exit status: 1 cat: "),
        "{error}"
    );
    bench.end().await;
}

#[tokio::test]
async fn its_log_goes_on_behind_an_entry() {
    let bench = Bench::new(&STOPPED);
    let unit = unit(bench.root.path());
    let second: Cursor = place(2).parse().unwrap();
    let (begin, complete) = unit.behind(second.clone(), "b0").await;
    assert_eq!((&begin, complete), (&Begin::Behind(second), true));
    let entries: Vec<LogEntry> = unit
        .clone()
        .entries(begin, false)
        .map(|entry| entry.unwrap())
        .collect()
        .await;
    let third = LogEntry {
        place: place(3),
        text: "three\nand on".to_owned(),
    };
    assert_eq!(entries, [third]);
    assert_eq!(
        unit.last_entry().await.unwrap(),
        Some(place(1).parse().unwrap()),
        "the first of a journal in reverse"
    );

    // One that the journal has dropped: what is left of what followed it, all of it.
    let gone: Cursor = "s=1;i=0;b=b0;m=0;t=7;x=ab".parse().unwrap();
    let (begin, complete) = unit.behind(gone.clone(), "b0").await;
    assert_eq!((&begin, complete), (&Begin::Behind(gone.clone()), false));
    let entries: Vec<_> = unit.clone().entries(begin, false).collect().await;
    assert_eq!(entries.len(), 3);
    let of_another_boot = unit.behind(gone, "b1").await;
    assert_eq!(of_another_boot, (Begin::Boot, false));
    bench.end().await;
}

async fn next_line(lines: &mut (impl Stream<Item = std::io::Result<LogLine>> + Unpin)) -> String {
    let line = tokio::time::timeout(DEADLINE, lines.next()).await;
    line.unwrap().unwrap().unwrap().text
}
