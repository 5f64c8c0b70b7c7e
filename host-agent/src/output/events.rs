//! What programs read while `up`, `restart` and `wait` go on: one JSON object per line.
//!
//! `status` and `goal` once per change, then one of `done`, `failed`, `interrupted`, `terminated`.

use serde::Serialize;

use super::report::ErrorObject;
use crate::{
    config::ClusterName,
    control::{ClusterStatus, Done, Reply},
};

/// One line.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(super) enum Event<'a> {
    /// How a cluster stands now.
    Status { cluster: &'a ClusterStatus },
    /// How a goal that is not a rung stands now.
    Goal {
        goal: &'a str,
        satisfied: bool,
        detail: &'a str,
    },
    /// The end: all is well.
    Done {
        cluster: Option<&'a ClusterName>,
        changed: bool,
        elapsed_ms: u64,
    },
    /// The end: it failed.
    Failed { error: ErrorObject<'a> },
    /// The end: Ctrl-C.
    Interrupted { code: u8, message: &'a str },
    /// The end: SIGTERM.
    Terminated { code: u8, message: &'a str },
}

impl<'a> Event<'a> {
    /// The event of a reply, none for one that is no news of a cluster.
    pub(super) fn of_reply(reply: &'a Reply) -> Option<Self> {
        match reply {
            Reply::Status { cluster } => Some(Self::Status { cluster }),
            Reply::Goal {
                goal,
                satisfied,
                detail,
            } => Some(Self::Goal {
                goal,
                satisfied: *satisfied,
                detail,
            }),
            Reply::Log { .. }
            | Reply::Note { .. }
            | Reply::Checked(_)
            | Reply::Snapshots { .. }
            | Reply::Joined
            | Reply::LockedKeys { .. }
            | Reply::Daemon(_)
            | Reply::Done(_)
            | Reply::Failed(_) => None,
        }
    }

    pub(super) fn done(cluster: Option<&'a ClusterName>, done: &Done) -> Self {
        Self::Done {
            cluster,
            changed: done.changed,
            elapsed_ms: done.elapsed_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    #[test]
    fn the_events_of_an_up() {
        let mut cluster = sample::up();
        cluster.steps.truncate(2);
        cluster.forwards.truncate(1);
        let name = cluster.name.clone();
        let status = Reply::Status {
            cluster: Box::new(cluster),
        };
        let goal = Reply::Goal {
            goal: "crd/x".into(),
            satisfied: false,
            detail: "none yet".into(),
        };
        let end = Done {
            changed: true,
            elapsed_ms: 1410,
        };
        let events = [
            Event::of_reply(&status).unwrap(),
            Event::of_reply(&goal).unwrap(),
            Event::done(Some(&name), &end),
            Event::Interrupted {
                code: 130,
                message: "stopped waiting",
            },
        ];
        insta::assert_snapshot!(serde_json::to_string_pretty(&events).unwrap(), @r#"
        [
          {
            "event": "status",
            "cluster": {
              "name": "k3s-dev",
              "index": 0,
              "phase": "up",
              "cni": "default",
              "machine": {
                "driver": "sandbox",
                "running": true,
                "pid": 4242,
                "description": "sandbox (user namespace), pid 4242"
              },
              "link": {
                "state": "up",
                "carrier": "unix:/run/user/1000/lkc/k3s-dev/agent.sock",
                "detail": "",
                "connects": 1,
                "denied": 0
              },
              "agent_version": "0.1.0",
              "k3s": {
                "version": "v1.33.1+k3s1",
                "simulated": true,
                "restarts": 0
              },
              "steps": [
                {
                  "name": "sandbox",
                  "rung": null,
                  "state": "ready",
                  "detail": "started",
                  "tail": [],
                  "ready_after_ms": 214
                },
                {
                  "name": "agent",
                  "rung": "agent",
                  "state": "ready",
                  "detail": "lkc-guest 0.1.0, link up",
                  "tail": [],
                  "ready_after_ms": 310
                }
              ],
              "forwards": [
                {
                  "name": "api",
                  "listen": [
                    "127.0.0.1:6443",
                    "[::1]:6443"
                  ],
                  "target": "127.0.0.1:6443",
                  "protocol": "tcp",
                  "state": "listening",
                  "open": 1,
                  "total": 7,
                  "refused": 1,
                  "parked": 0,
                  "failed": 1,
                  "dropped": 0,
                  "sent_bytes": 2048,
                  "received_bytes": 5242880,
                  "last_error": "target: connection refused",
                  "probe": {
                    "ok": true,
                    "detail": "this cluster answers on this host",
                    "latency_ms": 3,
                    "checked_unix_ms": 1767225600000
                  }
                }
              ],
              "reverse": [],
              "kubeconfig": "/home/u/.local/state/lkc/clusters/k3s-dev/kubeconfig",
              "kubeconfig_error": null
            }
          },
          {
            "event": "goal",
            "goal": "crd/x",
            "satisfied": false,
            "detail": "none yet"
          },
          {
            "event": "done",
            "cluster": "k3s-dev",
            "changed": true,
            "elapsed_ms": 1410
          },
          {
            "event": "interrupted",
            "code": 130,
            "message": "stopped waiting"
          }
        ]
        "#);
        assert!(Event::of_reply(&Reply::Done(end)).is_none());
    }
}
