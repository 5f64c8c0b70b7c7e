//! k3s renews its certificates, and the kubeconfig follows.

use std::{fs, time::Duration};

use lkc_tests::eventually;
use nix::sys::signal::Signal;

use crate::{env_with_cluster, has_kubectl};

#[test]
fn the_kubeconfig_follows_renewed_certificates() {
    if !has_kubectl() {
        return;
    }
    let env = env_with_cluster(&[]);
    let read = || fs::read_to_string(env.kubeconfig("k3s-dev")).unwrap();
    let before = read();
    let since = std::time::Instant::now();
    env.process_in("k3s-dev", "k3s")
        .unwrap()
        .signal(Signal::SIGHUP);
    let after = eventually("the file is another one", Duration::from_secs(10), || {
        Some(read()).filter(|now| *now != before)
    });
    println!("the file followed after {:?}", since.elapsed());
    let line = |text: &str, key: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(key));
        line.unwrap_or_else(|| panic!("no {key} in {text}"))
            .to_owned()
    };
    for key in ["client-certificate-data", "client-key-data"] {
        assert_ne!(line(&before, key), line(&after, key), "{key} is new");
    }
    for key in ["certificate-authority-data", "server:"] {
        assert_eq!(line(&before, key), line(&after, key), "{key} stays");
    }
    env.run(&["kubectl", "get", "nodes"])
        .succeeds()
        .prints(" Ready ");
    assert_eq!(env.status("k3s-dev")["link"]["connects"], 1);
}
