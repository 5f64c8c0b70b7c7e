//! Commands as programs among others: many at once, and with nobody who reads.

use std::{fs::File, io::Read};

use lkc_tests::TestEnv;

use crate::{PROGRAMS, env_with_cluster};

#[test]
fn twenty_commands_at_once_start_one_daemon() {
    let env = TestEnv::new(PROGRAMS);
    env.configure_one(&[]);
    let running: Vec<_> = (0..20)
        .map(|_| env.lkc(["status", "--output", "json"]).spawn())
        .collect();
    for command in running {
        command.finish().succeeds();
    }
    let daemon = env.daemon();
    let log = std::fs::read_to_string(env.state_dir().join("daemon.log")).unwrap();
    assert_eq!(log.matches("daemon started").count(), 1, "{log}");
    assert!(daemon.is_alive());
}

#[test]
fn twenty_ups_at_once_make_one_machine() {
    let env = TestEnv::new(PROGRAMS);
    env.configure_one(&[]);
    let running: Vec<_> = (0..20).map(|_| env.lkc(["up"]).spawn()).collect();
    for command in running {
        command.finish().succeeds();
    }
    let log = std::fs::read_to_string(env.state_dir().join("daemon.log")).unwrap();
    assert_eq!(log.matches("link up").count(), 1, "{log}");
}

#[test]
fn a_reader_that_goes_away_is_no_bug() {
    let env = env_with_cluster(&[]);
    for args in [
        &["status"][..],
        &["status", "--output", "json"],
        &["kubeconfig"],
        &["logs"],
        &["up", "--output", "json"],
        &["version"],
    ] {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let command = env.lkc(args).stdout(writer);
        reader.read_exact(&mut []).unwrap();
        drop(reader);
        let outcome = command.run().exits(141);
        assert!(!outcome.stderr.contains("error"), "{outcome}");
    }
}

#[test]
fn a_full_disk_is_an_error_and_no_bug() {
    let env = env_with_cluster(&[]);
    for args in [
        &["status"][..],
        &["status", "--output", "json"],
        &["kubeconfig"],
        &["version"],
        &["completions", "bash"],
        &["--help"],
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        env.lkc(args)
            .stdout(full)
            .run()
            .exits(11)
            .explains("No space left on device");
    }
    // Where the words go that nobody can read.
    let full = || File::options().write(true).open("/dev/full").unwrap();
    env.lkc(["up"]).stderr(full()).run().succeeds();
    env.lkc(["status", "nothing"]).stderr(full()).run().exits(3);
}

#[test]
fn commands_say_what_they_are() {
    let env = TestEnv::new(PROGRAMS);
    env.run(&["daemon", "status"]).exits(3);
    env.run(&["version"])
        .succeeds()
        .prints(env!("CARGO_PKG_VERSION"));
    assert!(
        !env.runtime_dir().exists(),
        "asking for the version starts nothing"
    );
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        env.run(&["completions", shell])
            .succeeds()
            .prints("lkc-host");
    }
}
