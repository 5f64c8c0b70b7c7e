//! What programs read while `up`, `restart` and `wait` go on: one JSON object per line.
//!
//! `status` and `goal` once per change, then one of `done`, `failed` (see `report`), `interrupted`
//! and `terminated`.

use serde_json::{Value, json};

use crate::{
    config::ClusterName,
    control::{Done, Reply},
};

/// The event of a reply, none for one that is no news of a cluster.
pub(super) fn of_reply(reply: &Reply) -> Option<Value> {
    match reply {
        Reply::Status { cluster } => Some(json!({ "event": "status", "cluster": cluster })),
        Reply::Goal {
            goal,
            satisfied,
            detail,
        } => Some(json!({
            "event": "goal", "goal": goal, "satisfied": satisfied, "detail": detail,
        })),
        Reply::Log { .. } | Reply::Daemon(_) | Reply::Done(_) | Reply::Failed(_) => None,
    }
}

/// The last event when all is well.
pub(super) fn done(cluster: Option<&ClusterName>, done: &Done) -> Value {
    json!({
        "event": "done",
        "cluster": cluster,
        "changed": done.changed,
        "elapsed_ms": done.elapsed_ms,
    })
}

/// The last event when a signal ended the waiting.
pub(super) fn interrupted(name: &str, code: u8, goes_on: &str) -> Value {
    json!({ "event": name, "code": code, "message": goes_on })
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
            of_reply(&status).unwrap(),
            of_reply(&goal).unwrap(),
            done(Some(&name), &end),
            interrupted("interrupted", 130, "stopped waiting"),
        ];
        insta::assert_snapshot!(serde_json::to_string_pretty(&events).unwrap(), @r#"
        [
          {
            "cluster": {
              "agent_version": "0.1.0",
              "cni": "default",
              "forwards": [
                {
                  "failed": 1,
                  "last_error": "target: connection refused",
                  "listen": [
                    "127.0.0.1:6443",
                    "[::1]:6443"
                  ],
                  "name": "api",
                  "open": 1,
                  "parked": 0,
                  "received_bytes": 5242880,
                  "refused": 1,
                  "sent_bytes": 2048,
                  "state": "listening",
                  "target": "127.0.0.1:6443",
                  "total": 7
                }
              ],
              "index": 0,
              "k3s": {
                "restarts": 0,
                "simulated": true,
                "version": "v1.33.1+k3s1"
              },
              "kubeconfig": "/home/u/.local/state/lkc/clusters/k3s-dev/kubeconfig",
              "kubeconfig_error": null,
              "link": {
                "carrier": "unix:/run/user/1000/lkc/k3s-dev/agent.sock",
                "connects": 1,
                "detail": "",
                "state": "up"
              },
              "machine": {
                "description": "sandbox (user namespace), pid 4242",
                "driver": "sandbox",
                "pid": 4242,
                "running": true
              },
              "name": "k3s-dev",
              "phase": "up",
              "steps": [
                {
                  "detail": "started",
                  "name": "sandbox",
                  "ready_after_ms": 214,
                  "rung": null,
                  "state": "ready",
                  "tail": []
                },
                {
                  "detail": "lkc-guest 0.1.0, link up",
                  "name": "agent",
                  "ready_after_ms": 310,
                  "rung": "agent",
                  "state": "ready",
                  "tail": []
                }
              ]
            },
            "event": "status"
          },
          {
            "detail": "none yet",
            "event": "goal",
            "goal": "crd/x",
            "satisfied": false
          },
          {
            "changed": true,
            "cluster": "k3s-dev",
            "elapsed_ms": 1410,
            "event": "done"
          },
          {
            "code": 130,
            "event": "interrupted",
            "message": "stopped waiting"
          }
        ]
        "#);
        assert!(of_reply(&Reply::Done(end)).is_none());
    }
}
