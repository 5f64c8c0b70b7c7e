//! The probing of the API: when it begins, what its results mean, what they leave alone.

use super::*;
use crate::{control::ProbeStatus, kubeconfig::tests::identity};

fn found(failure: Option<Failure>) -> Probed {
    let status = ProbeStatus {
        ok: failure.is_none(),
        detail: failure
            .as_ref()
            .map_or_else(|| "fine".to_owned(), |failure| failure.message.clone()),
        latency_ms: failure.is_none().then_some(2),
        checked_unix_ms: 1,
    };
    Probed { status, failure }
}

impl Bench {
    fn credentials(&mut self) {
        self.report(Report::KubeconfigWritten {
            path: "/kubeconfig".into(),
            identity: Arc::new(identity()),
        });
    }

    /// The number of the probing that was begun last.
    fn probing(&self) -> u64 {
        let number = self.tasks().into_iter().find_map(|task| match task {
            Task::ProbeApi { number, .. } => Some(number),
            _ => None,
        });
        number.expect("no probing began")
    }

    fn probe(&mut self, number: u64, failure: Option<Failure>) -> ApiCheck {
        let probed = found(failure);
        self.report(Report::Probed { number, probed });
        self.view().api.clone()
    }
}

fn foreign() -> Option<Failure> {
    Some(failure(Kind::Conflict, "host: another process"))
}

fn refused() -> Option<Failure> {
    Some(failure(Kind::Unreachable, "target: connection refused"))
}

#[test]
fn credentials_begin_the_probing_and_a_success_is_kept() {
    let mut bench = Bench::up();
    assert_eq!(bench.view().api, ApiCheck::Awaited(None));
    bench.credentials();
    assert_eq!(bench.task_names(), ["ProbeApi"]);
    let number = bench.probing();
    let refusal = ApiCheck::Awaited(Some("target: connection refused".to_owned()));
    assert_eq!(bench.probe(number, refused()), refusal);
    assert_eq!(bench.probe(number, None), ApiCheck::Verified);
    let states = bench.step_states();
    assert_eq!(bench.probe(number, refused()), ApiCheck::Verified);
    assert_eq!(bench.probe(number, refused()), ApiCheck::Verified);
    assert_eq!(bench.step_states(), states, "a probe moves no rung");
    let forwards = &bench.view().status.forwards;
    assert_eq!(
        forwards[0].last_error.as_deref(),
        Some("target: connection refused")
    );
    assert!(!forwards[0].probe.as_ref().unwrap().ok);
    assert_eq!(forwards[1].probe, None, "only the API is probed");
    assert_eq!(bench.probe(number, None), ApiCheck::Verified);
    assert_eq!(bench.view().status.forwards[0].last_error, None);
}

#[test]
fn somebody_else_is_believed_the_second_time_and_forgiven_once_it_mends() {
    for first in [None, refused()] {
        let mut bench = Bench::up();
        bench.credentials();
        let number = bench.probing();
        bench.probe(number, first);
        bench.probe(number, None);
        assert_eq!(bench.probe(number, foreign()), ApiCheck::Verified);
        let believed = ApiCheck::Failed(foreign().unwrap());
        assert_eq!(bench.probe(number, foreign()), believed);
        assert_eq!(bench.probe(number, None), ApiCheck::Verified);
    }
}

#[test]
fn new_credentials_begin_anew_and_old_results_do_not_count() {
    let mut bench = Bench::up();
    bench.credentials();
    let old = bench.probing();
    bench.probe(old, None);
    bench.credentials();
    let new = bench.probing();
    assert_ne!(old, new);
    assert_eq!(bench.view().api, ApiCheck::Awaited(None));
    assert_eq!(bench.probe(old, None), ApiCheck::Awaited(None));
    assert_eq!(bench.probe(new, None), ApiCheck::Verified);
}

#[test]
fn a_new_link_is_probed_again_once_its_credentials_have_come() {
    let mut bench = Bench::up();
    bench.credentials();
    let number = bench.probing();
    bench.probe(number, None);
    bench.report(Report::LinkDown {
        why: "silent".to_owned(),
    });
    let parked = Some(failure(Kind::Unreachable, "carrier: parked"));
    assert_eq!(bench.probe(number, parked), ApiCheck::Verified);
    let status = bench.view().status.forwards[0].probe.clone();
    assert_eq!(status.unwrap().detail, "carrier: parked");
    let link = bench.link() + 1;
    bench.report(Report::LinkUp {
        link,
        agent_version: "0.1.0".to_owned(),
        carrier: None,
    });
    assert_eq!(bench.task_names(), ["StopProbing", "ApplyNetwork"]);
    assert_eq!(bench.view().api, ApiCheck::Awaited(None));
    bench.configure();
    bench.credentials();
    let number = bench.probing();
    assert_eq!(bench.probe(number, None), ApiCheck::Verified);
}

#[test]
fn without_a_listener_there_is_nothing_to_probe() {
    let mut bench = Bench::up();
    bench.credentials();
    let remove = ClusterRequest::RemoveForward(name(), "api".to_owned());
    bench.request(remove).unwrap().unwrap();
    assert_eq!(bench.view().api, ApiCheck::None);
    bench.credentials();
    assert!(bench.tasks().is_empty(), "{:?}", bench.task_names());
}

#[test]
fn a_forward_that_was_bound_late_is_probed_then() {
    let mut bench = Bench::new();
    bench.handle(Event::Restored {
        spec: Box::new(spec("k3s-dev", 0)),
        machine: Some(machine()),
    });
    bench.report(Report::BindFailed {
        purpose: BindPurpose::Restore,
        forward: "api".to_owned(),
        failure: failure(Kind::Conflict, "taken"),
    });
    bench.bound();
    bench.connect();
    bench.credentials();
    assert!(bench.tasks().is_empty(), "{:?}", bench.task_names());
    bench.request(up());
    bench.bound();
    assert_eq!(bench.task_names(), ["ProbeApi"]);
}

#[test]
fn an_api_on_another_port_gets_another_kubeconfig_and_another_probing() {
    let mut bench = Bench::up();
    bench.credentials();
    let old = bench.probing();
    bench.probe(old, None);
    let mut changed = spec("k3s-dev", 0);
    changed.forwards[0].host_port = 16443;
    bench.request(ClusterRequest::Up(Box::new(changed)));
    bench.bound();
    assert_eq!(
        bench.task_names(),
        ["UnbindForwards", "PersistSpec", "FollowKubeconfig"]
    );
    assert_eq!(bench.view().api, ApiCheck::Awaited(None));
    assert_eq!(bench.probe(old, None), ApiCheck::Awaited(None));
    bench.credentials();
    let number = bench.probing();
    assert_eq!(bench.probe(number, None), ApiCheck::Verified);
}

#[test]
fn an_api_that_comes_back_is_probed_at_once() {
    let mut bench = Bench::up();
    bench.credentials();
    let number = bench.probing();
    bench.probe(number, refused());
    let mut told = |sequence, top| {
        let link = bench.link();
        let snapshot = ladder(sequence, top);
        bench.report(Report::Snapshot { link, snapshot });
        bench.task_names()
    };
    assert!(told(20, Rung::K3s).is_empty());
    assert_eq!(told(21, Rung::Api), ["ProbeNow"]);
    assert!(told(22, Rung::Node).is_empty(), "it was ready before");
    bench.probe(number, None);
    let link = bench.link();
    for (sequence, top) in [(23, Rung::K3s), (24, Rung::Node)] {
        let snapshot = ladder(sequence, top);
        bench.report(Report::Snapshot { link, snapshot });
        assert!(bench.task_names().is_empty(), "nothing had failed");
    }
}

#[test]
fn up_does_not_repeat_what_was_found_before_but_looks_again() {
    let mut bench = Bench::up();
    bench.credentials();
    let number = bench.probing();
    bench.probe(number, None);
    bench.probe(number, foreign());
    bench.probe(number, foreign());
    bench.request(up());
    assert_eq!(bench.task_names(), ["ProbeNow"]);
    assert_eq!(bench.view().api, ApiCheck::Awaited(None));
    assert_eq!(bench.probe(number, None), ApiCheck::Verified);
    bench.probe(number, refused());
    bench.request(up());
    assert_eq!(bench.task_names(), ["ProbeNow"]);
    assert_eq!(
        bench.view().api,
        ApiCheck::Verified,
        "what may pass is not held against it"
    );
}
