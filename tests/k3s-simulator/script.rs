//! What goes wrong, and when: the simulator's own options (`--simulate-…`), which k3s does not have.

use std::time::Duration;

/// The delays and faults of one run.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// From the start to listening.
    pub(crate) api_delay: Duration,
    /// From listening until `/readyz` says ok.
    pub(crate) ready_delay: Duration,
    /// From ready until the node object exists.
    pub(crate) node_delay: Duration,
    /// From registered (or from a CNI being installed) until the node is Ready.
    pub(crate) node_ready_delay: Duration,
    /// From a pod's being scheduled until it runs and is ready.
    pub(crate) system_delay: Duration,
    /// The fatal line of a start that fails before it listens.
    pub(crate) fail: Option<String>,
    /// Only this many starts fail, counted in the data directory; all of them when absent.
    pub(crate) fail_times: Option<u32>,
    /// From listening until the process dies with exit code 1.
    pub(crate) crash_after: Option<Duration>,
    /// From listening until the admin's certificate and k3s.yaml are renewed.
    pub(crate) rotate_after: Option<Duration>,
    /// From Ready until the node is NotReady for good.
    pub(crate) node_not_ready_after: Option<Duration>,
    pub(crate) hostile: Option<Hostile>,
}

/// What an attacker who owns the guest could write into k3s.yaml.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hostile {
    WrongPem,
    TenMegabytes,
    TerminalEscapes,
    YamlBomb,
    ExecPlugin,
}

impl Hostile {
    pub(crate) const NAMES: &str =
        "wrong-pem, ten-megabytes, terminal-escapes, yaml-bomb, exec-plugin";

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "wrong-pem" => Self::WrongPem,
            "ten-megabytes" => Self::TenMegabytes,
            "terminal-escapes" => Self::TerminalEscapes,
            "yaml-bomb" => Self::YamlBomb,
            "exec-plugin" => Self::ExecPlugin,
            _ => return None,
        })
    }
}

impl Default for Script {
    fn default() -> Self {
        Self {
            api_delay: Duration::from_millis(100),
            ready_delay: Duration::from_millis(300),
            node_delay: Duration::from_millis(100),
            node_ready_delay: Duration::from_millis(400),
            system_delay: Duration::from_millis(300),
            fail: None,
            fail_times: None,
            crash_after: None,
            rotate_after: None,
            node_not_ready_after: None,
            hostile: None,
        }
    }
}
