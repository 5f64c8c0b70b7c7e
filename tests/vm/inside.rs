//! A host inside the machine that dials AF_VSOCK.
//!
//! The tests' computer may have no AF_VSOCK, or one that is not theirs. The machine's kernel has a
//! device that leads back to itself, so that a real `lkc-host` connects by a real AF_VSOCK there. A
//! relay stands behind it: the agent turns away whose context id is not the host's, which is seen
//! here as well.

use std::time::{Duration, Instant};

use lkc_tests::{Outcome, eventually};
use serde_json::Value;

use crate::{
    lab::{BOOT, CLUSTER, Lab, report},
    traffic::PATIENCE,
};

/// Ports of AF_VSOCK: where the relay listens, where the agent itself does, and where nobody does.
const RELAY: u32 = 7000;
const AGENT: u32 = 5000;
const NOBODY: u32 = 7001;

/// The machine's own context id, in what follows.
const CID: &str = "{cid}";

/// A host with a home of its own, a relay, and a program that gives back what it is sent.
const PREPARE: &str = r#"
modprobe vsock_loopback
mkdir -p -m 700 /run/inside /run/inside/run
cat >/run/inside/lkc.toml <<'END'
[cluster.k3s-dev]
index = 0
gateway = "192.100.0.1"
nameservers = ["192.100.0.2"]
carriers = ["vsock:{cid}:7001", "vsock:{cid}:7000"]
[cluster.k3s-dev.ports]
api = 17443
http = false
https = false
ssh = false
[[cluster.k3s-dev.forward]]
name = "echo"
host = 17003
guest = 5003
[[cluster.k3s-dev.forward]]
name = "sink"
host = 17001
guest = 5001
END
systemd-run --quiet --unit=inside-relay socat VSOCK-LISTEN:7000,fork,reuseaddr UNIX-CONNECT:/run/lkc/agent.sock
systemd-run --quiet --unit=inside-echo socat TCP-LISTEN:5003,fork,reuseaddr,bind=127.0.0.1 EXEC:cat
/opt/lkc/bin/lkc-guest token >/run/inside/token
"#;

/// Each byte there and back, and the end of the stream with them.
const ECHO: &str = "
head -c 4194304 /dev/urandom >/run/inside/sent
socat -t 60 - TCP:127.0.0.1:17003 </run/inside/sent >/run/inside/back
cmp /run/inside/sent /run/inside/back
";

/// Nanoseconds that 16 MiB take without lkc, and with it.
const RATES: &str = "
nanoseconds() {
  begun=$(date +%s%N)
  head -c 16777216 /dev/zero | socat -t 60 - $1 >/dev/null
  echo $(($(date +%s%N) - begun))
}
nanoseconds VSOCK-CONNECT:{cid}:5001
nanoseconds TCP:127.0.0.1:17001
";

/// The host inside connects, carries, loses its carrier and finds it again.
pub(crate) fn dials_by_vsock(lab: &Lab) {
    let inside = Inside::new(lab);
    inside.run(PREPARE).succeeds();
    let turned_away = inside.adopt(AGENT);
    turned_away.exits(4).explains("preface");
    let absent = inside.adopt(NOBODY);
    absent.exits(4).explains("lkc-guest in it listens");
    inside.adopt(RELAY).succeeds();
    inside
        .run("lkc-host up --wait agent --timeout 2m")
        .succeeds();
    let link = inside.status()["link"].clone();
    assert_eq!(link["carrier"], inside.carrier(RELAY), "{link:#}");

    let boot_id = "cat /proc/sys/kernel/random/boot_id";
    let through = inside.run(&format!("lkc-host exec --no-tty -- {boot_id}"));
    assert_eq!(through.succeeds().stdout, lab.said(boot_id));
    inside.run(ECHO).succeeds();
    report_rates(&inside.run(RATES).succeeds().stdout);

    let before = connects(&inside.status());
    let since = Instant::now();
    lab.said("systemctl restart inside-relay.service");
    eventually("the link inside is back", PATIENCE, || {
        let status = inside.status();
        (status["link"]["state"] == "up" && connects(&status) > before).then_some(())
    });
    report(&format!(
        "AF_VSOCK: a carrier that was cut is back, as status inside tells, after {:.1} s",
        since.elapsed().as_secs_f64()
    ));
    inside.run(ECHO).succeeds();
    inside
        .run("lkc-host delete --yes; lkc-host daemon stop")
        .succeeds();
    lab.said("systemctl stop inside-relay.service inside-echo.service; rm -r /run/inside");
}

/// The host inside.
struct Inside<'a> {
    lab: &'a Lab,
    cid: u32,
}

impl<'a> Inside<'a> {
    fn new(lab: &'a Lab) -> Self {
        let device = lab.env.process_in(CLUSTER, "vhost-device-vs").unwrap();
        let line = device.command_line();
        let (_, behind) = line.split_once("guest-cid=").unwrap();
        let (cid, _) = behind.split_once(',').unwrap();
        let cid = cid.parse().unwrap();
        Self { lab, cid }
    }

    fn carrier(&self, port: u32) -> String {
        format!("vsock:{}:{port}", self.cid)
    }

    fn adopt(&self, port: u32) -> Outcome {
        let carrier = self.carrier(port);
        self.run(&format!(
            "lkc-host adopt --carrier {carrier} </run/inside/token"
        ))
    }

    /// How a shell's lines ended that it is given.
    fn run(&self, lines: &str) -> Outcome {
        let environment = "export HOME=/run/inside XDG_RUNTIME_DIR=/run/inside/run \
            LKC_CONFIG=/run/inside/lkc.toml PATH=/opt/lkc/bin:$PATH";
        let script = format!("{environment}\n{lines}").replace(CID, &self.cid.to_string());
        self.lab
            .env
            .lkc(["exec", "--no-tty", "--", "sh", "-euc", &script])
            .within(BOOT)
            .run()
    }

    fn status(&self) -> Value {
        let answer = self.run("lkc-host status k3s-dev --output json");
        answer.succeeds().json()[0].take()
    }
}

fn connects(status: &Value) -> u64 {
    status["link"]["connects"].as_u64().unwrap()
}

fn report_rates(said: &str) {
    let times: Vec<Duration> = said
        .lines()
        .map(|line| Duration::from_nanos(line.parse().unwrap()))
        .collect();
    let [raw, tunnel] = times[..] else {
        panic!("two times in: {said}");
    };
    let rate = |time: Duration| 16.0 / time.as_secs_f64();
    report(&format!(
        "AF_VSOCK, both ends in the machine: raw {:.1} MiB/s, tunnel {:.1}, ratio {:.2}",
        rate(raw),
        rate(tunnel),
        raw.as_secs_f64() / tunnel.as_secs_f64()
    ));
}
