//! `lkc-host sandbox-enter`: makes the namespaces, starts `sandbox-init` as the first process in
//! them, writes the machine's record and is done.
//!
//! A user namespace can be entered only by a process of one thread, which the daemon is not; hence
//! a program of its own.

use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{close, getegid, geteuid, setsid};

use super::report::{Failure, FailureKind, Made, Record, Report, SandboxMode};
use super::{INIT_COMMAND, MAX_SPEC_BYTES, OWN_GROUP_OPTION, PROBE_OPTION, SELF, cgroup};
use crate::machine::MachineSpec;

/// Runs `sandbox-enter` with the arguments that follow its name. The specification comes as JSON on
/// stdin, reports go to stdout, and stderr is the machine's console.
///
/// Call it before the process has a second thread.
pub fn enter_main(args: &[OsString]) -> ExitCode {
    let outcome = if args.first().is_some_and(|arg| arg == PROBE_OPTION) {
        unshare_all().map(|mode| Report::Entered(mode).send())
    } else {
        enter()
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            Report::Failed(failure).send();
            ExitCode::FAILURE
        }
    }
}

fn enter() -> Result<(), Failure> {
    close_inherited().map_err(Failure::at("close inherited files"))?;
    let mut spec_json = Vec::new();
    std::io::stdin()
        .lock()
        .take(MAX_SPEC_BYTES)
        .read_to_end(&mut spec_json)
        .map_err(Failure::at("read the specification"))?;
    let spec: MachineSpec =
        serde_json::from_slice(&spec_json).map_err(Failure::at("read the specification"))?;
    // Fails only for a leader of a process group, which is out of its caller's reach already.
    let _ = setsid();

    let mode = unshare_all()?;
    let mode_argument = match mode {
        SandboxMode::Root => "root",
        SandboxMode::UserNamespace => "user",
    };
    let own_group = mode == SandboxMode::Root && cgroup::enter(&spec);
    let mut init = Command::new(SELF)
        .arg0("lkc-host")
        .args([INIT_COMMAND, mode_argument])
        .args(own_group.then_some(OWN_GROUP_OPTION))
        .current_dir("/")
        .stdin(Stdio::piped())
        .spawn()
        .map_err(Failure::at("start the sandbox's first process"))?;

    // Until it has the whole specification the first process does nothing, and it ends when we do.
    let pid = i32::try_from(init.id()).map_err(Failure::at("read a pid"))?;
    let record = Record::of(pid, Made { mode }, &spec)
        .and_then(|record| record.store(&spec.state_dir).map(|()| record))
        .map_err(Failure::at("write the machine's record"))?;
    Report::Started(record).send();
    match init.stdin.take() {
        Some(mut stdin) => stdin
            .write_all(&spec_json)
            .map_err(Failure::at("hand the specification on")),
        None => Ok(()),
    }
}

/// Enters new namespaces of every kind, in a user namespace when we lack the right otherwise.
fn unshare_all() -> Result<SandboxMode, Failure> {
    let ours = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    let refused = |step: &'static str| Failure::of_errno(FailureKind::Namespaces, step);
    if geteuid().is_root() {
        match unshare(ours) {
            Ok(()) => return Ok(SandboxMode::Root),
            // Root of a container without the capability, who may still have user namespaces.
            Err(Errno::EPERM) => {}
            Err(errno) => return Err(refused("enter namespaces as root")(errno)),
        }
    }
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|errno| match errno {
        // What the kernel means is a limit, not a disk.
        Errno::ENOSPC => Failure::of(FailureKind::Namespaces, "enter a user namespace")(
            "no more of them are allowed",
        ),
        errno => refused("enter a user namespace")(errno),
    })?;
    for (file, line) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ] {
        fs::write(file, line).map_err(Failure::of(
            FailureKind::Namespaces,
            format!("write {file}"),
        ))?;
    }
    unshare(ours).map_err(refused("enter namespaces inside a user namespace"))?;
    Ok(SandboxMode::UserNamespace)
}

/// Closes what the daemon's own parent may have left open: the machine must not keep a terminal or
/// a pipe of somebody alive.
fn close_inherited() -> std::io::Result<()> {
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|descriptor| *descriptor > 2)
        .collect();
    for descriptor in open {
        // The descriptor of the listing itself is among them, closed already.
        let _ = close(descriptor);
    }
    Ok(())
}
