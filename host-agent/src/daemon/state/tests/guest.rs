//! What the guest and the link to it tell, and what is shown of it.

use super::*;

#[test]
fn a_lost_link_leaves_no_rung_standing() {
    let mut bench = Bench::up();
    bench.report(Report::LinkDown {
        why: "silent for 10 s".to_owned(),
    });
    let states = bench.step_states();
    assert_eq!(states[0], RungState::Ready, "the machine still runs");
    assert!(
        states[1..].iter().all(|state| *state == RungState::Unknown),
        "{states:?}"
    );
    assert_eq!(bench.rung(Rung::Node).1, "link lost: silent for 10 s");
    assert_eq!(bench.phase(), Phase::Up);
    bench.report(Report::Snapshot {
        link: 1,
        snapshot: ladder(99, Rung::System),
    });
    assert_eq!(
        bench.rung(Rung::Node).0,
        RungState::Unknown,
        "what comes late does not count"
    );
    let link = bench.link() + 1;
    bench.report(Report::LinkUp {
        link,
        agent_version: "0.1.0".to_owned(),
        carrier: None,
    });
    assert_eq!(bench.task_names(), ["ApplyNetwork"]);
    assert_eq!(bench.rung(Rung::Node).0, RungState::Pending);
    bench.configure();
    assert_eq!(bench.task_names(), ["Watch", "FollowKubeconfig"]);
    bench.report(Report::Snapshot {
        link: 2,
        snapshot: ladder(1, Rung::Node),
    });
    assert_eq!(
        bench.rung(Rung::Node).0,
        RungState::Ready,
        "a guest that began again counts from 1"
    );
}

#[test]
fn older_news_of_the_guest_is_ignored() {
    let mut bench = Bench::up();
    let change = |sequence, state| Change {
        sequence,
        rungs: vec![RungStatus {
            rung: Rung::Node,
            state,
            detail: format!("at {sequence}"),
            tail: Vec::new(),
        }],
        k3s: None,
    };
    bench.report(Report::Change {
        link: 1,
        change: change(9, RungState::Progressing),
    });
    assert_eq!(
        bench.rung(Rung::Node),
        (RungState::Progressing, "at 9".to_owned())
    );
    bench.report(Report::Change {
        link: 1,
        change: change(9, RungState::Ready),
    });
    bench.report(Report::Change {
        link: 1,
        change: change(8, RungState::Ready),
    });
    bench.report(Report::Snapshot {
        link: 1,
        snapshot: ladder(8, Rung::System),
    });
    assert_eq!(
        bench.rung(Rung::Node),
        (RungState::Progressing, "at 9".to_owned())
    );
}

#[test]
fn a_rung_above_one_that_does_not_hold_is_never_shown_ready() {
    let mut bench = Bench::up();
    let mut snapshot = ladder(20, Rung::System);
    snapshot.rungs[2].state = RungState::Failed;
    bench.report(Report::Snapshot { link: 1, snapshot });
    assert_eq!(bench.rung(Rung::K3s).0, RungState::Failed);
    assert_eq!(
        bench.rung(Rung::Node),
        (RungState::Pending, "waits for k3s".to_owned())
    );
}

#[test]
fn authentication_and_version_are_told_at_once_and_mend_with_the_next_link() {
    for kind in [Kind::Authentication, Kind::Version] {
        let mut bench = Bench::up();
        bench.report(Report::LinkDown {
            why: "closed".to_owned(),
        });
        let unreachable = failure(Kind::Unreachable, "connection refused");
        bench.report(Report::LinkFailed {
            attempt: 3,
            failure: unreachable,
        });
        assert_eq!(bench.view().failure, None);
        assert_eq!(
            bench.view().status.link.detail,
            "connection refused (attempt 3)"
        );
        bench.report(Report::LinkFailed {
            attempt: 4,
            failure: failure(kind, "another key"),
        });
        assert_eq!(bench.view().failure.as_ref().unwrap().kind, kind);
        assert_eq!(
            bench.rung(Rung::Agent),
            (RungState::Failed, "another key".to_owned())
        );
        bench.request(up());
        assert_eq!(bench.task_names(), ["ConnectNow"]);
        assert_eq!(bench.view().failure, None);
        bench.connect();
        assert_eq!(bench.rung(Rung::Node).0, RungState::Ready);
    }
}

#[test]
fn a_network_that_fails_is_tried_again_by_up() {
    let mut bench = Bench::new();
    bench.request(up());
    bench.report(Report::SpecPersisted);
    bench.bound();
    bench.report(Report::MachineStarted(machine()));
    let link = bench.link() + 1;
    bench.report(Report::LinkUp {
        link,
        agent_version: String::new(),
        carrier: None,
    });
    bench.report(Report::NetworkFailed {
        link: 1,
        failure: failure(Kind::BadInput, "no interface has this MAC"),
    });
    assert_eq!(
        bench.rung(Rung::Network),
        (RungState::Failed, "no interface has this MAC".to_owned())
    );
    assert_eq!(bench.view().failure.as_ref().unwrap().kind, Kind::BadInput);
    let begun = bench.request(up()).unwrap().unwrap();
    assert!(begun.changed);
    assert_eq!(bench.task_names(), ["ApplyNetwork"]);
    bench.configure();
    assert_eq!(
        (bench.phase(), bench.view().failure.clone()),
        (Phase::Up, None)
    );
}

#[test]
fn up_after_a_crash_loop_sets_the_guest_up_again_and_forgets_what_it_told() {
    let mut bench = Bench::up();
    let mut snapshot = ladder(20, Rung::K3s);
    snapshot.rungs[2].state = RungState::Failed;
    bench.report(Report::Snapshot { link: 1, snapshot });
    let begun = bench.request(up()).unwrap().unwrap();
    assert!(begun.changed);
    assert_eq!(bench.task_names(), ["ApplyNetwork"]);
    assert_eq!(bench.phase(), Phase::Starting);
    assert_eq!(bench.rung(Rung::K3s).0, RungState::Pending);
    bench.configure();
    assert_eq!(bench.task_names(), ["Watch", "FollowKubeconfig"]);
    let snapshot = ladder(23, Rung::Node);
    bench.report(Report::Snapshot { link: 1, snapshot });
    assert_eq!(bench.rung(Rung::Node).0, RungState::Ready);
}

#[test]
fn text_of_the_guest_is_made_harmless() {
    let mut bench = Bench::up();
    let mut snapshot = ladder(30, Rung::Node);
    snapshot.rungs[5].detail = "\u{1b}[31mred".repeat(1000);
    snapshot.rungs[5].tail = vec!["\u{7}".to_owned(); 1000];
    snapshot.k3s.version = "v1\u{202e}".to_owned();
    bench.report(Report::Snapshot { link: 1, snapshot });
    let step = bench.view().status.rung(Rung::Node).unwrap();
    assert!(!step.detail.contains('\u{1b}') && step.detail.len() < 4096);
    assert_eq!((step.tail.len(), step.tail[0].as_str()), (40, "\\u{7}"));
    assert_eq!(
        bench.view().status.k3s.as_ref().unwrap().version,
        "v1\\u{202e}"
    );
}
