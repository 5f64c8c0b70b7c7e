//! Private keys are where they belong, and nowhere else.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use lkc_tests::process::processes_of;
use nix::sys::signal::Signal;

use crate::env_with_cluster;

#[test]
fn private_keys_are_in_no_log_no_argument_and_no_environment() {
    let env = env_with_cluster(&[]);
    // Everything once more, with every detail logged.
    env.daemon().signal(Signal::SIGTERM);
    let verbose = |args: &[&str]| env.lkc(args).env("LKC_LOG", "trace").args(["-vv"]).run();
    let mut said = Vec::new();
    for args in [
        &["restart"][..],
        &["status"],
        &["kubeconfig", "--path"],
        &["logs"],
        &["logs", "--source", "agent"],
        &["logs", "--source", "machine"],
        &["logs", "--source", "daemon"],
    ] {
        let outcome = verbose(args).succeeds();
        said.push((
            args.join(" "),
            format!("{}{}", outcome.stdout, outcome.stderr),
        ));
    }
    let machine = env.machine("k3s-dev").pid;
    let secrets = [
        key_of(&env.cluster_dir("k3s-dev").join("host.key")),
        key_of(&PathBuf::from(format!(
            "/proc/{machine}/root/etc/lkc/identity.pem"
        ))),
        client_key(&fs::read_to_string(env.kubeconfig("k3s-dev")).unwrap()),
    ];
    for process in processes_of(env.root()) {
        for file in ["cmdline", "environ"] {
            let bytes = fs::read(format!("/proc/{}/{file}", process.pid)).unwrap_or_default();
            said.push((
                format!("{file} of {}", process.name),
                String::from_utf8_lossy(&bytes).into_owned(),
            ));
        }
    }
    // k3s' own data below `machine` holds its keys, as it must.
    let mut files = Vec::new();
    files_below(&env.state_dir(), &mut files);
    files_below(&env.root().join("run"), &mut files);
    for path in &files {
        let name = path.display().to_string();
        let mode = fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let is_holder = name.ends_with("/host.key") || name.ends_with("/kubeconfig.yaml");
        let is_of_k3s = name.contains("/machine/") && name.contains("rancher/");
        if is_holder {
            assert_eq!(mode, 0o600, "{name}");
        } else if !is_of_k3s {
            said.push((
                name,
                String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned(),
            ));
        }
    }
    for (name, text) in &said {
        for secret in secrets.iter().flatten() {
            assert!(!text.contains(secret), "a private key is in {name}");
        }
    }
}

/// A key's body, once as it is and once as base64 of a whole file.
fn key_of(path: &Path) -> Vec<String> {
    forms(&fs::read_to_string(path).unwrap())
}

fn client_key(kubeconfig: &str) -> Vec<String> {
    let (_, rest) = kubeconfig.split_once("client-key-data: ").unwrap();
    let data = rest.lines().next().unwrap().trim_matches('"');
    forms(&String::from_utf8(STANDARD.decode(data).unwrap()).unwrap())
}

fn forms(pem: &str) -> Vec<String> {
    let body = pem.lines().find(|line| !line.starts_with("-----")).unwrap();
    assert!(body.len() >= 32, "not a key");
    // The beginning of a key's DER is the same for all.
    vec![
        body[24..].to_owned(),
        STANDARD.encode(pem)[60..100].to_owned(),
    ]
}

fn files_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            files_below(&entry.path(), found);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
}
