//! Real namespaces, with a shell script in place of the agent.

mod harness;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use self::harness::{Lab, can_enter};
use super::report::Record;
use super::{AGENT_SOCKET, SandboxMode, probe};
use crate::machine::{self, GuestFile, MachineError, MachineExit, MachineSpec};

const GRACE: Duration = Duration::from_secs(10);

/// Says that it is there and lives until it is told to stop.
const IDLE: &str = "echo up > /run/lkc/say; exec sleep 3600";

#[tokio::test]
async fn the_agent_sees_a_machine_of_its_own() {
    if !can_enter() {
        return;
    }
    let mut lab = Lab::new(
        r#"exec 3>&1 > /run/lkc/say
        echo "hostname $(cat /proc/sys/kernel/hostname) $(cat /etc/hostname)"
        echo "pid1 $(tr '\0' ' ' < /proc/1/cmdline)"
        echo "user $(id -u) home $HOME container $container extra $EXTRA"
        echo "secretless ${LKC_TEST_LEAK-unset}"
        echo "args $*"
        echo "links $(cd /sys/class/net; echo *)"
        echo "mac $(cat /sys/class/net/ens3/address)"
        echo "ens3 $(cat /sys/class/net/ens3/flags)"
        echo "lo $(cat /sys/class/net/lo/flags)"
        echo "uplink $(cat /sys/class/net/uplink/flags)"
        echo "identity $(cat /etc/lkc/identity.key) $(stat -c %a /etc/lkc/identity.key)"
        echo "k3s $(command -v k3s)"
        echo "old $(ls /old /work 2>/dev/null)"
        touch /usr/lkc-was-here 2>/dev/null && echo "usr writable"
        echo x > /dev/null && echo "null works"
        echo 1 > /proc/sys/net/ipv4/ip_forward && echo "sysctl works"
        echo end
        exec >&3; exec sleep 3600"#,
    );
    lab.spec.agent_args = vec!["--config".into(), "/etc/lkc/guest.toml".into()];
    lab.spec.env.insert("EXTRA".into(), "yes".into());
    lab.spec.files.push(GuestFile {
        path: "/etc/lkc/identity.key".into(),
        contents: b"key".to_vec(),
        mode: 0o600,
    });
    let machine = machine::start(&lab.spec).await.unwrap();
    let seen = lab.hear_until("end").await.join("\n");
    let flags = |name: &str| {
        let line = seen.lines().find(|line| line.starts_with(name)).unwrap();
        u32::from_str_radix(line.split("0x").nth(1).unwrap(), 16).unwrap()
    };
    for expected in [
        "hostname k3s-test k3s-test",
        "pid1 lkc-host sandbox-init",
        "user 0 home /root container lkc extra yes",
        "secretless unset",
        "args --config /etc/lkc/guest.toml",
        "links ens3 lo uplink",
        "mac 52:54:00:c8:32:0a",
        "identity key 600",
        "k3s /opt/lkc/bin/k3s",
        "null works",
        "sysctl works",
    ] {
        assert!(seen.contains(expected), "{expected} is not in\n{seen}");
    }
    assert!(seen.lines().any(|line| line == "old "), "{seen}");
    assert!(!seen.contains("usr writable"), "{seen}");
    const UP: u32 = 1;
    assert_eq!(flags("ens3") & UP, 0, "the agent is to bring it up");
    assert_eq!(flags("lo") & UP, UP);
    assert_eq!(flags("uplink") & UP, UP);
    machine.stop(GRACE).await.unwrap();
}

#[tokio::test]
async fn var_and_rancher_survive_a_stop_and_the_rest_does_not() {
    if !can_enter() {
        return;
    }
    let mut lab = Lab::new(
        r#"exec 3>&1 > /run/lkc/say
        if [ -e /etc/scratch ] || [ -e /tmp/scratch ]; then echo leaked; fi
        mkdir -p /var/lib/rancher; echo run >> /var/lib/rancher/runs
        echo run >> /etc/rancher/runs
        touch /etc/scratch /tmp/scratch
        cat /etc/machine-id /var/lib/rancher/runs /etc/rancher/runs
        echo end
        exec >&3; exec sleep 3600"#,
    );
    let mut machine_ids = Vec::new();
    for runs in [1, 2] {
        let machine = machine::start(&lab.spec).await.unwrap();
        let mut seen = lab.hear_until("end").await;
        machine_ids.push(seen.remove(0));
        assert_eq!(seen, vec!["run"; 2 * runs]);
        machine.stop(GRACE).await.unwrap();
    }
    assert_eq!(machine_ids[0].len(), 32);
    assert_eq!(machine_ids[0], machine_ids[1]);
}

#[tokio::test]
async fn an_agent_that_is_killed_comes_back_and_what_it_started_stays() {
    if !can_enter() {
        return;
    }
    let mut lab = Lab::new(
        r#"if ! [ -e /run/lkc/k3s.pid ]; then
            setsid sh -c 'echo $$ > /run/lkc/k3s.pid; kill -9 "$0"; exec sleep 3600' $$ & wait
        fi
        kill -0 "$(cat /run/lkc/k3s.pid)" && echo alive > /run/lkc/say
        exec sleep 3600"#,
    );
    let machine = machine::start(&lab.spec).await.unwrap();
    assert_eq!(lab.hear().await, "alive");
    machine.stop(GRACE).await.unwrap();
    assert_eq!(machine.exited().await.unwrap(), MachineExit::Stopped);
}

#[tokio::test]
async fn an_agent_that_ends_well_ends_the_machine() {
    if !can_enter() {
        return;
    }
    let mut lab = Lab::new(
        "(trap 'echo told > /run/lkc/say; exit' TERM
        sh -c 'echo trapped > /run/lkc/say; exec sleep 3600' & wait) &
        read -r go < /run/lkc/ask",
    );
    let machine = machine::start(&lab.spec).await.unwrap();
    assert_eq!(lab.hear().await, "trapped");
    lab.tell("go");
    assert_eq!(machine.exited().await.unwrap(), MachineExit::ShutDown);
    // What the agent left running was asked to stop.
    assert_eq!(lab.hear().await, "told");
    assert!(machine::find(&lab.spec).await.unwrap().is_none());
}

#[tokio::test]
async fn a_stop_asks_first_and_kills_at_the_deadline() {
    if !can_enter() {
        return;
    }
    let mut polite = Lab::new(
        "trap 'echo bye; echo asked > /run/lkc/say; exit 7' TERM
        sh -c 'echo up > /run/lkc/say; exec sleep 3600' & wait",
    );
    let machine = machine::start(&polite.spec).await.unwrap();
    assert_eq!(polite.hear().await, "up");
    machine.stop(GRACE).await.unwrap();
    assert_eq!(polite.hear().await, "asked");
    assert_eq!(machine.exited().await.unwrap(), MachineExit::Stopped);
    let console = fs::read_to_string(machine.log_path()).unwrap();
    assert!(console.contains("bye\n"), "{console}");

    let mut deaf = Lab::new("trap '' TERM; echo up > /run/lkc/say; sleep 3600 & wait");
    let machine = machine::start(&deaf.spec).await.unwrap();
    assert_eq!(deaf.hear().await, "up");
    machine.stop(Duration::from_millis(200)).await.unwrap();
    assert_eq!(machine.exited().await.unwrap(), MachineExit::Killed);
    assert!(!harness::runs(machine.pid()));
}

#[tokio::test]
async fn a_machine_outlives_whoever_started_it_and_is_found_again() {
    if !can_enter() {
        return;
    }
    let mut lab = Lab::new(IDLE);
    let ours = harness::inheritable_file(&lab.path("ours"));
    let first = machine::start(&lab.spec).await.unwrap();
    let pid = first.pid();
    assert_eq!(
        harness::session(pid),
        pid,
        "it has to leave the session of whoever started it"
    );
    assert_eq!(harness::foreign_files(pid), Vec::<String>::new());
    drop((first, ours));
    let found = machine::find(&lab.spec).await.unwrap().unwrap();
    assert_eq!(found.pid(), pid);
    assert!(!found.is_outdated());
    assert_eq!(machine::start(&lab.spec).await.unwrap().pid(), pid);
    let elsewhere = MachineSpec {
        runtime_dir: lab.path("another-session"),
        files: vec![GuestFile {
            path: "/etc/lkc/identity.key".into(),
            contents: b"another".to_vec(),
            mode: 0o600,
        }],
        ..lab.spec.clone()
    };
    let from_elsewhere = machine::find(&elsewhere).await.unwrap().unwrap();
    assert_eq!(from_elsewhere.carriers().await, found.carriers().await);
    assert!(!from_elsewhere.is_outdated());
    lab.spec.agent_args.push("--verbose".into());
    assert!(
        machine::find(&lab.spec)
            .await
            .unwrap()
            .unwrap()
            .is_outdated()
    );
    found.stop(GRACE).await.unwrap();
    assert!(machine::find(&lab.spec).await.unwrap().is_none());
}

#[tokio::test]
async fn a_record_never_leads_to_a_stranger() {
    if !can_enter() {
        return;
    }
    let lab = Lab::new(IDLE);
    let machine = machine::start(&lab.spec).await.unwrap();
    let record = Record::load(&lab.spec.state_dir).unwrap().unwrap();
    machine.stop(GRACE).await.unwrap();

    let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = i32::try_from(stranger.id()).unwrap();
    let started = machine::process::start_time(pid).unwrap();
    for reused in [
        Record {
            pid,
            start_time: started - 1,
            ..record.clone()
        },
        Record {
            pid,
            start_time: started,
            boot_id: "of another boot".into(),
            ..record.clone()
        },
    ] {
        reused.store(&lab.spec.state_dir).unwrap();
        assert!(machine::find(&lab.spec).await.unwrap().is_none());
        assert!(Record::load(&lab.spec.state_dir).unwrap().is_none());
        reused.store(&lab.spec.state_dir).unwrap();
        machine::start(&lab.spec)
            .await
            .unwrap()
            .stop(GRACE)
            .await
            .unwrap();
        assert!(stranger.try_wait().unwrap().is_none(), "it was killed");
    }
    fs::write(lab.spec.state_dir.join("machine.json"), "{ \"pid\": tru").unwrap();
    assert!(machine::find(&lab.spec).await.unwrap().is_none());
    machine::delete(&lab.spec).await.unwrap();
    assert!(stranger.try_wait().unwrap().is_none(), "it was killed");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn the_end_of_the_first_process_is_the_end_of_all_and_leaves_nothing() {
    if !can_enter() {
        return;
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut lab = Lab::new(
        "setsid sleep 3600 & setsid sleep 3600 & touch /run/lkc/agent.sock
        echo up > /run/lkc/say; wait",
    );
    let machine = machine::start(&lab.spec).await.unwrap();
    assert_eq!(lab.hear().await, "up");
    let namespace = harness::pid_namespace_of(machine.pid());
    let inside = harness::processes_in(&namespace);
    assert!(inside.len() >= 4, "init, agent and two others: {inside:?}");
    kill(Pid::from_raw(machine.pid()), Signal::SIGKILL).unwrap();
    assert_eq!(machine.exited().await.unwrap(), MachineExit::Killed);
    assert_eq!(harness::processes_in(&namespace), Vec::<i32>::new());
    assert!(
        lab.spec.runtime_dir.join(AGENT_SOCKET).exists(),
        "nobody could remove it yet"
    );
    assert!(machine::find(&lab.spec).await.unwrap().is_none());
    assert!(!lab.spec.runtime_dir.join(AGENT_SOCKET).exists());
    machine::delete(&lab.spec).await.unwrap();
    assert!(!lab.spec.state_dir.exists());
    assert!(!lab.spec.runtime_dir.exists());
    machine::delete(&lab.spec).await.unwrap();
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
}

#[tokio::test]
async fn two_machines_have_the_same_paths_and_their_own_contents() {
    if !can_enter() {
        return;
    }
    let script = "cat /etc/hostname /sys/class/net/ens3/address > /run/lkc/say
        exec sleep 3600";
    let (mut one, mut two) = (Lab::new(script), Lab::new(script));
    two.spec.name = "k3s-other".into();
    two.spec.mac[5] = 0x0b;
    let (first, second) = tokio::join!(machine::start(&one.spec), machine::start(&two.spec));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(one.hear().await, "k3s-test");
    assert_eq!(one.hear().await, "52:54:00:c8:32:0a");
    assert_eq!(two.hear().await, "k3s-other");
    assert_eq!(two.hear().await, "52:54:00:c8:32:0b");
    first.stop(GRACE).await.unwrap();
    assert!(harness::runs(second.pid()));
    second.stop(GRACE).await.unwrap();
}

#[tokio::test]
async fn a_machine_whose_socket_went_out_of_reach_is_replaced() {
    if !can_enter() {
        return;
    }
    let mut lab = Lab::new(IDLE);
    let lost = machine::start(&lab.spec).await.unwrap();
    assert_eq!(lab.hear().await, "up");
    fs::rename(&lab.spec.runtime_dir, lab.path("cleared")).unwrap();
    lab.listen();
    let machine = machine::start(&lab.spec).await.unwrap();
    assert_ne!(machine.pid(), lost.pid());
    assert_eq!(lost.exited().await.unwrap(), MachineExit::Stopped);
    assert_eq!(lab.hear().await, "up");
    machine.stop(GRACE).await.unwrap();
}

#[tokio::test]
async fn a_start_that_fails_says_why_and_leaves_nothing_running() {
    if !can_enter() {
        return;
    }
    let mut lab = Lab::new("exit 0");
    let no_interpreter = lab.path("agent");
    fs::write(&no_interpreter, "#!/nowhere/sh\n").unwrap();
    let error = machine::start(&lab.spec).await.unwrap_err();
    assert!(
        matches!(&error, MachineError::InitFailed { step, console, .. }
            if step.starts_with("run the agent /") && console.contains("No such file")),
        "{error:?}"
    );
    assert!(Record::load(&lab.spec.state_dir).unwrap().is_none());

    fs::set_permissions(&no_interpreter, fs::Permissions::from_mode(0o644)).unwrap();
    let error = machine::start(&lab.spec).await.unwrap_err();
    assert!(matches!(
        error,
        MachineError::MissingProgram {
            program: "lkc-guest",
            ..
        }
    ));

    lab.spec.files.push(GuestFile {
        path: "/etc/lkc/../passwd".into(),
        contents: Vec::new(),
        mode: 0o600,
    });
    let error = machine::start(&lab.spec).await.unwrap_err();
    assert!(matches!(error, MachineError::BadSpec { what: "file", .. }));
}

#[tokio::test]
async fn roots_machine_has_a_control_group_that_goes_with_it() {
    if !can_enter() {
        return;
    }
    let mut lab = Lab::new(
        "mkdir -p $(grep ' - cgroup2 ' /proc/self/mountinfo | cut -d' ' -f5)/kubepods/pod1
        grep ^0: /proc/self/cgroup > /run/lkc/say; exec sleep 3600",
    );
    let group = super::cgroup::group_of(&lab.spec.state_dir);
    let Some(group) = group.filter(|_| probe().unwrap() == SandboxMode::Root) else {
        println!("not needed: only root has a group to make one in");
        return;
    };
    let machine = machine::start(&lab.spec).await.unwrap();
    assert_eq!(lab.hear().await, "0::/init");
    assert!(group.join("kubepods/pod1").is_dir());
    let members = fs::read_to_string(group.join("init/cgroup.procs")).unwrap();
    let first = machine.pid().to_string();
    assert!(members.lines().any(|pid| pid == first), "{members}");
    machine.stop(GRACE).await.unwrap();
    assert!(!group.exists());
}

#[test]
fn a_kernel_that_refuses_is_named() {
    if !can_enter() {
        return;
    }
    let probe_without = |setting: &str| {
        let script = format!(
            "{setting}; exec setpriv --bounding-set=-all,+setfcap \"$0\" sandbox-enter --probe"
        );
        Command::new("unshare")
            .args(["--user", "--map-root-user", "sh", "-c", &script])
            .arg(std::env::current_exe().unwrap())
            .output()
            .unwrap()
    };
    let output = probe_without("echo 0 > /proc/sys/user/max_user_namespaces");
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(
        report.contains(r#""kind":"namespaces","step":"enter a user namespace","why":"no more"#),
        "{report}"
    );
    let output = probe_without(":");
    let report = String::from_utf8(output.stdout).unwrap();
    assert_eq!(report, "{\"entered\":\"user_namespace\"}\n");
}

#[tokio::test]
async fn a_masked_proc_is_named() {
    if !can_enter() || !geteuid().is_root() {
        return;
    }
    let lab = Lab::new(IDLE);
    machine::directories::make_private(&lab.spec.state_dir).unwrap();
    super::directories::prepare(&lab.spec).unwrap();
    let mut enter = Command::new("unshare")
        .args(["--mount", "sh", "-c"])
        .arg(
            "mount -t tmpfs tmpfs /proc/bus &&
             exec setpriv --bounding-set=-all,+setfcap \"$0\" sandbox-enter",
        )
        .arg(std::env::current_exe().unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let spec = serde_json::to_vec(&lab.spec).unwrap();
    enter.stdin.take().unwrap().write_all(&spec).unwrap();
    let output = enter.wait_with_output().unwrap();
    let reports = String::from_utf8(output.stdout).unwrap();
    assert!(reports.contains(r#""kind":"proc""#), "{reports}");
}

#[test]
fn root_enters_as_root_and_others_in_a_user_namespace() {
    if !can_enter() {
        return;
    }
    let mode = probe().unwrap();
    if geteuid().is_root() {
        // Root of a container may lack the right, then a user namespace is the answer.
        println!("root enters {mode}");
    } else {
        assert_eq!(mode, SandboxMode::UserNamespace);
    }
}

#[tokio::test]
async fn a_machine_whose_starter_died_half_way_is_found() {
    if !can_enter() {
        return;
    }
    let mut lab = Lab::new(IDLE);
    machine::directories::make_private(&lab.spec.state_dir).unwrap();
    super::directories::prepare(&lab.spec).unwrap();
    let mut enter = Command::new("/proc/self/exe")
        .arg(super::ENTER_COMMAND)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(enter.stdout.take());
    let spec = serde_json::to_vec(&lab.spec).unwrap();
    enter.stdin.take().unwrap().write_all(&spec).unwrap();
    assert!(enter.wait().unwrap().success());
    assert_eq!(lab.hear().await, "up");
    let found = machine::find(&lab.spec).await.unwrap().unwrap();
    found.stop(GRACE).await.unwrap();
}

/// Everything above once more without root, when the tests themselves run as root.
#[test]
fn all_of_it_works_for_an_unprivileged_user() {
    const NOBODY: u32 = 65534;
    if !geteuid().is_root() {
        println!("not needed: the tests run without root already");
        return;
    }
    // The program may be where others may not go.
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("tests");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args(["machine::sandbox::tests::", "--nocapture", "--skip"])
        .args(["all_of_it_works_for_an_unprivileged_user"])
        .current_dir("/")
        .env("HOME", "/nonexistent")
        .env_remove("TMPDIR")
        .output();
    let output = match output {
        Err(error) => {
            println!("skipped: setpriv cannot be run: {error}");
            return;
        }
        Ok(output) => output,
    };
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(
        stdout.contains("two_machines_have_the_same_paths"),
        "{stdout}"
    );
    for line in stdout.lines().filter(|line| line.contains("skipped: ")) {
        println!("as user {NOBODY}: {line}");
    }
}

#[tokio::test]
async fn state_is_private_and_locked_while_in_use() {
    if !can_enter() {
        return;
    }
    let lab = Lab::new(IDLE);
    let machine = machine::start(&lab.spec).await.unwrap();
    for path in [&lab.spec.state_dir, &lab.spec.runtime_dir] {
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o700);
    }
    for file in ["machine.json", "console.log", "exit.json"] {
        let mode = fs::metadata(lab.spec.state_dir.join(file)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let lock = machine::directories::Lock::take(&lab.spec.state_dir).unwrap();
    assert!(matches!(
        machine::find(&lab.spec).await,
        Err(MachineError::Busy { .. })
    ));
    drop(lock);
    machine.stop(GRACE).await.unwrap();
    assert!(!lab.spec.state_dir.join("machine.json").exists());
}
