use std::{io, time::Duration};

use super::*;
use crate::config::ClusterName;

#[test]
fn every_error_of_the_commands_says_what_to_do() {
    let cluster: ClusterName = "k3s-capi".parse().unwrap();
    let errors = [
        daemon::not_running(),
        delete::nobody_to_ask("k3s-capi, k3s-dev"),
        doctor::down(&cluster),
        adopt::no_carrier(&cluster),
        follow::silent_daemon(Duration::from_secs(60)),
        kubeconfig::missing(&cluster),
        kubectl::down(&cluster),
        kubectl::not_started(io::ErrorKind::NotFound.into()),
        status::no_cluster(&cluster),
    ];
    assert!(errors.iter().all(|error| !error.hints.is_empty()));
    let texts = errors.map(|error| {
        let code = error.kind.exit_code();
        format!("{}exit code {code}\n", output::error_text(&error))
    });
    insta::assert_snapshot!(texts.join("\n"), @"
    error: the daemon does not run

    hint: nothing is wrong: the next command that needs it starts it
    exit code 3

    error: k3s-capi, k3s-dev is to be deleted, and there is no terminal to ask on

    hint: add `--yes`
    exit code 2

    error: cluster k3s-capi is down, so that there is nothing to reach

    hint: bring it up with `lkc-host up k3s-capi`
    exit code 4

    error: no carrier is named that leads to a machine of k3s-capi

    hint: name it with `--carrier`, or as `carriers` of [cluster.k3s-capi] in lkc.toml; what lkc makes by itself needs no adoption
    exit code 2

    error: the daemon did not finish within 60s

    hint: see `lkc-host status` for where it stands, and `lkc-host daemon log` for what it does
    exit code 6

    error: cluster k3s-capi has no kubeconfig yet

    hint: bring it up with `lkc-host up k3s-capi`, or wait with `lkc-host wait k3s-capi --for api`
    exit code 3

    error: cluster k3s-capi is down

    hint: bring it up with `lkc-host up k3s-capi`
    exit code 4

    error: there is no `kubectl` on PATH
      because entity not found

    hint: install it: https://kubernetes.io/docs/tasks/tools/
    hint: or use what you have: export KUBECONFIG=$(lkc-host kubeconfig --path)
    exit code 11

    error: there is no cluster k3s-capi

    hint: make it with `lkc-host up k3s-capi`
    exit code 3
    ");
}

#[test]
fn whoever_stops_waiting_hears_what_goes_on() {
    let said = ["up", "restart", "down", "delete", "wait", "status", "logs"].map(|name| {
        let cli = Cli::try_parse_from(["lkc-host", name]).unwrap();
        format!("{name}: {}", interruption(&cli.command))
    });
    insta::assert_snapshot!(said.join("\n"), @"
    up: stopped waiting; the cluster goes on coming up (`lkc-host wait` waits for it)
    restart: stopped waiting; the cluster goes on restarting (`lkc-host wait` waits for it)
    down: stopped waiting; the cluster goes on going down
    delete: stopped; a deletion that was begun goes on
    wait: stopped waiting
    status: 
    logs:
    ");
}
