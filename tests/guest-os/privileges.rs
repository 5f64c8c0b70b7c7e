//! What the agent and the steward may not do, tried from inside: the packaged unit with a list of
//! attempts in the place of its program.

use std::fs;

use lkc_protocol::{exec, message};

use crate::{
    host::Host,
    machine::{Machine, PATIENCE},
    network::block_on,
    trial,
};

/// Greatest exposure that a unit may have, in tenths, by `systemd-analyze security`: alone, and the
/// steward where it sets the clock.
const EXPOSURES: [(&str, &str, u32); 3] = [
    ("lkc-guest", "", 20),
    ("lkc-steward", "", 20),
    ("lkc-steward", SET_CLOCK, 24),
];

/// The drop-in with which hosts set the clock. It is never given to a machine of these tests: in a
/// namespace there is no clock but this computer's.
const SET_CLOCK: &str = include_str!("../../guest-agent/systemd/set-clock.conf");

/// Sockets by the numbers of their families.
const INTERNET: &str = "perl -e 'socket(S, 2, 1, 0) or die'";
const INTERNET_6: &str = "perl -e 'socket(S, 10, 1, 0) or die'";
const PACKETS: &str = "perl -e 'socket(S, 17, 3, 0) or die'";
const VSOCK: &str = "perl -e 'socket(S, 40, 1, 0) or die'";
const LOW_PORT: &str =
    "perl -MSocket -e 'socket(S, 2, 1, 0) or die; bind(S, sockaddr_in(80, INADDR_ANY)) or die'";

/// The flags of a link, set and read on a socket of any family; `ip` gives up its powers by itself.
const DOWN: &str = "perl -e 'socket(S, 1, 2, 0) or die; \
    ioctl(S, 0x8914, my $q = pack(\"a16sx22\", \"eth0\", 0)) or die'";
const SEEN: &str = "perl -e 'socket(S, 1, 2, 0) or die; \
    ioctl(S, 0x8913, my $q = pack(\"a16sx22\", \"eth0\", 0)) or die'";

/// What is denied to both.
const TO_BOTH: &[(&str, &str)] = &[
    ("write the system", "echo x >/usr/lkc-was-here"),
    ("write its configuration", "echo x >>/etc/hosts"),
    ("see homes", "ls /root"),
    ("mount", "mount -t tmpfs none /mnt"),
    ("make a namespace", "unshare --uts true"),
    ("make one for users", "unshare --user true"),
    // To what it says: a confinement that fails shall do no harm.
    ("set the clock", "date -s @$(date +%s)"),
    ("change the kernel", "echo 0 >/proc/sys/kernel/printk"),
    ("read the kernel's log", "dmesg"),
    ("make a device", "mknod /run/device b 1 1"),
    (
        "make what runs as its owner",
        "touch $OWN/x && chmod u+s $OWN/x",
    ),
    ("move control groups", "echo 1 >/sys/fs/cgroup/cgroup.procs"),
    ("see packets", PACKETS),
    ("raise its limits", "ulimit -n 1000000"),
];

const TO_THE_AGENT: &[(&str, &str)] = &[
    ("read secrets", "cat /etc/shadow"),
    ("read k3s' credentials", "cat /etc/rancher/k3s/k3s.yaml"),
    (
        "write k3s' configuration",
        "echo x >/etc/rancher/k3s/config.yaml.d/99.yaml",
    ),
    ("change links", DOWN),
    ("name the machine", "hostname other"),
    ("restart a unit", "systemctl restart k3s"),
    ("run a unit", "systemd-run true"),
    ("restart the machine", "systemctl reboot"),
    ("signal others", "kill -0 1"),
    ("see what the steward keeps", "ls /var/lib/lkc-steward"),
    ("see what is pending", "ls /run/lkc-steward/network"),
    ("list the steward's directory", "ls /run/lkc-steward"),
    ("replace its socket", "rm /run/lkc-steward/steward.sock"),
    (
        "write networkd's files",
        "echo x >/run/systemd/network/x.network",
    ),
];

const TO_THE_STEWARD: &[(&str, &str)] = &[
    ("reach the network", INTERNET),
    ("reach it by IPv6", INTERNET_6),
    ("reach the host", VSOCK),
    ("change owners", "touch $OWN/y && chown 1 $OWN/y"),
    ("read the agent's key", "cat /var/lib/lkc/identity.pem"),
    ("become another", "setpriv --reuid=65534 true"),
];

/// What each needs: the list of attempts works, and the unit is not useless.
const OF_THE_AGENT: &[(&str, &str)] = &[
    ("have a low port", LOW_PORT),
    ("reach the network", INTERNET),
    (
        "read its credentials",
        "cat $CREDENTIALS_DIRECTORY/lkc.identity",
    ),
    (
        "read the journal",
        "journalctl --quiet --lines=1 --unit=lkc-steward | grep -q .",
    ),
    ("keep its state", "touch /var/lib/lkc/x"),
    ("see links", SEEN),
    (
        "ask the steward",
        "perl -MSocket -e 'socket(S, 1, 1, 0) or die; \
         connect(S, sockaddr_un(\"/run/lkc-steward/steward.sock\")) or die'",
    ),
];

const OF_THE_STEWARD: &[(&str, &str)] = &[
    ("read k3s' credentials", "cat /etc/rancher/k3s/k3s.yaml"),
    (
        "write k3s' configuration",
        "touch /etc/rancher/k3s/config.yaml.d/98.yaml",
    ),
    ("change links", DOWN),
    ("name the machine", "hostname lkc"),
    (
        "write networkd's files",
        "touch /run/systemd/network/lkc-tried",
    ),
    ("ask systemd", "systemctl show k3s"),
];

#[test]
fn what_is_denied_is_denied() {
    let Some(machine) = Machine::boot(1) else {
        return;
    };
    machine.run("install -m 600 /dev/null /etc/rancher/k3s/k3s.yaml; systemctl start k3s");
    let both = |own: &[(&'static str, &'static str)]| [TO_BOTH, own].concat();
    for (unit, own, denied, granted) in [
        ("lkc-guest", "/run/lkc", both(TO_THE_AGENT), OF_THE_AGENT),
        (
            "lkc-steward",
            "/run/lkc-steward",
            both(TO_THE_STEWARD),
            OF_THE_STEWARD,
        ),
    ] {
        let all: Vec<_> = denied.iter().chain(granted).copied().collect();
        let done = attempt(&machine, unit, own, &all);
        for (what, command) in &denied {
            let line = format!("no: {what}");
            assert!(
                done.contains(&line),
                "{unit} could {what}: {command}\n{done:#?}"
            );
        }
        for (what, command) in granted {
            let line = format!("yes: {what}");
            assert!(
                done.contains(&line),
                "{unit} could not {what}: {command}\n{done:#?}"
            );
        }
    }
}

/// What came of each, tried in the confinement of a packaged unit.
fn attempt(machine: &Machine, unit: &str, own: &str, all: &[(&str, &str)]) -> Vec<String> {
    let mut script = format!("#!/bin/sh\nOWN={own}\n");
    for (what, command) in all {
        script.push_str(&format!(
            "if ({command}) >/dev/null 2>{own}/why; then echo \"yes: {what}\"; else echo \"no: {what}\"; fi >>{own}/tried\n"
        ));
    }
    machine.give("/opt/try", &script);
    let text = machine.run(&format!("cat /etc/systemd/system/{unit}.service"));
    let kept = text.lines().filter(|line| {
        let of_its_program = [
            "Type=",
            "NotifyAccess=",
            "ExecStart=",
            "WatchdogSec=",
            "Restart=",
            "StandardInput=",
        ];
        !of_its_program.iter().any(|name| line.starts_with(name))
    });
    let kept: Vec<&str> = kept.collect();
    let tried = kept.join("\n").replace(
        "[Service]",
        "[Service]\nType=oneshot\nExecStart=/bin/sh /opt/try",
    );
    machine.give(&format!("/run/systemd/system/try-{unit}.service"), &tried);
    let told = machine.run(&format!(
        "systemctl daemon-reload; systemctl start try-{unit}; cat {own}/tried"
    ));
    let _ = fs::remove_file(machine.inner(&format!("{own}/tried")));
    let lines: Vec<String> = told.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), all.len(), "{told}\n{}", machine.story());
    lines
}

#[test]
fn nobody_else_asks_the_steward() {
    let Some(machine) = Machine::boot(1) else {
        return;
    };
    for socket in ["steward", "exec"] {
        let connect = format!(
            "perl -MSocket -e 'socket(S, 1, 1, 0) or die; \
             connect(S, sockaddr_un(\"/run/lkc-steward/{socket}.sock\")) or die $!; print \"in\"'"
        );
        assert_eq!(machine.run(&connect), "in", "root");
        let nobody = machine.run(&format!("setpriv --reuid=65534 --clear-groups {connect}"));
        assert!(nobody.starts_with("Permission denied"), "{nobody}");
    }
}

#[test]
fn the_units_are_exposed_no_more_than_they_say() {
    let Some(machine) = Machine::boot(1) else {
        return;
    };
    for (unit, drop_in, most) in EXPOSURES {
        let text = machine.run(&format!("cat /etc/systemd/system/{unit}.service"));
        let path = format!("/opt/analysed/{unit}.service");
        machine.give(&path, &format!("{text}\n{drop_in}"));
        let told = machine.run(&format!(
            "systemd-analyze security --offline=true --no-pager --threshold={most} {path} && echo good"
        ));
        let level = told
            .lines()
            .find(|line| line.contains("Overall exposure level"));
        trial::tell(
            level
                .unwrap_or_default()
                .trim_start_matches(|c: char| !c.is_ascii()),
        );
        assert!(told.trim_end().ends_with("good"), "{told}");
    }
    let status = machine.run("cat /proc/$(systemctl show -P MainPID lkc-guest)/status");
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000400"] {
        assert!(status.contains(line), "{status}");
    }
    assert!(!status.contains("Uid:\t0"), "{status}");
    for unit in ["lkc-guest", "lkc-steward"] {
        let memory = machine.run(&format!(
            "grep -E '^(Rss|Pss|Pss_Anon|Private_Dirty):' /proc/$(systemctl show -P MainPID {unit})/smaps_rollup | tr -s ' \\n' ' '"
        ));
        trial::tell(&format!("{unit}: {memory}"));
    }
}

#[test]
fn a_program_of_a_hosts_is_roots_and_free() {
    let Some(machine) = Machine::boot(1) else {
        return;
    };
    block_on(async {
        let host = Host::local(&machine).await;
        let script = "read line; echo \"$line $(id -u) $(grep CapEff /proc/self/status | cut -c8-)\"; \
                      cat /proc/self/cgroup; hostname tried; echo oops >&2; exit 7";
        let (output, errors, end) = execute(&host, script, None, b"hello\n").await;
        assert!(output.starts_with("hello 0 \t"), "{output}");
        assert!(!output.contains("\t0000000000000400"), "{output}");
        assert!(output.contains("/lkc-exec@"), "{output}");
        assert_eq!(
            (errors.as_str(), end),
            ("oops\n", exec::ProgramEnd::Exited(7))
        );
        assert_eq!(machine.run("hostname").trim(), "tried");

        let size = message::TerminalSize {
            columns: 91,
            rows: 17,
        };
        let (output, _, end) =
            execute(&host, "stty size; tty; kill -TERM $$", Some(size), b"").await;
        assert!(output.starts_with("17 91\r\n/dev/pts/"), "{output}");
        assert_eq!(end, exec::ProgramEnd::Killed(15));

        // One that is not told goes when its host does.
        let stream = begin(&host, "exec -a lkc-sleeps sleep 600", None).await;
        machine.until_run(
            "pgrep -f lkc-sleeps || cat /proc/[0-9]*/cmdline | tr '\\0' ' '",
            "lkc-sleeps",
        );
        drop(stream);
        host.close().await;
    });
    let left = || {
        let all = machine.run("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '");
        (!all.contains("lkc-sleeps")).then_some(())
    };
    assert!(lkc_tests::within(PATIENCE, left).is_some(), "it goes on");
}

async fn begin(
    host: &Host,
    script: &str,
    terminal: Option<message::TerminalSize>,
) -> lkc_protocol::link::Stream {
    let wanted = message::Exec {
        arguments: ["bash", "-c", script].map(str::to_owned).to_vec(),
        environment: Vec::new(),
        directory: None,
        terminal,
    };
    host.begin(&wanted).await
}

async fn execute(
    host: &Host,
    script: &str,
    terminal: Option<message::TerminalSize>,
    input: &'static [u8],
) -> (String, String, exec::ProgramEnd) {
    let stream = begin(host, script, terminal).await;
    let (reader, writer) = stream.halves();
    let piece = exec::ToProgram::Input(bytes::Bytes::from_static(input));
    writer.write(exec::encode(&piece)).await.unwrap();
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let mut decoder = exec::Decoder::default();
    loop {
        let read = tokio::time::timeout(PATIENCE, reader.read()).await.unwrap();
        decoder.push(&read.unwrap().expect("no end"));
        while let Some(piece) = decoder.pop().unwrap() {
            match piece {
                exec::FromProgram::Output(bytes) => output.extend_from_slice(&bytes),
                exec::FromProgram::Errors(bytes) => errors.extend_from_slice(&bytes),
                exec::FromProgram::Ended(end) => {
                    let text = |bytes| String::from_utf8(bytes).unwrap();
                    return (text(output), text(errors), end);
                }
            }
        }
    }
}
