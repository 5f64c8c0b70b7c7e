//! From nothing to up and down again, whatever comes between.

use super::*;

#[test]
fn up_climbs_one_step_at_a_time() {
    let mut bench = Bench::new();
    let begun = bench.request(up()).unwrap().unwrap();
    assert_eq!(
        begun,
        Begun {
            run: 1,
            changed: true
        }
    );
    assert_eq!(bench.task_names(), ["PersistSpec"]);
    assert!(
        matches!(bench.actions[0], Action::Publish(_)),
        "shown before it is answered"
    );
    bench.report(Report::SpecPersisted);
    assert_eq!(bench.task_names(), ["BindForwards"]);
    bench.bound();
    assert_eq!(bench.task_names(), ["StartMachine"]);
    bench.report(Report::MachineStarted(machine()));
    assert_eq!(bench.task_names(), ["Connect"]);
    assert_eq!(bench.rung(Rung::Agent).0, RungState::Progressing);
    let link = bench.link() + 1;
    bench.report(Report::LinkUp {
        link,
        agent_version: "0.1.0".to_owned(),
        carrier: None,
    });
    assert_eq!(bench.task_names(), ["ApplyNetwork"]);
    assert_eq!(bench.rung(Rung::Agent).1, "lkc-guest 0.1.0, link up");
    let (link, summary) = (1, "192.100.0.10/24 on eth0".to_owned());
    bench.report(Report::NetworkApplied { link, summary });
    assert_eq!(bench.task_names(), ["ConfigureK3s"]);
    assert_eq!(
        bench.rung(Rung::Network),
        (RungState::Ready, "192.100.0.10/24 on eth0".to_owned())
    );
    assert_eq!(bench.phase(), Phase::Starting);
    bench.report(Report::K3sConfigured { link });
    assert_eq!(bench.task_names(), ["Watch", "FollowKubeconfig"]);
    assert_eq!(bench.phase(), Phase::Up);
    bench.report(Report::Snapshot {
        link,
        snapshot: ladder(3, Rung::Node),
    });
    assert_eq!(
        bench.rung(Rung::Node),
        (RungState::Ready, "node detail".to_owned())
    );
    assert_eq!(bench.rung(Rung::System).0, RungState::Pending);
    let times: Vec<_> = bench
        .view()
        .status
        .steps
        .iter()
        .map(|step| step.ready_after_ms)
        .collect();
    assert_eq!(
        times,
        [30, 40, 50, 70, 70, 70, 70]
            .map(Some)
            .into_iter()
            .chain([None])
            .collect::<Vec<_>>()
    );
}

#[test]
fn up_of_what_is_up_changes_nothing_and_says_so() {
    let mut bench = Bench::up();
    let begun = bench.request(up()).unwrap().unwrap();
    assert_eq!(
        begun,
        Begun {
            run: 1,
            changed: false
        }
    );
    assert_eq!(bench.task_names(), [""; 0]);
}

#[test]
fn up_during_up_joins() {
    let mut bench = Bench::new();
    bench.request(up());
    assert_eq!(
        bench.request(up()).unwrap().unwrap(),
        Begun {
            run: 1,
            changed: true
        }
    );
    assert_eq!(bench.task_names(), [""; 0]);
    bench.report(Report::SpecPersisted);
    bench.bound();
    let begun = bench.request(up()).unwrap().unwrap();
    assert_eq!(
        (begun.run, bench.task_names().len()),
        (1, 0),
        "one machine start is in flight"
    );
    let other = ClusterSpec {
        mtu: Some(1400),
        ..spec("k3s-dev", 0)
    };
    let refused = bench
        .request(ClusterRequest::Up(Box::new(other)))
        .unwrap()
        .unwrap_err();
    assert_eq!(refused.kind, Kind::Conflict);
}

#[test]
fn a_taken_port_fails_before_any_machine() {
    let mut bench = Bench::new();
    bench.request(up());
    bench.report(Report::SpecPersisted);
    bench.report(Report::BindFailed {
        purpose: BindPurpose::Up,
        forward: "api".to_owned(),
        failure: failure(Kind::Conflict, "port 6443 is taken by pid 17 (nginx)"),
    });
    assert_eq!(bench.phase(), Phase::Failed);
    assert_eq!(bench.view().failure.as_ref().unwrap().kind, Kind::Conflict);
    let forwards = &bench.view().status.forwards;
    assert_eq!(forwards[0].state, ForwardState::Failed);
    assert_eq!(
        forwards[0].last_error.as_deref(),
        Some("host: port 6443 is taken by pid 17 (nginx)")
    );
    assert_eq!(forwards[1].state, ForwardState::Closed);
    assert_eq!(bench.task_names(), ["UnbindForwards", "Disconnect"]);
    bench.request(up());
    assert_eq!(
        bench.task_names(),
        ["PersistSpec"],
        "the next up begins again"
    );
}

#[test]
fn a_machine_that_fails_or_ends_is_not_started_again_until_asked() {
    let mut bench = Bench::new();
    bench.request(up());
    bench.report(Report::SpecPersisted);
    bench.bound();
    bench.report(Report::MachineFailed(failure(
        Kind::HostIo,
        "no user namespaces",
    )));
    assert_eq!(bench.phase(), Phase::Failed);
    assert_eq!(bench.view().status.steps[0].detail, "no user namespaces");
    bench.request(up());
    bench.climb();
    assert_eq!((bench.phase(), bench.view().run), (Phase::Up, 2));
    bench.report(Report::MachineExited {
        how: "killed".to_owned(),
        tail: vec!["oops\u{1b}[2J".to_owned()],
    });
    assert_eq!(bench.phase(), Phase::Failed);
    let failure = bench.view().failure.clone().unwrap();
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (Kind::Unreachable, "the machine ended: killed")
    );
    assert_eq!(failure.tail, ["oops\\u{1b}[2J"]);
    assert_eq!(bench.task_names(), ["UnbindForwards", "Disconnect"]);
    assert!(!bench.step_states().contains(&RungState::Ready));
}

#[test]
fn down_stops_the_machine_and_twice_is_a_no_op() {
    let mut bench = Bench::up();
    let begun = bench
        .request(ClusterRequest::Down(name()))
        .unwrap()
        .unwrap();
    assert!(begun.changed);
    assert_eq!(bench.task_names(), ["UnbindForwards", "StopMachine"]);
    assert_eq!(
        (bench.phase(), bench.view().wanted),
        (Phase::Stopping, false)
    );
    bench.report(Report::LinkDown {
        why: "shut down".to_owned(),
    });
    bench.report(Report::MachineExited {
        how: "shut down".to_owned(),
        tail: Vec::new(),
    });
    assert_eq!(
        bench.phase(),
        Phase::Stopping,
        "the task that stops it reports"
    );
    bench.report(Report::MachineStopped);
    assert_eq!(bench.task_names(), ["Disconnect"]);
    assert_eq!((bench.phase(), bench.daemon.is_idle()), (Phase::Down, true));
    let begun = bench
        .request(ClusterRequest::Down(name()))
        .unwrap()
        .unwrap();
    assert!(!begun.changed);
}

#[test]
fn down_during_a_start_waits_for_it_and_then_stops() {
    let mut bench = Bench::new();
    bench.request(up());
    bench.report(Report::SpecPersisted);
    bench.bound();
    bench.request(ClusterRequest::Down(name()));
    assert_eq!(bench.task_names(), ["UnbindForwards"]);
    bench.report(Report::MachineStarted(machine()));
    assert_eq!(bench.task_names(), ["StopMachine"]);
    bench.report(Report::MachineStopped);
    assert_eq!(bench.phase(), Phase::Down);
}

#[test]
fn restart_keeps_the_listeners_and_begins_a_new_run() {
    let mut bench = Bench::up();
    let begun = bench
        .request(ClusterRequest::Restart(name()))
        .unwrap()
        .unwrap();
    assert_eq!(
        begun,
        Begun {
            run: 2,
            changed: true
        }
    );
    assert_eq!(bench.task_names(), ["StopMachine"]);
    assert!(bench.view().wanted);
    bench.report(Report::MachineStopped);
    assert_eq!(bench.task_names(), ["Disconnect", "PersistSpec"]);
    assert_eq!(bench.view().run, 2);
    bench.climb();
    assert_eq!(bench.phase(), Phase::Up);
}

#[test]
fn up_during_down_follows_it() {
    let mut bench = Bench::up();
    bench.request(ClusterRequest::Down(name()));
    let begun = bench.request(up()).unwrap().unwrap();
    assert_eq!(begun.run, 2);
    bench.report(Report::MachineStopped);
    bench.climb();
    assert_eq!((bench.phase(), bench.view().run), (Phase::Up, 2));
}

#[test]
fn delete_leaves_nothing_and_cannot_be_overtaken() {
    let mut bench = Bench::up();
    bench.request(ClusterRequest::Delete(name()));
    let refused = bench.request(up()).unwrap().unwrap_err();
    assert_eq!(refused.message, "cluster k3s-dev is being deleted");
    bench.report(Report::MachineStopped);
    assert_eq!(bench.task_names(), ["Disconnect", "RemoveFiles"]);
    bench.report(Report::FilesRemoved);
    assert!(matches!(&bench.actions[..], [Action::Withdraw(gone)] if *gone == name()));
    assert!(bench.daemon.view(&name()).is_none());
    let unknown = bench
        .request(ClusterRequest::Delete(name()))
        .unwrap()
        .unwrap_err();
    assert_eq!(unknown.kind, Kind::NotFound);
}

#[test]
fn a_machine_that_still_runs_is_adopted_with_its_listeners_first() {
    let mut bench = Bench::new();
    bench.handle(Event::Restored {
        spec: Box::new(spec("k3s-dev", 0)),
        machine: Some(machine()),
    });
    assert_eq!(
        bench.task_names(),
        ["BindForwards", "AdoptMachine", "Connect"]
    );
    assert_eq!(bench.phase(), Phase::Starting);
    bench.report(Report::BindFailed {
        purpose: BindPurpose::Restore,
        forward: "api".to_owned(),
        failure: failure(Kind::Conflict, "port 6443 is taken"),
    });
    assert_eq!(
        bench.task_names(),
        ["BindForwards"],
        "the others are still wanted"
    );
    bench.bound();
    let states: Vec<_> = bench
        .view()
        .status
        .forwards
        .iter()
        .map(|forward| forward.state)
        .collect();
    assert_eq!(states, [ForwardState::Failed, ForwardState::Listening]);
    bench.connect();
    assert_eq!(bench.phase(), Phase::Up);
    assert!(bench.request(up()).unwrap().unwrap().changed);
    assert_eq!(
        bench.task_names(),
        ["BindForwards"],
        "up tries the port again"
    );
    bench.bound();
    assert_eq!(
        bench.view().status.forwards[0].state,
        ForwardState::Listening
    );
    assert_eq!(bench.view().status.forwards[0].last_error, None);
}

#[test]
fn a_cluster_without_a_machine_is_known_and_idle() {
    let mut bench = Bench::new();
    bench.handle(Event::Restored {
        spec: Box::new(spec("k3s-dev", 0)),
        machine: None,
    });
    assert_eq!(
        (bench.phase(), bench.view().status.link.state),
        (Phase::Down, LinkState::Down)
    );
    assert!(bench.daemon.is_idle());
    assert_eq!(bench.task_names(), [""; 0]);
    bench.request(ClusterRequest::Restart(name()));
    assert_eq!(bench.task_names(), ["PersistSpec"]);
}

#[test]
fn a_stop_that_fails_can_be_tried_again() {
    let mut bench = Bench::up();
    bench.request(ClusterRequest::Down(name()));
    bench.report(Report::StopFailed(failure(
        Kind::HostIo,
        "process 4242 is still there after SIGKILL",
    )));
    assert_eq!(
        (bench.phase(), bench.view().status.machine.running),
        (Phase::Failed, true)
    );
    bench.request(ClusterRequest::Down(name()));
    assert_eq!(bench.task_names(), ["UnbindForwards", "StopMachine"]);
    bench.report(Report::MachineStopped);
    assert_eq!(
        (bench.phase(), bench.view().failure.clone()),
        (Phase::Down, None)
    );
}

#[test]
fn a_stop_forgets_the_failure_that_it_may_mend() {
    for request in [
        ClusterRequest::Restart(name()),
        ClusterRequest::Down(name()),
    ] {
        let mut bench = Bench::up();
        let why = "closed".to_owned();
        bench.report(Report::LinkDown { why });
        let failure = failure(Kind::Authentication, "another key");
        bench.report(Report::LinkFailed {
            attempt: 1,
            failure,
        });
        bench.request(request);
        assert_eq!(bench.view().failure, None);
    }
}
