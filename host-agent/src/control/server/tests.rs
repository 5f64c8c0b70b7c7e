//! The server with a daemon behind it that has no cluster, and clients on a real socket.

use std::{ffi::OsString, os::unix::fs::MetadataExt, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    control::{Call, DaemonInfo, Failure, Goal, MAX_LINE, Reply, Request, client::Client},
    daemon::{self, state::tests::spec},
};

/// Longest wait of a test for anything.
const LIMIT: Duration = Duration::from_secs(20);

/// A daemon in this process, in a home of its own.
struct Bench {
    paths: Paths,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    _home: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let lookup = |name: &str| match name {
            "HOME" => Some(OsString::from(home.path())),
            "XDG_RUNTIME_DIR" => Some(home.path().join("run").into_os_string()),
            _ => None,
        };
        let paths = Paths::from_env(&lookup, nix::unistd::geteuid().as_raw()).unwrap();
        private::private_dir(paths.state_dir(), paths.uid()).unwrap();
        private::private_dir(paths.runtime_dir(), paths.uid()).unwrap();
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let server = Server::bind(&paths).unwrap();
        let (running, handle) = daemon::for_tests(&paths, &stop);
        tasks.spawn(running);
        let served = stop.clone();
        tasks.spawn(async move { server.serve(handle, &served).await });
        Self {
            paths,
            stop,
            tasks,
            _home: home,
        }
    }

    async fn client(&self) -> Client {
        Client::connect_existing(&self.paths).await.unwrap()
    }

    /// The last error of a request that cannot succeed here.
    async fn refused(&self, request: Request) -> CommandError {
        let mut replies = self.client().await.call(request).await.unwrap();
        loop {
            match timeout(LIMIT, replies.next()).await.expect("no reply") {
                Ok(Reply::Done(done)) => panic!("done: {done:?}"),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }

    /// Says `bytes` and hears what comes until the server closes.
    async fn raw(&self, bytes: &[u8]) -> Vec<Reply> {
        let stream = UnixStream::connect(self.paths.control_socket())
            .await
            .unwrap();
        let (reader, mut writer) = stream.into_split();
        // The server may have heard enough before all is said.
        let _ = writer.write_all(bytes).await;
        let mut lines = BufReader::new(reader).lines();
        let mut replies = Vec::new();
        while let Ok(Some(line)) = timeout(LIMIT, lines.next_line()).await.expect("no end") {
            replies.push(serde_json::from_str(&line).unwrap());
        }
        replies
    }

    /// Stops the daemon; fails when something of it is left.
    async fn end(mut self) {
        self.stop.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        timeout(LIMIT, all).await.expect("the daemon does not end");
        assert!(!self.paths.control_socket().exists(), "a socket is left");
    }
}

fn name() -> crate::config::ClusterName {
    "k3s-dev".parse().unwrap()
}

fn only_failure(replies: &[Reply]) -> &Failure {
    match replies {
        [Reply::Failed(failure)] => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_learns_who_the_daemon_is() {
    let bench = Bench::new();
    let DaemonInfo {
        version,
        pid,
        clusters,
        ..
    } = bench.client().await.daemon().await.unwrap();
    assert_eq!(
        (version.as_str(), pid, clusters),
        (env!("CARGO_PKG_VERSION"), std::process::id(), 0)
    );
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_is_nobody_elses() {
    let bench = Bench::new();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(&bench.paths.control_socket()), 0o600);
    assert_eq!(mode(bench.paths.runtime_dir()), 0o700);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_is_not_there_is_not_found() {
    let bench = Bench::new();
    let goals = vec!["node".parse::<Goal>().unwrap()];
    for request in [
        Request::Down { cluster: name() },
        Request::Delete { cluster: name() },
        Request::Restart {
            cluster: name(),
            goal: None,
            timeout_ms: 1000,
        },
        Request::Status {
            cluster: Some(name()),
            follow: true,
            node: false,
        },
        Request::Wait {
            cluster: name(),
            goals,
            timeout_ms: 1000,
        },
        Request::Logs {
            cluster: name(),
            source: lkc_protocol::message::LogSource::K3s,
            tail: 1,
            follow: false,
        },
        Request::RemoveForward {
            cluster: name(),
            forward: "api".to_owned(),
        },
    ] {
        let error = bench.refused(request).await;
        assert_eq!(error.kind, Kind::NotFound);
        assert_eq!(error.to_string(), "there is no cluster k3s-dev");
        assert!(!error.hints.is_empty());
    }
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_ends_up_at_once_and_names_port_and_holder() {
    let bench = Bench::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut spec = spec("k3s-dev", 0);
    spec.forwards.truncate(1);
    spec.forwards[0].host_port = port;
    let request = Request::Up {
        spec: Box::new(spec),
        goal: Some("node".parse().unwrap()),
        timeout_ms: 60_000,
    };
    let error = bench.refused(request).await;
    assert_eq!(error.kind, Kind::Conflict);
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("port {port} of forward api is taken by ")),
        "{text}"
    );
    if Path::new("/proc/net/tcp").exists() {
        assert!(
            text.ends_with(&format!("(pid {})", std::process::id())),
            "{text}"
        );
    }
    // The port was chosen, so another index would not move it.
    assert!(error.hints[0].contains("another port"), "{:?}", error.hints);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_make_no_sense_get_an_answer() {
    let bench = Bench::new();
    let long = vec![b'x'; MAX_LINE + 10];
    for (line, message) in [
        (
            &b"hello\n"[..],
            "the daemon cannot use the client's line: expected value",
        ),
        (
            b"{\"version\":\"0.1.0\",\"request\":{\"type\":\"dance\"}}\n",
            "the daemon cannot use the client's line: unknown variant",
        ),
        (
            &long,
            "the daemon cannot use the client's line: it is longer than 1048576 bytes",
        ),
    ] {
        let replies = bench.raw(line).await;
        let failure = only_failure(&replies);
        assert_eq!(failure.kind, Kind::BadInput);
        assert!(failure.message.starts_with(message), "{}", failure.message);
    }
    assert!(
        bench.client().await.daemon().await.is_ok(),
        "it serves the next one"
    );
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_version_is_told_so_even_when_it_speaks_another_language() {
    let bench = Bench::new();
    let known = serde_json::to_string(&Call {
        version: "9.9.9".to_owned(),
        ssh_agent: None,
        request: Request::Down { cluster: name() },
    });
    for line in [
        known.unwrap(),
        "{\"version\":\"9.9.9\",\"request\":{\"type\":\"dance\"}}".to_owned(),
    ] {
        let replies = bench.raw(format!("{line}\n").as_bytes()).await;
        let failure = only_failure(&replies);
        assert_eq!(failure.kind, Kind::Version);
        assert_eq!(
            failure.message,
            format!(
                "the daemon is version {}, this program is 9.9.9",
                env!("CARGO_PKG_VERSION")
            )
        );
    }
    let stop = Call {
        version: "9.9.9".to_owned(),
        ssh_agent: None,
        request: Request::Daemon,
    };
    let line = format!("{}\n", serde_json::to_string(&stop).unwrap());
    assert!(matches!(
        &bench.raw(line.as_bytes()).await[..],
        [Reply::Daemon(_), Reply::Done(_)]
    ));
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_told_and_let_go() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let home = tempfile::tempdir().unwrap();
    let lookup = |_: &str| Some(OsString::from(home.path()));
    let paths = Paths::from_env(&lookup, 0).unwrap();
    let stop = CancellationToken::new();
    let (_running, handle) = daemon::for_tests(&paths, &stop);
    Conversation::new(theirs, handle).hold(stop).await;
    let mut text = String::new();
    let mut ours = ours;
    ours.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("none came within 5 s"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_ends_the_daemon_after_it_has_said_so() {
    let mut bench = Bench::new();
    let mut replies = bench
        .client()
        .await
        .call(Request::StopDaemon)
        .await
        .unwrap();
    assert!(matches!(replies.next().await, Ok(Reply::Done(done)) if done.changed));
    let all = async { while bench.tasks.join_next().await.is_some() {} };
    timeout(LIMIT, all).await.expect("the daemon does not end");
    let error = Client::connect_existing(&bench.paths).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_ends_while_it_is_followed_leaves_a_clear_word() {
    let mut bench = Bench::new();
    let follow = Request::Status {
        cluster: None,
        follow: true,
        node: false,
    };
    let mut replies = bench.client().await.call(follow).await.unwrap();
    bench.stop.cancel();
    let error = timeout(LIMIT, replies.next())
        .await
        .expect("no end")
        .unwrap_err();
    assert_eq!(error.kind, Kind::Unreachable);
    assert_eq!(error.to_string(), "the daemon ended before it answered");
    let all = async { while bench.tasks.join_next().await.is_some() {} };
    timeout(LIMIT, all).await.expect("the daemon does not end");
}
