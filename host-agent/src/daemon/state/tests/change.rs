//! Changes of a cluster that runs, and what it shares with others.

use super::*;

#[test]
fn what_can_change_while_it_runs_does() {
    let mut bench = Bench::up();
    let mut changed = spec("k3s-dev", 0);
    changed.mtu = Some(1400);
    changed.forwards[1].host_port = 9090;
    assert_eq!(
        bench.request(ClusterRequest::Up(Box::new(changed.clone()))),
        None,
        "answered once it is bound"
    );
    let ticket = bench.tickets;
    bench.bound();
    assert!(bench.answer_to(ticket).unwrap().unwrap().changed);
    assert_eq!(
        bench.task_names(),
        ["UnbindForwards", "PersistSpec", "ApplyNetwork"]
    );
    assert_eq!(bench.phase(), Phase::Starting);
    bench.configure();
    assert_eq!(
        bench.task_names(),
        ["Watch", "FollowKubeconfig"],
        "the ladder is told anew"
    );
    assert_eq!(bench.phase(), Phase::Up);
    assert!(
        !bench
            .request(ClusterRequest::Up(Box::new(changed)))
            .unwrap()
            .unwrap()
            .changed
    );
}

#[test]
fn what_needs_a_new_machine_is_refused_with_the_way_out() {
    let mut bench = Bench::up();
    let changed = ClusterSpec {
        address: "192.100.0.77".parse().unwrap(),
        cni: Cni::None,
        ..spec("k3s-dev", 0)
    };
    let refused = bench
        .request(ClusterRequest::Up(Box::new(changed)))
        .unwrap()
        .unwrap_err();
    assert_eq!(refused.kind, Kind::Conflict);
    assert_eq!(
        refused.message,
        "cluster k3s-dev is up with another address, cni, which cannot change while it runs"
    );
    assert_eq!(
        refused.hints,
        ["run `lkc-host down k3s-dev`, then `lkc-host up k3s-dev`: its data stays"]
    );
}

#[test]
fn clusters_that_are_up_share_nothing() {
    let mut bench = Bench::up();
    let twin = spec("k3s-twin", 0);
    let refused = bench
        .request(ClusterRequest::Up(Box::new(twin.clone())))
        .unwrap()
        .unwrap_err();
    assert_eq!(
        refused.message,
        "the clusters k3s-twin and k3s-dev have the same index 0"
    );
    let mut beside = spec("k3s-twin", 1);
    beside.forwards[0].host_port = 6443;
    let refused = bench
        .request(ClusterRequest::Up(Box::new(beside)))
        .unwrap()
        .unwrap_err();
    assert_eq!(
        refused.message,
        "the clusters k3s-twin and k3s-dev have the same host port 6443, by their forwards `api` and `api`"
    );
    bench.request(ClusterRequest::Down(name()));
    bench.report(Report::MachineStopped);
    assert!(
        bench
            .request(ClusterRequest::Up(Box::new(twin)))
            .unwrap()
            .is_ok(),
        "one that is down is in nobody's way"
    );
}

#[test]
fn forwards_come_and_go_while_it_is_up() {
    let mut bench = Bench::up();
    let extra = ForwardSpec {
        name: "pg".to_owned(),
        host_port: 5432,
        guest_port: 5432,
        ..spec("k3s-dev", 0).forwards.remove(0)
    };
    let add = || ClusterRequest::AddForward(name(), Box::new(extra.clone()));
    assert_eq!(bench.request(add()), None);
    let ticket = bench.tickets;
    bench.bound();
    assert!(bench.answer_to(ticket).unwrap().unwrap().changed);
    assert_eq!(bench.view().status.forwards.len(), 3);
    assert!(!bench.request(add()).unwrap().unwrap().changed);
    let taken = ForwardSpec {
        name: "mine".to_owned(),
        ..extra.clone()
    };
    let refused = bench
        .request(ClusterRequest::AddForward(name(), Box::new(taken)))
        .unwrap()
        .unwrap_err();
    assert_eq!(
        refused.message,
        "host port 5432 is taken by forward pg of cluster k3s-dev"
    );
    assert!(
        bench
            .request(ClusterRequest::RemoveForward(name(), "5432".to_owned()))
            .unwrap()
            .is_ok()
    );
    assert_eq!(bench.tasks(), [Task::UnbindForwards(vec![extra])]);
    let unknown = bench
        .request(ClusterRequest::RemoveForward(name(), "pg".to_owned()))
        .unwrap()
        .unwrap_err();
    assert_eq!(unknown.kind, Kind::NotFound);
}

#[test]
fn a_forward_bound_for_a_cluster_that_stopped_meanwhile_is_let_go() {
    let mut bench = Bench::up();
    let extra = ForwardSpec {
        name: "pg".to_owned(),
        host_port: 5432,
        ..spec("k3s-dev", 0).forwards.remove(0)
    };
    bench.request(ClusterRequest::AddForward(name(), Box::new(extra.clone())));
    let ticket = bench.tickets;
    bench.request(ClusterRequest::Down(name()));
    let (purpose, forwards) = (
        BindPurpose::Add(ticket, Box::new(extra.clone())),
        vec![extra.clone()],
    );
    bench.report(Report::ForwardsBound { purpose, forwards });
    assert_eq!(bench.tasks(), [Task::UnbindForwards(vec![extra])]);
    assert_eq!(
        bench.answer_to(ticket).unwrap().unwrap_err().message,
        "cluster k3s-dev is not up"
    );
}
