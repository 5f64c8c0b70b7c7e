//! A key of SSH under a passphrase: who sits at a terminal is asked, a script is told.

use expectrl::{Eof, Expect as _, Session, process::unix::WaitStatus};
use lkc_tests::{carriers::PATIENCE, skipped, sshd::SshWorld};

use crate::existing::Far;

const UP: [&str; 6] = ["up", "k3s-far", "--wait", "agent", "--timeout", "40s"];

/// Has the cluster reached by a server that `block` of an ssh configuration describes.
fn reach(far: &Far, world: &SshWorld, block: &str) {
    let config = world.client_configuration(block);
    let socket = far.env.work().join("agent.sock");
    let table = format!("[cluster.k3s-far.ssh]\nconfig = {config:?}\nsocket = {socket:?}\n");
    far.configure_more(&far.key, &["ssh:dev"], &table);
}

#[test]
fn it_is_asked_for_on_a_terminal_and_the_daemon_keeps_the_key_open() {
    let world = match SshWorld::new() {
        Ok(world) => world,
        Err(missing) => return skipped(&missing),
    };
    let far = Far::new();
    let key = world.key("locked", &["-t", "ed25519", "-N", "open sesame"]);
    let sshd = world.sshd("dev", &[&key], "");
    world.write("known_hosts", &sshd.known_hosts());
    let block = sshd.host_block("dev", &format!("IdentityFile {}", key.display()));
    reach(&far, &world, &block);
    let refused = far.env.run(&UP).exits(5);
    refused.explains("which is under a passphrase");
    refused.explains(&format!("run `ssh-add {}`", key.display()));

    let question = format!("Passphrase of {}:", key.display());
    let mut terminal = Session::spawn(far.env.lkc(UP).on_terminal()).unwrap();
    terminal.set_expect_timeout(Some(PATIENCE));
    terminal.expect(&*question).unwrap();
    terminal.send_line("sesame").unwrap();
    terminal
        .expect("does not open with that passphrase")
        .unwrap();
    terminal.expect(&*question).unwrap();
    terminal.send_line("open sesame").unwrap();
    let rest = terminal.expect(Eof).unwrap();
    let shown = String::from_utf8_lossy(rest.before());
    assert!(!shown.contains("sesame"), "{shown}");
    let status = terminal.get_process().wait().unwrap();
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "{shown}");

    // The daemon has it open: a script needs nobody now.
    far.env.run(&["down", "k3s-far"]).succeeds();
    far.env.run(&UP).succeeds();
    // The command itself has not.
    far.env.run(&["doctor", "k3s-far"]).exits(5);
}

#[test]
fn the_agent_asked_is_that_of_the_latest_command() {
    let world = match SshWorld::new() {
        Ok(world) => world,
        Err(missing) => return skipped(&missing),
    };
    let far = Far::new();
    let key = world.plain_key("id");
    let agent = world.agent("agent.sock");
    agent.add(&key);
    std::fs::remove_file(&key).unwrap();
    let sshd = world.sshd("dev", &[&key], "");
    world.write("known_hosts", &sshd.known_hosts());
    let block = sshd.host_block("dev", "IdentityAgent SSH_AUTH_SOCK");
    reach(&far, &world, &block);
    far.env.run(&UP).exits(5).explains("no key to log in with");
    let daemon = far.env.daemon();
    far.env
        .lkc(UP)
        .env("SSH_AUTH_SOCK", &agent.socket)
        .run()
        .succeeds();
    assert_eq!(far.env.daemon(), daemon);
}
