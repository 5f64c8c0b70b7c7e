//! Whether a cluster has reached a rung, cannot, or is still on its way. Pure.

use lkc_protocol::message::{Cni, Rung, RungState};

use crate::{
    config::ClusterName,
    control::{ClusterStatus, Failure, Phase, StepStatus},
    daemon::state::{ApiCheck, View, unknown_cluster},
    error::Kind,
};

/// What is waited for.
#[derive(Debug, Clone)]
pub(super) struct Aim {
    /// The cluster.
    pub(super) cluster: ClusterName,
    /// The run that has to reach it, and one before it is on its way to stop; 0 for whichever there
    /// is.
    pub(super) run: u64,
    /// The rung.
    pub(super) rung: Rung,
    /// Whether the kubeconfig has to be there too, and the API to answer on this host.
    pub(super) kubeconfig: bool,
}

/// How it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Reached,
    Waiting,
    Failed(Failure),
}

impl Aim {
    /// Judges a view; none is a cluster that is gone.
    pub(super) fn judge(&self, view: Option<&View>) -> Verdict {
        let Some(view) = view else {
            return Verdict::Failed(unknown_cluster(&self.cluster));
        };
        let this_run = view.run >= self.run;
        if this_run && self.is_reached(view) {
            return Verdict::Reached;
        }
        if let Some(failure) = &view.failure {
            return Verdict::Failed(failure.clone());
        }
        if this_run
            && self.needs_api()
            && let ApiCheck::Failed(failure) = &view.api
        {
            return Verdict::Failed(failure.clone());
        }
        if !view.wanted {
            return Verdict::Failed(self.taken_down(&view.status));
        }
        if this_run && let Some(failed) = self.failed_step(&view.status) {
            return Verdict::Failed(step_failure(failed));
        }
        Verdict::Waiting
    }

    /// Why the time is up: the rung that is missing, its last words, and what to do.
    pub(super) fn timed_out(&self, view: Option<&View>, after_ms: u64) -> Failure {
        let Some(view) = view else {
            return unknown_cluster(&self.cluster);
        };
        let missing = self
            .steps(&view.status)
            .find(|step| step.state != RungState::Ready);
        let (words, step) = match missing {
            Some(step) => (
                format!("{} is {}{}", step.name, step.state, colon(&step.detail)),
                Some(step),
            ),
            None => match &view.api {
                ApiCheck::Awaited(Some(found)) => (
                    format!("its API does not answer on this host: {found}"),
                    None,
                ),
                _ => ("the kubeconfig has not come".to_owned(), None),
            },
        };
        Failure {
            kind: Kind::Timeout,
            message: format!(
                "{} did not reach {} within {}: {words}",
                self.cluster,
                self.rung,
                seconds(after_ms)
            ),
            hints: vec![self.hint(step, view.status.cni), self.again()],
            tail: step.map_or_else(Vec::new, |step| step.tail.clone()),
        }
    }

    /// The cluster is not up and not about to be: for who waits, it is not there; for who brought
    /// it up, somebody else was in the way.
    fn taken_down(&self, status: &ClusterStatus) -> Failure {
        let name = &self.cluster;
        let (kind, message) = match (self.run, status.phase) {
            (0, Phase::Stopping) => (
                Kind::NotFound,
                format!("cluster {name} is being taken down"),
            ),
            (0, _) => (Kind::NotFound, format!("cluster {name} is down")),
            _ => (
                Kind::Conflict,
                format!("another command took cluster {name} down meanwhile"),
            ),
        };
        Failure {
            kind,
            message,
            hints: vec![format!("run `lkc-host up {name}`")],
            tail: Vec::new(),
        }
    }

    /// Whether a client of this host has to be able to reach the API.
    fn needs_api(&self) -> bool {
        self.kubeconfig && self.rung >= Rung::Api
    }

    fn is_reached(&self, view: &View) -> bool {
        let status = &view.status;
        let phase = match self.rung {
            // What the guest told before it was configured may be of another configuration.
            Rung::Agent | Rung::Network => matches!(status.phase, Phase::Starting | Phase::Up),
            _ => status.phase == Phase::Up,
        };
        let usable = !self.needs_api()
            || status.kubeconfig_error.is_some()
            || (status.kubeconfig.is_some()
                && matches!(view.api, ApiCheck::None | ApiCheck::Verified));
        phase
            && usable
            && self
                .steps(status)
                .all(|step| step.state == RungState::Ready)
    }

    fn failed_step<'a>(&self, status: &'a ClusterStatus) -> Option<&'a StepStatus> {
        self.steps(status)
            .find(|step| step.state == RungState::Failed)
    }

    /// The machine and the rungs up to the one aimed at.
    fn steps<'a>(&self, status: &'a ClusterStatus) -> impl Iterator<Item = &'a StepStatus> {
        let top = self.rung;
        let counts = move |step: &&StepStatus| step.rung.is_none_or(|rung| rung <= top);
        status.steps.iter().filter(counts)
    }

    fn hint(&self, step: Option<&StepStatus>, cni: Cni) -> String {
        let name = &self.cluster;
        match step.map(|step| step.rung) {
            Some(None | Some(Rung::Agent)) => {
                format!("`lkc-host logs {name} --source machine` shows what the machine printed")
            }
            Some(Some(Rung::Network)) => {
                format!("`lkc-host logs {name} --source agent` shows what the agent did")
            }
            Some(Some(Rung::Node | Rung::System)) if cni == Cni::None => {
                "install a pod network: this cluster comes without one, and its node is not ready before"
                    .to_owned()
            }
            Some(Some(Rung::K3s | Rung::Api)) | None => {
                format!("`lkc-host logs {name}` shows what k3s does")
            }
            Some(Some(Rung::Registered | Rung::Node | Rung::System)) => {
                format!("`lkc-host kubectl --cluster {name} get events -A` shows what the cluster does")
            }
        }
    }

    fn again(&self) -> String {
        format!(
            "`lkc-host wait {} --for {}` goes on waiting: the cluster does not stop",
            self.cluster, self.rung
        )
    }
}

/// What a failed step means: one above the network is k3s' own failure.
fn step_failure(step: &StepStatus) -> Failure {
    let kind = match step.rung {
        None => Kind::Other,
        Some(Rung::Agent) => Kind::Unreachable,
        Some(Rung::Network) => Kind::Other,
        Some(_) => Kind::K3s,
    };
    Failure {
        kind,
        message: format!("{} failed{}", step.name, colon(&step.detail)),
        hints: vec!["`lkc-host logs` shows more of it".to_owned()],
        tail: step.tail.clone(),
    }
}

fn colon(detail: &str) -> String {
    if detail.is_empty() {
        String::new()
    } else {
        format!(": {detail}")
    }
}

pub(super) fn seconds(ms: u64) -> String {
    if ms.is_multiple_of(1000) {
        format!("{} s", ms / 1000)
    } else {
        format!("{ms} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::state::tests::{failure, up_view};

    fn aim(rung: Rung) -> Aim {
        Aim {
            cluster: "k3s-dev".parse().unwrap(),
            run: 1,
            rung,
            kubeconfig: false,
        }
    }

    fn with(rung: Rung, state: RungState, detail: &str) -> View {
        let mut view = up_view();
        for step in &mut view.status.steps {
            if step.rung == Some(rung) {
                step.state = state;
                step.detail = detail.to_owned();
                step.tail = vec!["last words".to_owned()];
            }
        }
        view
    }

    #[test]
    fn a_rung_is_reached_with_everything_below_it() {
        let view = up_view();
        assert_eq!(aim(Rung::Node).judge(Some(&view)), Verdict::Reached);
        assert_eq!(aim(Rung::System).judge(Some(&view)), Verdict::Waiting);
        let lost = with(Rung::Api, RungState::Unknown, "link lost");
        assert_eq!(aim(Rung::Node).judge(Some(&lost)), Verdict::Waiting);
        assert_eq!(aim(Rung::K3s).judge(Some(&lost)), Verdict::Reached);
    }

    #[test]
    fn the_ladder_of_the_run_before_does_not_count() {
        let next = Aim {
            run: 2,
            ..aim(Rung::Node)
        };
        let mut view = up_view();
        assert_eq!(next.judge(Some(&view)), Verdict::Waiting);
        view.wanted = false;
        assert!(matches!(next.judge(Some(&view)), Verdict::Failed(_)));
    }

    #[test]
    fn rungs_from_k3s_up_count_only_once_it_is_configured() {
        let mut view = up_view();
        view.status.phase = Phase::Starting;
        assert_eq!(aim(Rung::Node).judge(Some(&view)), Verdict::Waiting);
        assert_eq!(aim(Rung::Network).judge(Some(&view)), Verdict::Reached);
    }

    #[test]
    fn up_waits_for_the_kubeconfig_or_for_why_there_is_none() {
        let up = Aim {
            kubeconfig: true,
            ..aim(Rung::Api)
        };
        let mut view = up_view();
        assert_eq!(up.judge(Some(&view)), Verdict::Waiting);
        assert_eq!(
            up.timed_out(Some(&view), 500).message,
            "k3s-dev did not reach api within 500 ms: the kubeconfig has not come"
        );
        view.status.kubeconfig_error = Some("no".to_owned());
        assert_eq!(up.judge(Some(&view)), Verdict::Reached);
    }

    #[test]
    fn up_waits_until_its_own_cluster_answers_on_this_host() {
        let up = Aim {
            kubeconfig: true,
            ..aim(Rung::Api)
        };
        let mut view = up_view();
        view.status.kubeconfig = Some("/kubeconfig".into());
        assert_eq!(up.judge(Some(&view)), Verdict::Waiting);
        view.api = ApiCheck::Awaited(Some("target: connection refused".to_owned()));
        assert_eq!(up.judge(Some(&view)), Verdict::Waiting);
        assert_eq!(
            up.timed_out(Some(&view), 500).message,
            "k3s-dev did not reach api within 500 ms: its API does not answer on this host: target: connection refused"
        );
        let foreign = failure(Kind::Conflict, "another process answers");
        view.api = ApiCheck::Failed(foreign.clone());
        assert_eq!(up.judge(Some(&view)), Verdict::Failed(foreign));
        let below = Aim {
            rung: Rung::K3s,
            ..up.clone()
        };
        assert_eq!(below.judge(Some(&view)), Verdict::Reached);
        assert_eq!(aim(Rung::Api).judge(Some(&view)), Verdict::Reached);
        for usable in [ApiCheck::Verified, ApiCheck::None] {
            view.api = usable;
            assert_eq!(up.judge(Some(&view)), Verdict::Reached);
        }
    }

    #[test]
    fn a_crash_loop_fails_at_once_with_its_tail() {
        let view = with(Rung::K3s, RungState::Failed, "crash loop: exit code 1");
        let Verdict::Failed(failure) = aim(Rung::Node).judge(Some(&view)) else {
            panic!("it goes on waiting");
        };
        assert_eq!(failure.kind, Kind::K3s);
        assert_eq!(failure.message, "k3s failed: crash loop: exit code 1");
        assert_eq!(failure.tail, ["last words"]);
        assert_eq!(aim(Rung::Network).judge(Some(&view)), Verdict::Reached);
    }

    #[test]
    fn a_failure_of_the_cluster_is_told_as_it_is() {
        let mut view = with(Rung::Agent, RungState::Failed, "another key");
        let failure = Failure {
            kind: Kind::Authentication,
            message: "another key".to_owned(),
            hints: Vec::new(),
            tail: Vec::new(),
        };
        view.failure = Some(failure.clone());
        assert_eq!(aim(Rung::Node).judge(Some(&view)), Verdict::Failed(failure));
    }

    #[test]
    fn a_cluster_that_goes_away_ends_the_waiting() {
        let Verdict::Failed(gone) = aim(Rung::Node).judge(None) else {
            panic!("it goes on waiting");
        };
        assert_eq!(gone.kind, Kind::NotFound);
        let mut view = with(Rung::Agent, RungState::Pending, "");
        (view.wanted, view.status.phase) = (false, Phase::Stopping);
        let Verdict::Failed(stopping) = aim(Rung::Node).judge(Some(&view)) else {
            panic!("it goes on waiting");
        };
        let message = "another command took cluster k3s-dev down meanwhile";
        assert_eq!(
            (stopping.kind, stopping.message.as_str()),
            (Kind::Conflict, message)
        );
        let waiting = Aim {
            run: 0,
            ..aim(Rung::Node)
        };
        let Verdict::Failed(stopping) = waiting.judge(Some(&view)) else {
            panic!("it goes on waiting");
        };
        let message = "cluster k3s-dev is being taken down";
        assert_eq!(
            (stopping.kind, stopping.message.as_str()),
            (Kind::NotFound, message)
        );
    }

    #[test]
    fn a_timeout_names_the_rung_its_last_words_and_a_way_on() {
        let view = with(Rung::Api, RungState::Progressing, "waiting for /readyz");
        let failure = aim(Rung::Node).timed_out(Some(&view), 30_000);
        assert_eq!(failure.kind, Kind::Timeout);
        assert_eq!(
            failure.message,
            "k3s-dev did not reach node within 30 s: api is progressing: waiting for /readyz"
        );
        assert_eq!(
            failure.hints,
            [
                "`lkc-host logs k3s-dev` shows what k3s does",
                "`lkc-host wait k3s-dev --for node` goes on waiting: the cluster does not stop",
            ]
        );
        assert_eq!(failure.tail, ["last words"]);
    }
}
