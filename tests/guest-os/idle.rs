//! A guest that nobody asks anything: how often its two processes wake, and what they hold.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use lkc_protocol::message::{Rung, RungState};

use crate::{
    host::Host,
    k3s::configuration,
    machine::Machine,
    network::block_on,
    trial::{self, tell},
};

/// The two processes, by their units.
const UNITS: [&str; 2] = ["lkc-guest", "lkc-steward"];

/// How long they are watched without a host, in seconds.
const ALONE: u64 = 6;

/// How long with one.
const IDLE: u64 = 12;

/// What the link's ping, which comes every four seconds, and the watchdogs wake them for in that time:
/// each ping is heard, answered or answers, and its timer comes in several steps.
const MOST_WAKES: [u64; 2] = [30, 6];

/// Most memory of both together in KiB that is in no file. It bounds programs for developers too, whose
/// resident memory is mostly their own, large, code.
const MOST_ANONYMOUS: u64 = 6 * 1024;

/// Neither systemd nor anything else is asked again and again; the service manager's watchdog is fed,
/// and the host's ping is answered.
#[test]
fn an_idle_guest_sleeps_and_holds_little() {
    let Some(machine) = Machine::boot(2) else {
        return;
    };
    block_on(async {
        machine.until_run("systemctl is-active lkc-guest", "active");
        machine.run("sleep 2");
        let woken = wakes_within(&machine, ALONE);
        let alone = Memory::of_both(&machine);
        tell(&format!(
            "a guest that waits for its first host: {alone}; in {ALONE} s the agent woke {} times, the steward {}",
            woken[0], woken[1]
        ));
        assert!(woken[0] <= 6 && woken[1] <= 6, "{woken:?}");
        trial::keep(&machine, trial::dual_wanted(1)).await;
        let host = Host::local(&machine).await;
        host.until(Rung::Network, |rung| rung.state == RungState::Ready)
            .await;
        machine.run("sleep 2");
        let woken = wakes_within(&machine, IDLE);
        let idle = Memory::of_both(&machine);
        tell(&format!(
            "a guest with a link and a network: {idle}; in {IDLE} s the agent woke {} times, the steward {}",
            woken[0], woken[1]
        ));
        assert!(woken[0] <= MOST_WAKES[0], "{woken:?}");
        assert!(woken[1] <= MOST_WAKES[1], "{woken:?}");
        idle.assert_little();

        let wanted = configuration("192.100.0.10", &[]);
        host.ask(&wanted).await.unwrap();
        host.until(Rung::Api, |rung| rung.state == RungState::Ready)
            .await;
        machine.until_run("systemctl is-active lkc-steward", "inactive");
        let woken = wakes_within(&machine, IDLE);
        let resting = Memory::of_both(&machine);
        tell(&format!(
            "a guest that follows k3s: {resting}; in {IDLE} s the agent woke {} times",
            woken[0]
        ));
        assert_eq!(resting.0[1].resident, 0, "the steward rests");
        resting.assert_little();
        host.close().await;
    });
}

/// How often both wake in so many seconds. Threads that end meanwhile are left out.
fn wakes_within(machine: &Machine, seconds: u64) -> [u64; 2] {
    let count =
        || UNITS.map(|unit| tasks(machine, unit).map_or_else(HashMap::new, |task| wakes(&task)));
    let before = count();
    machine.run(&format!("sleep {seconds}"));
    let mut units = before.iter();
    count().map(|after| {
        let before = units.next().unwrap();
        let of = |(thread, count): (&OsString, &u64)| count - before.get(thread).unwrap_or(&0);
        after.iter().map(of).sum()
    })
}

/// The threads of a unit's process; none where it has none, as a steward that rests.
fn tasks(machine: &Machine, unit: &str) -> Option<PathBuf> {
    let pid = machine.run(&format!("systemctl show -P MainPID {unit}"));
    let pid = Some(pid.trim()).filter(|pid| *pid != "0")?;
    Some(machine.inner(&format!("/proc/{pid}/task")))
}

/// How often each thread of a process has slept.
fn wakes(task: &Path) -> HashMap<OsString, u64> {
    let of = |thread: fs::DirEntry| {
        let status = fs::read_to_string(thread.path().join("status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        Some((thread.file_name(), line?.trim().parse().ok()?))
    };
    let threads = fs::read_dir(task).unwrap();
    threads.filter_map(|thread| of(thread.unwrap())).collect()
}

/// Memory of the two processes in KiB.
struct Memory([Held; 2]);

#[derive(Debug, Clone, Copy, Default)]
struct Held {
    resident: u64,
    /// With what is shared divided by those who share it.
    proportional: u64,
    anonymous: u64,
}

impl Memory {
    fn of_both(machine: &Machine) -> Self {
        Self(UNITS.map(|unit| {
            let Some(tasks) = tasks(machine, unit) else {
                return Held::default();
            };
            let rollup = tasks.with_file_name("smaps_rollup");
            let text = fs::read_to_string(&rollup).unwrap();
            let of = |name: &str| -> u64 {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                let line = line.unwrap_or_else(|| panic!("no {name} in {text}"));
                line.trim().trim_end_matches(" kB").parse().unwrap()
            };
            Held {
                resident: of("Rss:"),
                proportional: of("Pss:"),
                anonymous: of("Anonymous:"),
            }
        }))
    }

    fn sum(&self, of: impl Fn(&Held) -> u64) -> u64 {
        self.0.iter().map(of).sum()
    }

    fn assert_little(&self) {
        let anonymous = self.sum(|held| held.anonymous);
        assert!(anonymous <= MOST_ANONYMOUS, "{self}");
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [agent, steward] = self.0;
        write!(
            formatter,
            "{} KiB resident (agent {}, steward {}), {} proportional ({}, {}), {} in no file ({}, {})",
            self.sum(|held| held.resident),
            agent.resident,
            steward.resident,
            self.sum(|held| held.proportional),
            agent.proportional,
            steward.proportional,
            self.sum(|held| held.anonymous),
            agent.anonymous,
            steward.anonymous,
        )
    }
}
