use lkc_protocol::message::{Change, K3sRole, Rung, RungState};
use proptest::prelude::*;

use super::*;

fn ladder() -> Ladder {
    Ladder::new(config(K3sRole::Server), Instant::now())
}

fn config(role: K3sRole) -> LadderConfig {
    LadderConfig {
        role,
        node_name: "k3s-dev".to_owned(),
    }
}

fn applied() -> Observation {
    Observation::Network(NetworkState::Applied {
        summary: "192.100.0.10/24 on eth0".to_owned(),
    })
}

fn running(simulated: bool) -> Observation {
    Observation::K3s(K3sState::Running {
        pid: 42,
        version: "k3s v1.33.5+k3s1".to_owned(),
        simulated,
        restarts: 0,
    })
}

fn system(available: usize, waiting: &[&str]) -> Observation {
    let waiting: Vec<String> = waiting.iter().map(|name| (*name).to_owned()).collect();
    Observation::System(SystemState {
        available,
        total: available + waiting.len(),
        waiting,
    })
}

fn climb(ladder: &mut Ladder) {
    let all = [
        applied(),
        running(false),
        Observation::Api(ApiState::Ready),
        Observation::Node(NodeState::Ready),
        system(3, &[]),
    ];
    for observation in all {
        assert!(ladder.handle(observation, Instant::now()));
    }
}

fn shown(ladder: &Ladder) -> String {
    let rungs = &ladder.snapshot().rungs;
    rungs
        .iter()
        .map(|rung| format!("{} {}: {}\n", rung.rung, rung.state, rung.detail))
        .collect()
}

#[test]
fn nothing_known() {
    insta::assert_snapshot!(shown(&ladder()), @r"
    agent ready: lkc-guest 0.1.0
    network progressing: waiting for a configuration
    k3s pending: waits for network
    api pending: waits for network
    registered pending: waits for network
    node pending: waits for network
    system pending: waits for network
    ");
}

#[test]
fn all_the_way_up() {
    let mut ladder = ladder();
    climb(&mut ladder);
    insta::assert_snapshot!(shown(&ladder), @r"
    agent ready: lkc-guest 0.1.0
    network ready: 192.100.0.10/24 on eth0
    k3s ready: k3s v1.33.5+k3s1 running, pid 42
    api ready: /readyz ok
    registered ready: k3s-dev
    node ready: k3s-dev Ready
    system ready: 3 of 3 workloads available
    ");
    assert_eq!(ladder.snapshot().sequence, 6);
    assert_eq!(ladder.snapshot().k3s.version, "k3s v1.33.5+k3s1");
}

#[test]
fn details() {
    let mut ladder = ladder();
    let failed = vec!["poststarthook/rbac/bootstrap-roles".to_owned()];
    let table: [(Observation, Rung, RungState, &str); 11] = [
        (
            Observation::Network(NetworkState::Applying),
            Rung::Network,
            RungState::Progressing,
            "applying",
        ),
        (
            Observation::Network(NetworkState::Failed {
                error: "no link has the MAC 52:54:00:c8:32:0a".to_owned(),
            }),
            Rung::Network,
            RungState::Failed,
            "no link has the MAC 52:54:00:c8:32:0a",
        ),
        (
            applied(),
            Rung::K3s,
            RungState::Progressing,
            "looking for k3s",
        ),
        (
            Observation::K3s(K3sState::Absent {
                detail: "not started".to_owned(),
            }),
            Rung::K3s,
            RungState::Progressing,
            "not started",
        ),
        (
            Observation::K3s(K3sState::Failed {
                error: "no k3s on PATH".to_owned(),
                tail: Vec::new(),
            }),
            Rung::K3s,
            RungState::Failed,
            "no k3s on PATH",
        ),
        (
            running(true),
            Rung::K3s,
            RungState::Ready,
            "running (simulated; no containers run)",
        ),
        (
            Observation::Api(ApiState::Unreachable {
                why: "nothing listens on port 6443".to_owned(),
            }),
            Rung::Api,
            RungState::Progressing,
            "nothing listens on port 6443",
        ),
        (
            Observation::Api(ApiState::NotReady { failed }),
            Rung::Api,
            RungState::Progressing,
            "waiting for /readyz: poststarthook/rbac/bootstrap-roles",
        ),
        (
            Observation::Api(ApiState::Ready),
            Rung::Registered,
            RungState::Progressing,
            "listing nodes",
        ),
        (
            Observation::Node(NodeState::Absent),
            Rung::Registered,
            RungState::Progressing,
            "no node k3s-dev yet",
        ),
        (
            Observation::Node(NodeState::NotReady {
                reason: "KubeletNotReady".to_owned(),
                message: "cni plugin not initialized".to_owned(),
            }),
            Rung::Node,
            RungState::Progressing,
            "KubeletNotReady: cni plugin not initialized",
        ),
    ];
    for (observation, rung, state, detail) in table {
        ladder.handle(observation, Instant::now());
        let status = ladder.rung(rung).unwrap();
        assert_eq!(
            (status.state, status.detail.as_str()),
            (state, detail),
            "{rung}"
        );
    }
    ladder.handle(Observation::Node(NodeState::Ready), Instant::now());
    ladder.handle(system(0, &[]), Instant::now());
    assert_eq!(
        ladder.rung(Rung::System).unwrap().detail,
        "no workloads in kube-system yet"
    );
    ladder.handle(
        system(1, &["coredns", "traefik", "a", "b", "c"]),
        Instant::now(),
    );
    assert_eq!(
        ladder.rung(Rung::System).unwrap().detail,
        "1 of 6 workloads available, waiting for coredns, traefik, a, b and 1 more"
    );
}

#[test]
fn a_crash_loop_fails_with_the_end_of_the_log() {
    let mut ladder = ladder();
    ladder.handle(applied(), Instant::now());
    let tail: Vec<String> = (0..100)
        .map(|line| format!("line {line} \u{1b}[31m{}", "x".repeat(600)))
        .collect();
    ladder.handle(
        Observation::K3s(K3sState::CrashLoop {
            status: "exit status: 1".to_owned(),
            restarts: 2,
            tail,
        }),
        Instant::now(),
    );
    let rung = ladder.rung(Rung::K3s).unwrap();
    assert_eq!(rung.state, RungState::Failed);
    assert_eq!(rung.detail, "crash loop: exit status: 1 after 2 restarts");
    assert_eq!(rung.tail.len(), MAX_TAIL_LINES);
    assert!(
        rung.tail
            .iter()
            .all(|line| line.chars().count() <= MAX_DETAIL_CHARS && !line.contains('\u{1b}'))
    );
    assert!(rung.tail.last().unwrap().starts_with("line 99"));
    assert_eq!(ladder.snapshot().k3s.restarts, 2);
}

#[test]
fn a_lost_api_does_not_come_back_with_an_old_node() {
    let mut ladder = ladder();
    climb(&mut ladder);
    ladder.handle(
        Observation::Api(ApiState::Unreachable {
            why: "connection refused".to_owned(),
        }),
        Instant::now(),
    );
    assert_eq!(ladder.rung(Rung::Node).unwrap().detail, "waits for api");
    ladder.handle(Observation::Api(ApiState::Ready), Instant::now());
    assert_eq!(
        ladder.rung(Rung::Registered).unwrap().state,
        RungState::Progressing
    );
    assert_eq!(ladder.rung(Rung::Node).unwrap().state, RungState::Pending);
}

#[test]
fn a_k3s_that_ended_takes_the_api_with_it() {
    let mut ladder = ladder();
    climb(&mut ladder);
    let ended = K3sState::Exited {
        status: "signal: 9 (SIGKILL)".to_owned(),
        restarts: 1,
        tail: Vec::new(),
    };
    ladder.handle(Observation::K3s(ended), Instant::now());
    assert_eq!(
        ladder.rung(Rung::K3s).unwrap().detail,
        "ended (signal: 9 (SIGKILL)), starting it again (1 restart so far)"
    );
    ladder.handle(running(false), Instant::now());
    assert_eq!(
        ladder.rung(Rung::Api).unwrap().state,
        RungState::Progressing
    );
}

#[test]
fn an_api_seen_before_the_process_counts_once_the_process_is_found() {
    let mut ladder = ladder();
    ladder.handle(applied(), Instant::now());
    ladder.handle(Observation::Api(ApiState::Ready), Instant::now());
    assert_eq!(ladder.rung(Rung::Api).unwrap().state, RungState::Pending);
    ladder.handle(running(false), Instant::now());
    assert_eq!(ladder.rung(Rung::Api).unwrap().state, RungState::Ready);
}

#[test]
fn an_agent_node_refers_to_its_server() {
    let mut ladder = Ladder::new(config(K3sRole::Agent), Instant::now());
    ladder.handle(applied(), Instant::now());
    ladder.handle(running(false), Instant::now());
    let api = ladder.rung(Rung::Api).unwrap();
    assert_eq!(api.state, RungState::Pending);
    assert_eq!(
        api.detail,
        "seen from the server, an agent has no credentials for the API"
    );
}

#[test]
fn a_new_name_forgets_the_node() {
    let mut ladder = ladder();
    climb(&mut ladder);
    let renamed = LadderConfig {
        role: K3sRole::Server,
        node_name: "other".to_owned(),
    };
    assert!(ladder.handle(Observation::Configured(renamed.clone()), Instant::now()));
    assert_eq!(
        ladder.rung(Rung::Registered).unwrap().state,
        RungState::Progressing
    );
    assert!(!ladder.handle(Observation::Configured(renamed), Instant::now()));
}

fn observation() -> impl Strategy<Value = Observation> {
    let text = prop_oneof![Just(String::new()), "\\PC{0,12}", any::<String>()];
    let texts = prop::collection::vec(text.clone(), 0..30);
    prop_oneof![
        Just(Observation::Network(NetworkState::Applying)),
        text.clone()
            .prop_map(|summary| Observation::Network(NetworkState::Applied { summary })),
        text.clone()
            .prop_map(|error| Observation::Network(NetworkState::Failed { error })),
        Just(Observation::K3s(K3sState::Absent {
            detail: "not started".to_owned(),
        })),
        Just(Observation::K3s(K3sState::Starting)),
        (any::<u32>(), text.clone(), any::<bool>()).prop_map(|(pid, version, simulated)| {
            Observation::K3s(K3sState::Running {
                pid,
                version,
                simulated,
                restarts: u32::from(simulated),
            })
        }),
        (text.clone(), any::<u32>(), texts.clone()).prop_map(|(status, restarts, tail)| {
            Observation::K3s(K3sState::Exited {
                status,
                restarts,
                tail,
            })
        }),
        (text.clone(), any::<u32>(), texts.clone()).prop_map(|(status, restarts, tail)| {
            Observation::K3s(K3sState::CrashLoop {
                status,
                restarts,
                tail,
            })
        }),
        text.clone()
            .prop_map(|error| Observation::K3s(K3sState::Failed {
                error,
                tail: vec!["log".to_owned()]
            })),
        text.clone()
            .prop_map(|why| Observation::Api(ApiState::Unreachable { why })),
        texts.prop_map(|failed| Observation::Api(ApiState::NotReady { failed })),
        Just(Observation::Api(ApiState::Ready)),
        Just(Observation::Node(NodeState::Absent)),
        (text.clone(), text).prop_map(|(reason, message)| Observation::Node(NodeState::NotReady {
            reason,
            message
        })),
        Just(Observation::Node(NodeState::Ready)),
        (0usize..4, 0usize..4).prop_map(|(available, missing)| {
            let waiting = (0..missing).map(|number| format!("w{number}")).collect();
            Observation::System(SystemState {
                available,
                total: available + missing,
                waiting,
            })
        }),
    ]
}

proptest! {
    #[test]
    fn whatever_is_seen(observations in prop::collection::vec(observation(), 0..60)) {
        let mut ladder = ladder();
        for observation in observations {
            let before = ladder.snapshot();
            let changed = ladder.handle(observation.clone(), Instant::now());
            let after = ladder.snapshot();
            let same = before.rungs == after.rungs && before.k3s == after.k3s;
            prop_assert_eq!(changed, !same);
            prop_assert_eq!(after.sequence, before.sequence + u64::from(changed));

            prop_assert_eq!(after.rungs.len(), 7);
            let first_lost = after.rungs.iter().position(|rung| rung.state != RungState::Ready).unwrap_or(7);
            for (at, rung) in after.rungs.iter().enumerate() {
                prop_assert!(rung.state != RungState::Unknown);
                prop_assert!(at <= first_lost || rung.state == RungState::Pending);
                prop_assert!(rung.detail.chars().count() <= MAX_DETAIL_CHARS);
                prop_assert!(rung.tail.len() <= MAX_TAIL_LINES);
                prop_assert!(rung.tail.iter().chain([&rung.detail]).all(|line| !line.chars().any(char::is_control)));
            }
            prop_assert!(!ladder.handle(observation, Instant::now()), "the same again is no change");
        }
    }
}

#[test]
fn a_change_has_what_differs() {
    let mut ladder = ladder();
    let before = ladder.snapshot();
    ladder.handle(applied(), Instant::now());
    let change: Change = difference(&before, &ladder.snapshot());
    assert_eq!(change.sequence, 2);
    assert_eq!(
        change.rungs.first().map(|rung| rung.rung),
        Some(Rung::Network)
    );
    assert_eq!(
        change.rungs.len(),
        6,
        "those above say that they wait for another rung"
    );
    assert_eq!(change.k3s, None);
}
