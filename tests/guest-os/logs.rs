//! `lkc-host logs -f` on the journal: what it shows while the agent goes and comes, the journal drops
//! what it has, and the machine is started again.

use std::{
    env, fs,
    ops::RangeInclusive,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use lkc_tests::{Programs, Running, TestEnv};

use crate::machine::{MACS, Machine, PATIENCE};

const CLUSTER: &str = "k3s-dev";

/// In the place of k3s, whose words nobody could count: what is written to a pipe, line by line. One
/// that is there stays: it is started anew for its configuration, and somebody may write already.
const LINES: &str = "[Unit]\nConditionPathExists=\n[Service]\nType=simple\nExecStart=\n\
     ExecStart=/bin/sh -c 'test -p /run/lines || mkfifo /run/lines; exec cat <>/run/lines'\n";

#[test]
fn a_journal_is_followed_across_reconnects() {
    let Some(mut machine) = Machine::make(1) else {
        return;
    };
    let env = TestEnv::new(programs());
    let keys = env.run(&["identity", CLUSTER, "--output", "json"]);
    let host = keys.succeeds().json()["host"]["key"]
        .as_str()
        .unwrap()
        .to_owned();
    let hosts = machine.dir.path().join("credentials/lkc.authorized_hosts");
    fs::write(hosts, format!("{host}\n")).unwrap();
    machine.prepare("/etc/systemd/system/k3s.service.d/zz-lines.conf", LINES);
    machine.start();
    let socket = env.work().join("guest.sock");
    symlink(machine.socket(), &socket).unwrap();
    let more = format!(
        "driver = \"existing\"\ncarriers = [\"unix:{}\"]\nguest-key = \"{}\"\nmac = \"{}\"\naddress = \"10.77.0.10/24\"",
        socket.display(),
        machine.key,
        MACS[0]
    );
    env.configure(&env.cluster(CLUSTER, 0, &[], &more));
    env.lkc(["up", "--wait", "k3s", "--timeout", "100s"])
        .within(PATIENCE)
        .run()
        .succeeds();

    machine.until_run("test -p /run/lines && echo there", "there");
    say(&machine, 1..=3);
    let logs = env.lkc(["logs", "-f"]).within(PATIENCE).spawn();
    until(&logs, 3);
    for (from, end) in [(4, "restart"), (14, "kill --signal=KILL")] {
        say(&machine, from..=from + 4);
        machine.run(&format!("systemctl {end} lkc-guest"));
        say(&machine, from + 5..=from + 9);
        until(&logs, from + 9);
    }
    machine.run("systemctl stop lkc-guest");
    say(&machine, 24..=40);
    machine.run("systemctl start lkc-guest");
    until(&logs, 40);
    let silent = |text: &str| !text.contains("log");
    logs.stderr_until("nothing is missing", silent);

    // The journal drops what it has while nobody is there.
    machine.run("systemctl stop lkc-guest; journalctl --rotate; rm -f /var/log/journal/*/*@*.journal /run/log/journal/*/*@*.journal");
    say(&machine, 41..=43);
    machine.run("systemctl start lkc-guest");
    until(&logs, 43);
    logs.stderr_until("a gap is said", |text| {
        text.contains("no longer has the last line shown")
    });

    // In namespaces the kernel goes on, and its boot: nobody can say that this was another one.
    machine.reboot();
    fs::remove_file(&socket).unwrap();
    symlink(machine.socket(), &socket).unwrap();
    machine.until_run("test -p /run/lines && echo there", "there");
    say(&machine, 44..=46);
    until(&logs, 46);

    let shown = logs.stdout_until("all of it", |_| true);
    let shown: Vec<&str> = shown
        .lines()
        .filter(|line| line.starts_with("line "))
        .collect();
    let said: Vec<String> = (1..=46).map(|number| format!("line {number}")).collect();
    assert_eq!(shown, said, "each once, in order");
    env.run(&["logs", "--source", "agent"])
        .succeeds()
        .prints("lkc-guest runs");
    env.run(&["delete", "--yes"]).succeeds();
    logs.finish().exits(4).explains("the cluster is going down");
}

/// Has the unit say its lines with these numbers.
fn say(machine: &Machine, numbers: RangeInclusive<u32>) {
    let (first, last) = (numbers.start(), numbers.end());
    let said = machine.run(&format!(
        "for number in $(seq {first} {last}); do echo line $number; done >/run/lines && echo said"
    ));
    assert_eq!(said.trim(), "said", "{}", machine.story());
    // What is in the journal is no longer in the pipe, which ends with the machine.
    machine.until_run(
        "journalctl --unit=k3s --output=cat --lines=1",
        &format!("line {last}"),
    );
}

fn until(logs: &Running, number: u32) {
    let wanted = format!("line {number}\n");
    logs.stdout_until(&wanted, |text| text.contains(&wanted));
}

/// Those that the machine has, or those that were built for the tests.
fn programs() -> Programs {
    let directory = env::var_os("LKC_GUEST_OS_PROGRAMS").map(PathBuf::from);
    let named = |name: &str, usual: &'static str| -> &'static str {
        let given = directory
            .as_deref()
            .map(|directory: &Path| directory.join(name));
        match given.filter(|path| path.exists()) {
            Some(path) => String::leak(path.display().to_string()),
            None => usual,
        }
    };
    Programs {
        host: named("lkc-host", env!("CARGO_BIN_EXE_tested-lkc-host")),
        guest: named("lkc-guest", env!("CARGO_BIN_EXE_tested-lkc-guest")),
        simulator: named("k3s-simulator", env!("CARGO_BIN_EXE_k3s-simulator")),
    }
}
