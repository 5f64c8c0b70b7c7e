//! A machine that is there already, whose guest and host know nothing of each other.

use std::{
    fs::{self, File},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use lkc_tests::{Outcome, Running, TestEnv, eventually};
use nix::sys::signal::Signal;

use crate::PROGRAMS;

const PATIENCE: Duration = Duration::from_secs(60);

/// A guest agent that was given no key and no host.
struct Guest<'a> {
    env: &'a TestEnv,
    agent: Running,
}

impl<'a> Guest<'a> {
    fn start(env: &'a TestEnv) -> Self {
        env.configure(&format!(
            "[cluster.k3s-far]\ncarriers = [\"unix:{0}/gone.sock\", \"unix:{0}/agent.sock\"]\n",
            env.work().display()
        ));
        let log = env.work().join("agent.log");
        let agent = env
            .program("lkc-guest")
            .args(["run", "--listen"])
            .args([format!("unix:{}", env.work().join("agent.sock").display())])
            .args(["--log", &log.display().to_string()])
            .args(directories(env))
            .spawn();
        let socket = env.work().join("agent.sock");
        eventually("the agent listens", PATIENCE, || {
            UnixStream::connect(&socket).ok()
        });
        Self { env, agent }
    }

    /// What `lkc-guest COMMAND` prints.
    fn says(&self, command: &str) -> String {
        let guest = self.env.program("lkc-guest").args(command.split(' '));
        let said = guest.args(directories(self.env)).run().succeeds();
        said.stdout.clone()
    }

    /// Adopts it with `token` on standard input.
    fn adopted(&self, token: &str) -> Outcome {
        let path = self.env.work().join("typed");
        fs::write(&path, token).unwrap();
        let typed = File::open(&path).unwrap();
        self.env.lkc(["adopt", "k3s-far"]).stdin(typed).run()
    }

    fn end(self) {
        self.agent.signal(Signal::SIGTERM);
        let _ = self.agent.finish();
        fs::remove_file(self.env.work().join("agent.sock")).unwrap();
    }
}

fn directories(env: &TestEnv) -> Vec<String> {
    let flag = |name: &str, directory: &str| {
        let path: PathBuf = env.work().join(directory);
        format!("--{name}={}", path.display())
    };
    vec![flag("state-dir", "state"), flag("runtime-dir", "run")]
}

#[test]
fn a_token_makes_host_and_guest_known_to_each_other_once() {
    let env = TestEnv::new(PROGRAMS);
    let guest = Guest::start(&env);
    env.run(&["doctor", "k3s-far"])
        .exits(5)
        .explains("lkc-host adopt k3s-far");

    let token = guest.says("token");
    guest.adopted("0000-1111").exits(10).explains("not a token");
    let wrong = "0".repeat(32);
    guest
        .adopted(&wrong)
        .exits(5)
        .explains("does not accept this token");

    guest
        .adopted(&token)
        .succeeds()
        .prints("Cluster k3s-far is adopted");
    guest.adopted(&token).exits(5).explains("used up");

    let identity = guest.says("identity");
    let for_programs = guest.says("identity --output json");
    let for_programs: serde_json::Value = serde_json::from_str(&for_programs).unwrap();
    let shown = env
        .run(&["identity", "k3s-far", "--output", "json"])
        .succeeds()
        .json();
    for key in [
        &shown["host"]["fingerprint"],
        &shown["guest"]["fingerprint"],
    ] {
        let key = key.as_str().unwrap();
        assert!(identity.contains(key), "{key} is not in\n{identity}");
    }
    assert_eq!(for_programs["guest"], shown["guest"]);
    assert_eq!(for_programs["hosts"][0], shown["host"]);
    let checks = env
        .run(&["doctor", "k3s-far", "--output", "json"])
        .succeeds()
        .json();
    assert_eq!(checks["carriers"][0]["failed"], "connect");
    assert_eq!(checks["carriers"][1]["failed"], serde_json::Value::Null);

    // Who is taken out of the list is not let in any more.
    fs::remove_file(env.work().join("state/authorized_hosts")).unwrap();
    env.run(&["doctor", "k3s-far"]).exits(5);
    guest.end();
    env.run(&["delete", "k3s-far", "--yes"]).succeeds();
    assert!(!env.cluster_dir("k3s-far").exists(), "its keys are left");
}
