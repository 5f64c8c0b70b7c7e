//! From facts to rungs: which state each is in, and the line that says so.

use lkc_protocol::message::{K3sRole, Rung, RungState, RungStatus};

use super::observation::{ApiState, K3sState, NetworkState, NodeState, SystemState};
use super::text::{one_line, tail_lines};
use super::{Facts, LadderConfig};

/// Names of checks or workloads that a detail lists before it only counts the rest.
const MAX_NAMES: usize = 4;

/// Every rung, from the bottom. Above the first that is not Ready all are Pending.
pub(super) fn all(config: &LadderConfig, facts: &Facts) -> Vec<RungStatus> {
    let own = [
        status(
            Rung::Agent,
            RungState::Ready,
            concat!("lkc-guest ", env!("CARGO_PKG_VERSION")),
        ),
        network(facts.network.as_ref()),
        k3s(facts.k3s.as_ref()),
        api(config, facts.api.as_ref()),
        registered(config, facts.node.as_ref()),
        node(config, facts.node.as_ref()),
        system(facts.system.as_ref()),
    ];
    let mut lost: Option<Rung> = None;
    own.into_iter()
        .map(|own| match lost {
            Some(below) => status(own.rung, RungState::Pending, &format!("waits for {below}")),
            None => {
                lost = (own.state != RungState::Ready).then_some(own.rung);
                own
            }
        })
        .collect()
}

fn network(state: Option<&NetworkState>) -> RungStatus {
    let (state, detail) = match state {
        None => (RungState::Progressing, "waiting for a configuration"),
        Some(NetworkState::Applying) => (RungState::Progressing, "applying"),
        Some(NetworkState::Applied { summary }) => (RungState::Ready, summary.as_str()),
        Some(NetworkState::Fallback { detail }) => (RungState::Progressing, detail.as_str()),
        Some(NetworkState::Failed { error }) => (RungState::Failed, error.as_str()),
    };
    status(Rung::Network, state, detail)
}

fn k3s(state: Option<&K3sState>) -> RungStatus {
    let Some(state) = state else {
        return status(Rung::K3s, RungState::Progressing, "looking for k3s");
    };
    match state {
        K3sState::Absent { detail } => status(Rung::K3s, RungState::Progressing, detail),
        K3sState::Starting => status(Rung::K3s, RungState::Progressing, "starting"),
        K3sState::Running {
            simulated: true, ..
        } => status(
            Rung::K3s,
            RungState::Ready,
            "running (simulated; no containers run)",
        ),
        K3sState::Running { pid, version, .. } => {
            let name = if version.is_empty() { "k3s" } else { version };
            status(
                Rung::K3s,
                RungState::Ready,
                &format!("{name} running, pid {pid}"),
            )
        }
        K3sState::Exited {
            status: exit,
            restarts,
            tail,
        } => RungStatus {
            tail: tail_lines(tail),
            ..status(
                Rung::K3s,
                RungState::Progressing,
                &format!("ended ({exit}), {}", restart_words(*restarts)),
            )
        },
        K3sState::CrashLoop {
            status: exit,
            restarts,
            tail,
        } => RungStatus {
            tail: tail_lines(tail),
            ..status(
                Rung::K3s,
                RungState::Failed,
                &format!(
                    "crash loop: {exit} after {}",
                    count_of(*restarts, "restart")
                ),
            )
        },
        K3sState::Failed { error, tail } => RungStatus {
            tail: tail_lines(tail),
            ..status(Rung::K3s, RungState::Failed, error)
        },
    }
}

fn api(config: &LadderConfig, state: Option<&ApiState>) -> RungStatus {
    match state {
        Some(ApiState::Ready) => status(Rung::Api, RungState::Ready, "/readyz ok"),
        Some(ApiState::NotReady { failed }) if failed.is_empty() => {
            status(Rung::Api, RungState::Progressing, "waiting for /readyz")
        }
        Some(ApiState::NotReady { failed }) => status(
            Rung::Api,
            RungState::Progressing,
            &format!("waiting for /readyz: {}", names(failed)),
        ),
        _ if config.role == K3sRole::Agent => status(
            Rung::Api,
            RungState::Pending,
            "seen from the server, an agent has no credentials for the API",
        ),
        Some(ApiState::Unreachable { why }) => status(Rung::Api, RungState::Progressing, why),
        None => status(Rung::Api, RungState::Progressing, "waiting for /readyz"),
    }
}

fn registered(config: &LadderConfig, state: Option<&NodeState>) -> RungStatus {
    match state {
        None => status(Rung::Registered, RungState::Progressing, "listing nodes"),
        Some(NodeState::Absent) => status(
            Rung::Registered,
            RungState::Progressing,
            &format!("no node {} yet", config.node_name),
        ),
        Some(NodeState::NotReady { .. } | NodeState::Ready) => {
            status(Rung::Registered, RungState::Ready, &config.node_name)
        }
    }
}

fn node(config: &LadderConfig, state: Option<&NodeState>) -> RungStatus {
    match state {
        Some(NodeState::Ready) => status(
            Rung::Node,
            RungState::Ready,
            &format!("{} Ready", config.node_name),
        ),
        Some(NodeState::NotReady { reason, message }) => {
            let detail = match (reason.is_empty(), message.is_empty()) {
                (false, false) => format!("{reason}: {message}"),
                (false, true) => reason.clone(),
                (true, false) => message.clone(),
                (true, true) => format!("{} has no condition Ready yet", config.node_name),
            };
            status(Rung::Node, RungState::Progressing, &detail)
        }
        None | Some(NodeState::Absent) => {
            status(Rung::Node, RungState::Pending, "waits for registered")
        }
    }
}

fn system(state: Option<&SystemState>) -> RungStatus {
    let Some(SystemState {
        available,
        total,
        waiting,
    }) = state
    else {
        return status(
            Rung::System,
            RungState::Progressing,
            "listing the workloads of kube-system",
        );
    };
    if *total == 0 {
        return status(
            Rung::System,
            RungState::Progressing,
            "no workloads in kube-system yet",
        );
    }
    let count = format!("{available} of {} available", count_of(*total, "workload"));
    if available == total {
        return status(Rung::System, RungState::Ready, &count);
    }
    status(
        Rung::System,
        RungState::Progressing,
        &format!("{count}, waiting for {}", names(waiting)),
    )
}

fn status(rung: Rung, state: RungState, detail: &str) -> RungStatus {
    RungStatus {
        rung,
        state,
        detail: one_line(detail),
        tail: Vec::new(),
    }
}

fn names(all: &[String]) -> String {
    let shown = all
        .iter()
        .take(MAX_NAMES)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    match all.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn restart_words(restarts: u32) -> String {
    match restarts {
        0 => "starting it again".to_owned(),
        more => format!("starting it again ({} so far)", count_of(more, "restart")),
    }
}

fn count_of(count: impl Into<CountOf>, noun: &str) -> String {
    match count.into() {
        CountOf(1) => format!("1 {noun}"),
        CountOf(many) => format!("{many} {noun}s"),
    }
}

/// A number of things, from either integer type that counts them here.
struct CountOf(u64);

impl From<u32> for CountOf {
    fn from(count: u32) -> Self {
        Self(u64::from(count))
    }
}

impl From<usize> for CountOf {
    fn from(count: usize) -> Self {
        Self(count as u64)
    }
}
