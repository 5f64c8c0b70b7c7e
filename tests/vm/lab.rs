//! A cluster of one virtual machine.

use std::{
    env,
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lkc_tests::{Programs, TestEnv, eventually, find_program, skipped};
use serde_json::Value;

use crate::monitor::Monitor;

/// How long an emulated machine may take to boot, on a computer that does other things too.
pub(crate) const BOOT: Duration = Duration::from_secs(240);

/// What leads to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// AF_VSOCK by a process of the host.
    Vsock,
    /// A virtio-serial port, and nothing else. Its guest's clock is [`BEHIND`].
    Serial,
}

/// How far behind a guest's clock may be: a laptop has slept over night.
pub(crate) const BEHIND: Duration = Duration::from_secs(8 * 3600);

/// The name of the cluster.
pub(crate) const CLUSTER: &str = "k3s-dev";

const QEMU: &str = "qemu-system-x86_64";

/// Port of the guest on which a reverse forward brings connections back to this host.
pub(crate) const MIRROR: u16 = 5000;

/// Port of the guest that swallows bytes, by TCP and by AF_VSOCK.
pub(crate) const SINK: u16 = 5001;

/// Port of the guest that gives zeros without end, by TCP and by AF_VSOCK.
pub(crate) const SOURCE: u16 = 5002;

/// An environment with a virtual machine, which is not up yet.
pub(crate) struct Lab {
    pub(crate) env: TestEnv,
    pub(crate) carrier: Carrier,
}

impl Lab {
    /// None where what it needs is missing; that is said.
    pub(crate) fn new(carrier: Carrier) -> Option<Self> {
        let image = given("LKC_VM_IMAGE")?;
        let device = given("LKC_VM_VSOCK_DEVICE")?;
        let env = TestEnv::new(programs()?);
        let bin = env.root().join("bin");
        match carrier {
            Carrier::Vsock => symlink(device, bin.join("vhost-device-vsock")).unwrap(),
            Carrier::Serial => set_the_clock_back(&bin),
        }
        let lab = Self { env, carrier };
        lab.env.configure(&lab.configuration(&image));
        Some(lab)
    }

    fn configuration(&self, image: &Path) -> String {
        let cluster = self.env.cluster(CLUSTER, 0, &[], "driver = \"qemu\"");
        let mirror = self.env.spare_port(0);
        let forwards: String = [
            ("mirror", self.mirror_port(), MIRROR),
            ("sink", self.sink_port(), SINK),
            ("source", self.source_port(), SOURCE),
        ]
        .iter()
        .map(|(name, host, guest)| {
            format!(
                "[[cluster.{CLUSTER}.forward]]\nname = \"{name}\"\nhost = {host}\nguest = {guest}\n"
            )
        })
        .collect();
        format!(
            "{cluster}\n[cluster.{CLUSTER}.vm]\nimage = {image:?}\ncpus = 2\nmemory = \"512MiB\"\n{forwards}\
             [[cluster.{CLUSTER}.reverse]]\nname = \"back\"\nguest = {MIRROR}\nhost = {mirror}\n"
        )
    }

    /// Where a connection has to be accepted that came through the guest and back.
    pub(crate) fn mirror_target(&self) -> (&'static str, u16) {
        ("127.0.0.1", self.env.spare_port(0))
    }

    /// Where such a connection begins.
    pub(crate) fn mirror_port(&self) -> u16 {
        self.env.spare_port(1)
    }

    pub(crate) fn sink_port(&self) -> u16 {
        self.env.spare_port(2)
    }

    pub(crate) fn source_port(&self) -> u16 {
        self.env.spare_port(3)
    }

    /// Brings it up to the rung `node`, and says how long it took.
    pub(crate) fn up(&self) -> Duration {
        let since = Instant::now();
        self.env
            .lkc(["up", "--timeout", "4m"])
            .within(BOOT + Duration::from_secs(20))
            .run()
            .succeeds()
            .prints("is up");
        since.elapsed()
    }

    pub(crate) fn status(&self) -> Value {
        self.env.status(CLUSTER)
    }

    /// How often there was a link.
    pub(crate) fn connects(&self) -> u64 {
        self.status()["link"]["connects"].as_u64().unwrap()
    }

    /// Waits until there were more links than `before`, and says when that was.
    pub(crate) fn linked_again(&self, before: u64) -> Instant {
        eventually("the link is back", BOOT, || self.is_linked_again(before))
    }

    /// Now, if there were more links than `before` and there is one.
    pub(crate) fn is_linked_again(&self, before: u64) -> Option<Instant> {
        let status = self.status();
        let is_up = status["link"]["state"] == "up";
        let connects = status["link"]["connects"].as_u64().unwrap();
        (is_up && connects > before).then(Instant::now)
    }

    /// A socket of the machine.
    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.env.runtime_dir().join(CLUSTER).join(name)
    }

    /// QEMU itself.
    pub(crate) fn monitor(&self) -> Monitor {
        Monitor::connect(&self.socket("qmp.sock"))
    }

    /// How often an agent of the guest has said that it listens.
    pub(crate) fn agents(&self) -> usize {
        self.console().matches("lkc-guest runs").count()
    }

    /// What a shell's lines write in the guest.
    pub(crate) fn said(&self, lines: &str) -> String {
        self.env
            .lkc(["exec", "--no-tty", "--", "sh", "-ec", lines])
            .within(BOOT)
            .run()
            .succeeds()
            .stdout
            .clone()
    }

    /// The guest's console.
    pub(crate) fn console(&self) -> String {
        let path = self.env.cluster_dir(CLUSTER).join("machine/console.log");
        String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
    }
}

/// Says something that the run's log is to have: a figure, a time.
#[expect(clippy::print_stdout, reason = "figures are what the run is for, too")]
pub(crate) fn report(text: &str) {
    println!("   {text}");
}

/// Has each start of QEMU tell the machine another time than the host's.
fn set_the_clock_back(bin: &Path) {
    let qemu = find_program(QEMU).unwrap();
    let script = format!(
        "#!/bin/bash\nthen=$(date -u -d '-{} seconds' +%FT%T)\nexec {qemu:?} \"${{@/#base=utc/base=$then}}\"\n",
        BEHIND.as_secs()
    );
    let path = bin.join(QEMU);
    fs::write(&path, script).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
}

fn given(variable: &str) -> Option<PathBuf> {
    let path = env::var_os(variable).map(PathBuf::from);
    if path.is_none() {
        skipped(&format!("{variable} is not set: tests/vm/run does that"));
    }
    path
}

/// Those of a directory, or those that were built for the tests.
fn programs() -> Option<Programs> {
    let tested = Programs {
        host: env!("CARGO_BIN_EXE_tested-lkc-host"),
        guest: env!("CARGO_BIN_EXE_tested-lkc-guest"),
        simulator: env!("CARGO_BIN_EXE_k3s-simulator"),
    };
    let directory = given("LKC_VM_PROGRAMS")?;
    let named = |name: &str, usual: &'static str| -> &'static str {
        let path = directory.join(name);
        if path.exists() {
            String::leak(path.display().to_string())
        } else {
            usual
        }
    };
    Some(Programs {
        host: named("lkc-host", tested.host),
        guest: named("lkc-guest", tested.guest),
        simulator: named("k3s-simulator", tested.simulator),
    })
}
