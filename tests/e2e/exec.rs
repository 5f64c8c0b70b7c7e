//! Programs that a user runs in the node.

use std::{
    io::Write,
    process::Stdio,
    time::{Duration, Instant},
};

use expectrl::{Eof, Expect, Regex, Session};
use lkc_tests::{TestEnv, User, eventually, skipped, sshd::SshWorld};
use nix::sys::signal::Signal;

use crate::{PROGRAMS, env_with_cluster};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_program_has_its_streams_and_its_exit_status() {
    let env = env_with_cluster(&[]);
    let script = "hostname; echo err >&2; exit 3";
    let ran = env.run(&["exec", "--", "sh", "-c", script]).exits(3);
    assert_eq!(
        (ran.stdout.as_str(), ran.stderr.as_str()),
        ("k3s-dev\n", "err\n")
    );
    let script = "kill -9 $$";
    env.run(&["exec", "k3s-dev", "--", "sh", "-c", script])
        .exits(137);
    env.run(&["exec", "--", "no-such-program"])
        .exits(127)
        .explains("lkc-guest: cannot run `no-such-program`");
    let script = "pwd; echo $GREETING";
    env.run(&[
        "exec",
        "-w",
        "/tmp",
        "-e",
        "GREETING=hello",
        "--",
        "sh",
        "-c",
        script,
    ])
    .succeeds()
    .prints("/tmp\nhello\n");
    env.run(&["exec", "uname"])
        .exits(3)
        .explains("to run the program uname in the node: `lkc-host exec -- uname`");
    env.run(&["exec", "-w", "tmp", "--", "true"])
        .exits(10)
        .explains("the directory `tmp` is not absolute");
}

#[test]
fn input_reaches_it_and_a_loop_keeps_its_own() {
    let env = env_with_cluster(&[]);
    let much: Vec<u8> = (0..5_000_000_u32).map(|at| at.to_le_bytes()[1]).collect();
    let input = tempfile::tempfile().unwrap();
    (&input).write_all(&much).unwrap();
    std::io::Seek::rewind(&mut &input).unwrap();
    let sum = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0_u64, |sum, &byte| sum * 31 % 1_000_003 + u64::from(byte))
    };
    let copied = env.lkc([
        "exec",
        "--",
        "sh",
        "-c",
        "cat > /tmp/copy; wc -c < /tmp/copy",
    ]);
    copied
        .stdin(input)
        .run()
        .succeeds()
        .prints(&much.len().to_string());
    let output = tempfile::NamedTempFile::new().unwrap();
    let file = output.reopen().unwrap();
    let read = env
        .lkc(["exec", "-n", "--", "cat", "/tmp/copy"])
        .stdout(file);
    assert_eq!(read.run().exit_code(), 0);
    assert_eq!(sum(&std::fs::read(output.path()).unwrap()), sum(&much));
    // `cat` would wait for the end of an input.
    env.lkc(["exec", "--no-input", "--", "cat"])
        .stdin(Stdio::piped())
        .run()
        .succeeds();
}

#[test]
fn a_shell_on_a_terminal_is_one() {
    let env = env_with_cluster(&[]);
    let command = env
        .lkc(["exec", "--", "sh", "-c", "tty; echo $TERM; exec sh -i"])
        .on_terminal();
    let mut terminal = Session::spawn(command).unwrap();
    terminal.set_expect_timeout(Some(PATIENCE));
    terminal.expect("/dev/pts/").unwrap();
    terminal.expect("xterm-256color").unwrap();
    terminal.get_process_mut().set_window_size(123, 45).unwrap();
    // The size travels beside what is typed: the shell may be asked before it has it.
    eventually("the size is passed on", PATIENCE, || {
        terminal.send_line("stty size").unwrap();
        let answer = terminal.expect(Regex(r"\d+ \d+\r")).unwrap();
        (answer.get(0)? == b"45 123\r").then_some(())
    });
    terminal.send_line("exit 5").unwrap();
    terminal.expect(Eof).unwrap();
    let status = terminal.get_process().wait().unwrap();
    let expectrl::process::unix::WaitStatus::Exited(_, code) = status else {
        panic!("{status:?}");
    };
    assert_eq!(code, 5);
}

#[test]
fn signals_reach_the_program_and_the_second_interrupt_gives_up() {
    let env = env_with_cluster(&[]);
    let script = "trap 'echo told; exit 7' INT TERM; echo on; while :; do sleep 0.1; done";
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let running = env.lkc(["exec", "--", "sh", "-c", script]).spawn();
        running.stdout_until("it runs", |text| text.contains("on\n"));
        running.signal(signal);
        running.finish().exits(7).prints("told\n");
    }
    let stubborn = "trap '' INT; echo on; while :; do sleep 0.1; done";
    let running = env.lkc(["exec", "--", "sh", "-c", stubborn]).spawn();
    running.stdout_until("it runs", |text| text.contains("on\n"));
    running.signal(Signal::SIGINT);
    eventually("it gives up", PATIENCE, || {
        running.signal(Signal::SIGINT);
        (!running.is_alive()).then_some(())
    });
    running.finish().exits(130);
}

#[test]
fn nothing_runs_on_when_its_user_or_its_link_is_gone() {
    let env = env_with_cluster(&[]);
    let script = "echo $$; exec sleep 4242";
    let sleeping = || {
        let agent = env.process_in("k3s-dev", "lkc-guest")?;
        let all = lkc_tests::process::descendants(agent.pid);
        all.into_iter()
            .find(|process| process.command_line().contains("4242"))
    };
    let running = env.lkc(["exec", "--", "sh", "-c", script]).spawn();
    eventually("it sleeps", PATIENCE, sleeping);
    running.signal(Signal::SIGKILL);
    eventually("it is told", PATIENCE, || {
        sleeping().is_none().then_some(())
    });
    drop(running.finish());

    let running = env.lkc(["exec", "--", "sh", "-c", script]).spawn();
    eventually("it sleeps", PATIENCE, sleeping);
    let begin = Instant::now();
    env.process_in("k3s-dev", "lkc-guest")
        .unwrap()
        .signal(Signal::SIGKILL);
    let ended = running.finish().exits(4);
    ended.explains("the link to the guest was lost while the program ran");
    assert!(begin.elapsed() < PATIENCE);
}

#[test]
fn a_cluster_that_is_down_says_so() {
    let env = TestEnv::new(PROGRAMS);
    env.configure_one(&[]);
    env.run(&["exec", "--", "true"]).exits(3);
    env.run(&["up"]).succeeds();
    env.run(&["down"]).succeeds();
    env.run(&["exec", "--", "true"])
        .exits(4)
        .explains("lkc-host status k3s-dev");
}

#[test]
fn ssh_knows_the_node_by_its_link() {
    let world = match SshWorld::new() {
        Ok(world) => world,
        Err(missing) => return skipped(&missing),
    };
    if !User::Me.is_root() {
        return skipped("an sshd that lets people in needs root");
    }
    let env = env_with_cluster(&[]);
    let key = world.plain_key("id");
    let sshd = [
        "exec",
        "-n",
        "--",
        "/usr/sbin/sshd",
        "-D",
        "-e",
        "-f",
        "/dev/null",
        "-o",
        "AuthorizedKeysFile=/run/authorized",
        "-o",
        "PidFile=none",
        "-o",
        "StrictModes=no",
        "-o",
        "ListenAddress=127.0.0.1:22",
    ];
    env.run(&["ssh"])
        .exits(3)
        .explains("the node of k3s-dev has no sshd");
    let script = "mkdir -p /etc/ssh /run/sshd && ssh-keygen -q -A && \
                  echo sshd:x:22:22::/run/sshd:/bin/false >> /etc/passwd";
    env.run(&["exec", "--", "sh", "-c", script]).succeeds();
    let public = std::fs::File::open(key.with_extension("pub")).unwrap();
    env.lkc(["exec", "--", "sh", "-c", "cat > /run/authorized"])
        .stdin(public)
        .run()
        .succeeds();
    let serving = env.lkc(sshd).spawn();
    serving.stderr_until("it listens", |text| text.contains("Server listening"));
    let identity = key.display().to_string();
    let log_in = |more: &[&str]| {
        let mut line = vec!["ssh", "--user", "root", "--", "-F", "none", "-i", &identity];
        line.extend(["-o", "BatchMode=yes"]);
        line.extend(more);
        env.run(&line)
    };
    let logged_in = log_in(&["hostname; exit 3"]).exits(3);
    assert_eq!(
        (logged_in.stdout.as_str(), logged_in.stderr.as_str()),
        ("k3s-dev\n", "")
    );
    let printed = env.run(&["ssh", "--print"]).succeeds();
    assert!(
        printed.stdout.contains("HostKeyAlias=lkc-k3s-dev"),
        "{printed}"
    );

    // Somebody else answers on the port: ssh does not believe them.
    let known = env.cluster_dir("k3s-dev").join("known_hosts");
    let text = std::fs::read_to_string(&known).unwrap();
    assert!(
        text.lines().all(|line| line.starts_with("lkc-k3s-dev ")),
        "{text}"
    );
    serving.signal(Signal::SIGTERM);
    serving.finish().succeeds();
    let generate = "ssh-keygen -q -t ed25519 -N '' -f /run/other";
    env.run(&["exec", "-n", "--", "sh", "-c", generate])
        .succeeds();
    let mut impostor = sshd.to_vec();
    impostor.extend(["-o", "HostKey=/run/other"]);
    let serving = env.lkc(impostor).spawn();
    serving.stderr_until("it listens", |text| text.contains("Server listening"));
    log_in(&["hostname"])
        .exits(255)
        .explains("Host key verification failed");
    serving.signal(Signal::SIGTERM);
    serving.finish().succeeds();
}

#[test]
fn status_says_what_the_node_is_and_how_its_clock_stands() {
    let env = env_with_cluster(&[]);
    let status = env.run(&["status", "k3s-dev"]).succeeds();
    assert!(
        status.stdout.contains("\n  node        k3s-dev, "),
        "{status}"
    );
    assert!(
        !status.stdout.contains("\n  clock "),
        "one kernel has one clock: {status}"
    );
    assert!(
        status.stdout.contains("\n  in use      memory "),
        "{status}"
    );
    let json = env
        .run(&["status", "k3s-dev", "--output", "json"])
        .succeeds();
    let node = &json.json()[0]["node"];
    assert_eq!(node["hostname"], "k3s-dev");
    assert_eq!(node["clock_skew_ms"], 0, "{node}");
    assert!(node["usage"]["memory_kib"].as_u64() > Some(0), "{node}");
    assert!(
        node["usage"]["disks"][0]["size_kib"].as_u64() > Some(0),
        "{node}"
    );
    env.process_in("k3s-dev", "lkc-guest")
        .unwrap()
        .signal(Signal::SIGSTOP);
    let frozen = env.run(&["status", "k3s-dev"]).succeeds();
    assert!(!frozen.stdout.contains("\n  node "), "{frozen}");
    env.process_in("k3s-dev", "lkc-guest")
        .unwrap()
        .signal(Signal::SIGCONT);
}
