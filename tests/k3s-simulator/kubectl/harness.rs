//! A simulator in a process and a directory of its own, and kubectl with its kubeconfig.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
const ARGUMENTS: &str = "K3S_SIMULATOR_TEST_ARGUMENTS";
const SEPARATOR: &str = "\u{1f}";

/// The body of the child process: this test binary, run again with only this test. Among the
/// other tests it has nothing to do.
#[test]
fn server_process() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else {
        return;
    };
    let arguments = std::iter::once("k3s-simulator")
        .chain(arguments.split(SEPARATOR))
        .map(str::to_owned);
    let code = crate::command::run(arguments);
    assert_eq!(
        code,
        std::process::ExitCode::SUCCESS,
        "the server ended with an error"
    );
}

/// What the server wrote so far, and whether it has ended.
#[derive(Default)]
struct Log {
    state: Mutex<(String, bool)>,
    changed: Condvar,
}

impl Log {
    fn follow(self: Arc<Self>, output: impl std::io::Read) {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let mut state = self.state.lock().unwrap();
            state.0.push_str(&line);
            state.0.push('\n');
            self.changed.notify_all();
        }
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }

    fn wait(&self, what: &str, is_so: impl Fn(&str, bool) -> bool) {
        let state = self.state.lock().unwrap();
        let waiting = |state: &mut (String, bool)| !is_so(&state.0, state.1);
        let (state, timeout) = self
            .changed
            .wait_timeout_while(state, PATIENCE, waiting)
            .unwrap();
        assert!(
            !timeout.timed_out(),
            "not in {PATIENCE:?}: {what}\n{}",
            state.0
        );
    }
}

pub(super) struct Simulator {
    child: Child,
    log: Arc<Log>,
    follower: Option<JoinHandle<()>>,
    pub(super) port: u16,
    pub(super) directory: TempDir,
}

impl Simulator {
    /// None, with a word about it, where there is no kubectl.
    pub(super) fn start_for_kubectl(flags: &[&str]) -> Option<Self> {
        if Command::new("kubectl")
            .args(["version", "--client"])
            .output()
            .is_err()
        {
            eprintln!("skipped: kubectl is not on PATH");
            return None;
        }
        let simulator = Self::start(flags);
        simulator.wait_until_up();
        Some(simulator)
    }

    pub(super) fn start(flags: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), free_port(), flags)
    }

    pub(super) fn start_in(directory: TempDir, port: u16, flags: &[&str]) -> Self {
        let config = directory.path().join("config.yaml");
        std::fs::write(
            &config,
            "node-name: k3s-dev\nnode-ip: 127.0.0.1\nbind-address: 127.0.0.1\n",
        )
        .unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let mut arguments: Vec<String> = [
            "server",
            "--config",
            &path("config.yaml"),
            "--data-dir",
            &path("data"),
        ]
        .into_iter()
        .chain([
            "--write-kubeconfig",
            &path("k3s.yaml"),
            "--https-listen-port",
            &port.to_string(),
        ])
        .map(str::to_owned)
        .collect();
        arguments.extend(flags.iter().map(|&flag| flag.to_owned()));
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "kubectl::harness::server_process",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(ARGUMENTS, arguments.join(SEPARATOR))
            .env("NOTIFY_SOCKET", directory.path().join("notify"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Log::default());
        let output = child.stderr.take().unwrap();
        let follower = std::thread::spawn({
            let log = log.clone();
            move || log.follow(output)
        });
        Self {
            child,
            log,
            follower: Some(follower),
            port,
            directory,
        }
    }

    pub(super) fn write(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("k3s.yaml")
    }

    pub(super) fn log(&self) -> String {
        self.log.state.lock().unwrap().0.clone()
    }

    pub(super) fn wait_for_log(&self, text: &str) {
        self.log.wait(text, |log, _| log.contains(text));
    }

    pub(super) fn wait_until_up(&self) {
        self.wait_for_log("k3s is up and running");
    }

    pub(super) fn kubectl(&self, arguments: &[&str]) -> Finished {
        let output = self.command(arguments).output().unwrap();
        Finished {
            what: format!("kubectl {}", arguments.join(" ")),
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The lines of a kubectl that does not end, up to the one that is wanted.
    pub(super) fn kubectl_until(
        &self,
        arguments: &[&str],
        is_wanted: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let mut child = self
            .command(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let (sender, receiver) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let deadline = Instant::now() + PATIENCE;
        let mut lines = Vec::new();
        while let Ok(line) =
            receiver.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            let found = is_wanted(&line);
            lines.push(line);
            if found {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        drop(receiver);
        reader.join().unwrap();
        assert!(
            lines.last().is_some_and(|line| is_wanted(line)),
            "{lines:?}"
        );
        lines
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(arguments);
        command
            .env("HOME", self.directory.path())
            .env("KUBECACHEDIR", self.directory.path().join("cache"));
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        command
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill(
            Pid::from_raw(i32::try_from(self.child.id()).unwrap()),
            signal,
        )
        .unwrap();
    }

    pub(super) fn wait(&mut self) -> ExitStatus {
        self.log.wait("the server ends", |_, has_ended| has_ended);
        self.child.wait().unwrap()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(follower) = self.follower.take() {
            let _ = follower.join();
        }
    }
}

#[must_use = "say whether it had to succeed or to fail"]
pub(super) struct Finished {
    what: String,
    pub(super) status: ExitStatus,
    stdout: String,
    stderr: String,
}

impl Finished {
    pub(super) fn succeeds(self) -> String {
        assert!(self.status.success(), "{}: {}", self.what, self.stderr);
        self.stdout
    }

    pub(super) fn fails(self) -> String {
        assert!(!self.status.success(), "{}: {}", self.what, self.stdout);
        self.stderr
    }
}

/// A port that nobody had a moment ago.
pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
