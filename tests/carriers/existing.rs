//! A machine that is there already, by the programs as people use them.

use std::{fs, process::Child};

use lkc_tests::{TestEnv, carriers::guest};
use serde_json::Value;

use crate::PROGRAMS;

pub(crate) struct Far {
    pub(crate) env: TestEnv,
    agent: Child,
    pub(crate) key: String,
}

impl Far {
    /// An agent that lets this host in, in a network of its own that nobody asked it to leave alone.
    pub(crate) fn new() -> Self {
        let env = TestEnv::new(PROGRAMS);
        let keys = env
            .run(&["identity", "k3s-far", "--output", "json"])
            .succeeds()
            .json();
        assert_eq!(keys["guest"], Value::Null);
        let host = keys["host"]["key"].as_str().unwrap();
        let (agent, key) = guest::run_isolated(PROGRAMS, &env.work(), host);
        Self { env, agent, key }
    }

    fn socket(&self) -> String {
        format!("unix:{}", self.env.work().join("agent.sock").display())
    }

    pub(crate) fn configure(&self, key: &str, carriers: &[&str]) {
        self.configure_more(key, carriers, "");
    }

    /// The same, with further tables behind.
    pub(crate) fn configure_more(&self, key: &str, carriers: &[&str], tables: &str) {
        let more = format!("carriers = {carriers:?}\nguest-key = \"{key}\"\n{tables}");
        self.env
            .configure(&self.env.cluster("k3s-far", 0, &[], &more));
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
        // The environment looks for what is left.
        let _ = fs::remove_file(self.env.work().join("agent.sock"));
    }
}

#[test]
fn it_is_connected_examined_let_go_of_and_goes_on() {
    let mut far = Far::new();
    let (socket, key) = (far.socket(), far.key.clone());
    // The first carrier leads nowhere; the one behind it is used.
    let nowhere = format!("unix:{}/nobody.sock", far.env.work().display());
    far.configure(&key, &[&nowhere, &socket]);
    far.env
        .run(&["up", "k3s-far", "--wait", "agent", "--timeout", "40s"])
        .succeeds();
    let status = far.env.status("k3s-far");
    assert_eq!(status["link"]["state"], "up", "{status:#}");
    assert_eq!(status["machine"]["driver"], "existing");
    assert_eq!(status["link"]["carrier"], socket.as_str());
    assert_eq!(status["machine"]["pid"], Value::Null);
    let doctor = far.env.run(&["doctor", "k3s-far", "--output", "json"]);
    let found = doctor.succeeds().json();
    let failed: Vec<_> = found["carriers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|carrier| carrier["failed"].clone())
        .collect();
    assert_eq!(failed, [Value::from("connect"), Value::Null], "{found:#}");
    far.env
        .run(&["doctor", "k3s-far"])
        .succeeds()
        .prints("lkc-guest 0.1.0, in plain");
    far.env
        .run(&["identity", "k3s-far"])
        .succeeds()
        .prints(&key);
    far.env.run(&["down", "k3s-far"]).succeeds();
    assert!(far.agent.try_wait().unwrap().is_none(), "it was ended");
    // A daemon that starts later finds it by what is kept.
    far.env
        .run(&["up", "k3s-far", "--wait", "agent", "--timeout", "40s"])
        .succeeds();
    far.env.run(&["delete", "k3s-far", "--yes"]).succeeds();
    assert!(far.agent.try_wait().unwrap().is_none(), "it was ended");
    assert!(!far.env.cluster_dir("k3s-far").exists());
}

#[test]
fn another_key_is_an_error_of_its_own_with_both_fingerprints() {
    let far = Far::new();
    let other = lkc_protocol::identity::Identity::generate()
        .unwrap()
        .public_key();
    far.configure(&other.to_string(), &[&far.socket()]);
    let up = far
        .env
        .run(&["up", "k3s-far", "--wait", "agent", "--timeout", "40s"])
        .exits(5);
    let key: lkc_protocol::identity::PublicKey = far.key.parse().unwrap();
    for fingerprint in [key.fingerprint(), other.fingerprint()] {
        up.explains(&fingerprint);
    }
    far.env.run(&["doctor", "k3s-far"]).exits(5).prints("TLS");
    let socket = far.socket();
    let without = far
        .env
        .cluster("k3s-new", 0, &[], &format!("carriers = [{socket:?}]"));
    far.env.run(&["delete", "k3s-far", "--yes"]).succeeds();
    far.env.configure(&without);
    far.env
        .run(&["up", "k3s-new", "--wait", "agent", "--timeout", "40s"])
        .exits(5)
        .explains("the key of the guest of k3s-new is not known");
    assert!(fs::exists(far.env.work().join("agent.sock")).unwrap());
}
