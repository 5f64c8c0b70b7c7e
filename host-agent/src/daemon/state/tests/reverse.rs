//! Reverse forwards: when the guest is asked to listen, and what is shown of it.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::config::{HostTarget, ReverseSpec};

fn reverse(name: &str, guest_port: u16) -> ReverseSpec {
    ReverseSpec {
        name: name.to_owned(),
        bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
        guest_port,
        target: HostTarget::Unix("/run/x.sock".into()),
    }
}

fn with(reverse: &[ReverseSpec]) -> ClusterSpec {
    ClusterSpec {
        reverse: reverse.to_vec(),
        ..spec("k3s-dev", 0)
    }
}

fn up_with(reverse: &[ReverseSpec]) -> Bench {
    let mut bench = Bench::new();
    bench.request(ClusterRequest::Up(Box::new(with(reverse))));
    bench.climb();
    bench
}

impl Bench {
    fn told(&mut self, spec: &ReverseSpec, error: Option<&str>) {
        let (link, spec) = (self.link(), spec.clone());
        self.report(Report::ReverseForward {
            link,
            spec,
            error: error.map(str::to_owned),
        });
    }

    /// What is shown of each.
    fn listens(&self) -> Vec<(String, ForwardState, Option<String>)> {
        let shown = self.view().status.reverse.iter();
        shown
            .map(|one| (one.name.clone(), one.state, one.last_error.clone()))
            .collect()
    }

    /// The names that the guest was asked to listen for last, if it was.
    fn asked_to_listen(&self) -> Option<Vec<String>> {
        self.tasks().into_iter().find_map(|task| match task {
            Task::ListenInGuest { link, spec } => {
                assert_eq!(link, self.link());
                Some(spec.reverse.iter().map(|one| one.name.clone()).collect())
            }
            _ => None,
        })
    }

    /// Changes the specification while the cluster is up.
    fn change(&mut self, changed: ClusterSpec) {
        self.request(ClusterRequest::Up(Box::new(changed)));
        self.bound();
    }
}

fn names(names: &[&str]) -> Option<Vec<String>> {
    Some(names.iter().map(|&name| name.to_owned()).collect())
}

#[test]
fn the_guest_is_asked_to_listen_once_it_has_its_addresses() {
    let registry = reverse("registry", 5000);
    let mut bench = Bench::new();
    let spec = with(std::slice::from_ref(&registry));
    bench.request(ClusterRequest::Up(Box::new(spec)));
    bench.report(Report::SpecPersisted);
    bench.bound();
    bench.report(Report::MachineStarted(machine()));
    let (link, agent_version) = (1, "0.1.0".to_owned());
    bench.report(Report::LinkUp {
        link,
        agent_version,
        carrier: None,
    });
    assert_eq!(bench.task_names(), ["ApplyNetwork"]);
    let summary = "192.100.0.10/24 on eth0".to_owned();
    bench.report(Report::NetworkApplied { link, summary });
    assert_eq!(bench.task_names(), ["ConfigureK3s", "ListenInGuest"]);
    let closed = ("registry".to_owned(), ForwardState::Closed, None);
    assert_eq!(bench.listens(), [closed]);
    bench.told(&registry, None);
    let listening = ("registry".to_owned(), ForwardState::Listening, None);
    assert_eq!(bench.listens(), [listening]);
}

#[test]
fn without_reverse_forwards_the_guest_is_asked_for_none() {
    let mut bench = Bench::new();
    bench.request(up());
    bench.report(Report::SpecPersisted);
    bench.bound();
    bench.report(Report::MachineStarted(machine()));
    let (link, agent_version) = (1, "0.1.0".to_owned());
    bench.report(Report::LinkUp {
        link,
        agent_version,
        carrier: None,
    });
    let summary = "192.100.0.10/24 on eth0".to_owned();
    bench.report(Report::NetworkApplied { link, summary });
    assert_eq!(bench.task_names(), ["ConfigureK3s"]);
}

#[test]
fn with_the_link_the_listeners_are_gone_and_asked_for_again() {
    let registry = reverse("registry", 5000);
    let mut bench = up_with(std::slice::from_ref(&registry));
    bench.told(&registry, None);
    let lost = bench.link();
    bench.report(Report::LinkDown {
        why: "gone".to_owned(),
    });
    let closed = [("registry".to_owned(), ForwardState::Closed, None)];
    assert_eq!(bench.listens(), closed);
    bench.connect();
    assert_eq!(bench.listens(), closed);
    // What the last link's task still had to say is of no interest.
    let (spec, error) = (registry.clone(), None);
    bench.report(Report::ReverseForward {
        link: lost,
        spec,
        error,
    });
    assert_eq!(bench.listens(), closed);
    bench.told(&registry, None);
    assert_eq!(bench.listens()[0].1, ForwardState::Listening);
}

#[test]
fn one_that_failed_is_shown_and_does_not_keep_the_cluster_down() {
    let registry = reverse("registry", 5000);
    let mut bench = up_with(std::slice::from_ref(&registry));
    bench.told(&registry, Some("agent: in use\u{1b}[2J"));
    let failed = (
        "registry".to_owned(),
        ForwardState::Failed,
        Some("agent: in use\\u{1b}[2J".to_owned()),
    );
    assert_eq!(bench.listens(), [failed]);
    assert_eq!(bench.phase(), Phase::Up);
    // Another `up` asks for it again.
    let again = ClusterRequest::Up(Box::new(with(std::slice::from_ref(&registry))));
    assert!(bench.request(again).unwrap().unwrap().changed);
    assert_eq!(bench.asked_to_listen(), names(&["registry"]));
    bench.told(&registry, None);
    let listening = ("registry".to_owned(), ForwardState::Listening, None);
    assert_eq!(bench.listens(), [listening]);
}

#[test]
fn removing_one_as_if_it_were_a_forward_says_how_it_is_done() {
    let mut bench = up_with(&[reverse("registry", 5000)]);
    let remove = ClusterRequest::RemoveForward(name(), "registry".to_owned());
    let failure = bench.request(remove).unwrap().unwrap_err();
    assert_eq!(failure.kind, Kind::NotFound);
    assert_eq!(
        failure.hints,
        ["registry is a reverse forward: take it out of lkc.toml and run `lkc-host up k3s-dev`"]
    );
}

#[test]
fn they_change_while_the_cluster_runs() {
    let (registry, model) = (reverse("registry", 5000), reverse("model", 11_434));
    let mut bench = up_with(std::slice::from_ref(&registry));
    bench.told(&registry, None);
    bench.change(with(&[model.clone(), registry.clone()]));
    assert_eq!(bench.task_names(), ["PersistSpec", "ListenInGuest"]);
    assert_eq!(bench.asked_to_listen(), names(&["model", "registry"]));
    let shown: Vec<_> = bench.listens().into_iter().map(|one| one.1).collect();
    assert_eq!(shown, [ForwardState::Closed, ForwardState::Listening]);
    // What is told of one that is no longer wanted is of no interest.
    bench.change(with(&[]));
    assert_eq!(bench.asked_to_listen(), names(&[]));
    bench.told(&model, None);
    assert_eq!(bench.listens(), []);
}

#[test]
fn they_are_taken_back_by_a_change_that_sets_the_guest_up_anew() {
    let registry = reverse("registry", 5000);
    let mut bench = up_with(std::slice::from_ref(&registry));
    bench.told(&registry, None);
    let changed = ClusterSpec {
        mtu: Some(1400),
        ..with(&[])
    };
    bench.change(changed);
    assert_eq!(bench.asked_to_listen(), None, "the network comes first");
    let (link, summary) = (bench.link(), "192.100.0.10/24 on eth0".to_owned());
    bench.report(Report::NetworkApplied { link, summary });
    assert_eq!(bench.asked_to_listen(), names(&[]));
}
