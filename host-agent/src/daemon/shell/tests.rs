//! The shell around a state without clusters, and what it finds on disk.

mod hostile_descriptor;

use std::{ffi::OsString, fs, path::Path};

use super::*;
use crate::{
    control::Phase,
    daemon::state::{BindPurpose, ClusterRequest, tests::spec},
    error::Kind,
};

/// Longest wait of a test for anything.
const LIMIT: Duration = Duration::from_secs(20);

fn paths(home: &Path) -> Paths {
    let lookup = |name: &str| match name {
        "HOME" => Some(OsString::from(home)),
        "XDG_RUNTIME_DIR" => Some(home.join("run").into_os_string()),
        _ => None,
    };
    Paths::from_env(&lookup, nix::unistd::geteuid().as_raw()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_with_nothing_to_look_after_ends_itself() {
    let home = tempfile::tempdir().unwrap();
    let stop = CancellationToken::new();
    let (shell, handle) = Shell::new(paths(home.path()), stop.clone());
    let idle = Duration::from_millis(20);
    timeout(LIMIT, shell.run(idle)).await.expect("it stays");
    assert!(stop.is_cancelled(), "the others are not told");
    let name = "k3s-dev".parse().unwrap();
    let late = handle.ask(ClusterRequest::Down(name)).await.unwrap_err();
    assert_eq!(
        (late.kind, late.message.as_str()),
        (Kind::Unreachable, "the daemon is ending")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_on_disk_is_taken_over_and_what_is_broken_passed_over() {
    let home = tempfile::tempdir().unwrap();
    let paths = paths(home.path());
    for name in ["k3s-dev", "broken", "renamed"] {
        provision::persist(&paths, &spec(name, 0)).unwrap();
    }
    let file = |name: &str| paths.cluster(&name.parse().unwrap()).spec();
    fs::write(file("broken"), "{").unwrap();
    fs::copy(file("k3s-dev"), file("renamed")).unwrap();
    let (mut shell, handle) = Shell::new(paths.clone(), CancellationToken::new());
    shell.restore().await;
    let views = handle.views().borrow().clone();
    let phases: Vec<_> = views
        .values()
        .map(|view| (view.status.name.as_str(), view.status.phase))
        .collect();
    assert_eq!(phases, [("k3s-dev", Phase::Down)]);
    assert!(shell.state.is_idle());
}

#[tokio::test]
async fn a_task_that_panics_is_reported_in_its_place() {
    let (events, mut reports) = mpsc::channel(4);
    let cluster: ClusterName = "k3s-dev".parse().unwrap();
    let reporter = Reporter {
        cluster: cluster.clone(),
        run: 3,
        events,
    };
    let tasks = TaskTracker::new();
    let token = CancellationToken::new();
    let hands = Hands::new(cluster, Arc::default(), tasks.clone(), token);
    let panics = async { assert!(reports_nothing(), "as it was meant to") };
    hands.spawn(&reporter, Report::MachineFailed, panics);
    let event = timeout(LIMIT, reports.recv()).await.expect("no report");
    let Some(Event::Reported { run, report, .. }) = event else {
        panic!("{event:?}");
    };
    assert!(matches!(report, Report::MachineFailed(failure) if failure.kind == Kind::Bug));
    assert_eq!(run, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_comes_when_what_was_removed_refuses_connections() {
    let home = tempfile::tempdir().unwrap();
    let (mut shell, _handle) = Shell::new(paths(home.path()), CancellationToken::new());
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut forward = spec("k3s-dev", 0).forwards.swap_remove(0);
    forward.bind = vec![address.ip()];
    forward.host_port = address.port();
    let cluster = "k3s-dev".parse().unwrap();
    let begun = Begun {
        run: 1,
        changed: true,
    };
    for round in 0..100 {
        let bind = Task::BindForwards {
            purpose: BindPurpose::Up,
            forwards: vec![forward.clone()],
            index: 0,
        };
        let bound = shell.perform(&cluster, 1, bind);
        assert!(
            matches!(bound, Some(Report::ForwardsBound { .. })),
            "round {round}: {bound:?}"
        );
        shell.perform(&cluster, 1, Task::UnbindForwards(vec![forward.clone()]));
        let (place, answered) = oneshot::channel();
        shell.answers.insert(round, place);
        shell.execute(Action::Answer {
            ticket: round,
            answer: Ok(begun),
        });
        timeout(LIMIT, answered).await.unwrap().unwrap().unwrap();
        let connected = std::net::TcpStream::connect(address);
        let refused = connected.expect_err("it is removed").kind();
        assert_eq!(refused, std::io::ErrorKind::ConnectionRefused);
    }
}

fn reports_nothing() -> bool {
    std::hint::black_box(false)
}
