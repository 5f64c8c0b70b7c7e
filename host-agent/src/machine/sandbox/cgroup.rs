//! A control group for a sandbox that root enters: the kubelet makes one for each pod, and they
//! must not be mixed with those of another cluster nor stay behind. In a user namespace, and where
//! cgroup2 is not mounted or not ours to write, the sandbox stays in the group of the daemon.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sched::{CloneFlags, unshare};

use super::report::Failure;
use crate::machine::MachineSpec;
use crate::machine::record::fingerprint;

/// For pods; the kubelet turns them on below a group that has them.
const CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"];

/// The group, as seen in the sandbox, of all processes but pods: a group that has groups with
/// controllers below it may hold no process itself.
const INIT_GROUP: &str = "init";

/// Moves this process into the machine's group and makes that the root of what it can see. False
/// when there can be no such group.
pub(super) fn enter(spec: &MachineSpec) -> bool {
    let Some(group) = group_of(&spec.state_dir) else {
        return false;
    };
    if let Some(parent) = group.parent() {
        for controller in CONTROLLERS {
            // Those that the host has on already, or not at all, are as good.
            let _ = fs::write(
                parent.join("cgroup.subtree_control"),
                format!("+{controller}"),
            );
        }
    }
    make(&group).is_ok()
        && fs::write(group.join("cgroup.procs"), "0").is_ok()
        && unshare(CloneFlags::CLONE_NEWCGROUP).is_ok()
}

/// Mounts the sandbox's view of its group over the host's, in the new root at `root`.
pub(super) fn mount(root: &Path) -> Result<(), Failure> {
    let Some(mount_point) = mount_point() else {
        return Ok(());
    };
    let target = root.join(mount_point.strip_prefix("/").unwrap_or(&mount_point));
    // The kernel mounts no file system over itself, so the host's view has to go first.
    umount2(&target, MntFlags::MNT_DETACH)
        .map_err(Failure::at("leave the host's control groups"))?;
    nix::mount::mount(
        Some("cgroup2"),
        &target,
        Some("cgroup2"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        None::<&str>,
    )
    .map_err(Failure::at("mount the sandbox's control group"))?;
    let init = target.join(INIT_GROUP);
    make(&init).map_err(Failure::at("make a control group in the sandbox"))?;
    fs::write(init.join("cgroup.procs"), "0")
        .map_err(Failure::at("enter a control group in the sandbox"))
}

/// Removes the group that a machine in `state_dir` has left, with all below it.
pub(super) fn remove(state_dir: &Path) -> io::Result<()> {
    match group_of(state_dir) {
        Some(group) if group.exists() => remove_below(&group),
        _ => Ok(()),
    }
}

/// Where the group is on the host, whether or not it exists: the same for every start.
pub(super) fn group_of(state_dir: &Path) -> Option<PathBuf> {
    let name = fingerprint(state_dir.as_os_str().as_encoded_bytes());
    Some(mount_point()?.join(format!("lkc-{name}")))
}

fn mount_point() -> Option<PathBuf> {
    parse_mount_point(&fs::read_to_string("/proc/self/mountinfo").ok()?)
}

fn parse_mount_point(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        (file_system.split(' ').next()? == "cgroup2")
            .then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    })
}

/// A group's files are the kernel's and go with it, so only directories are removed.
fn remove_below(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_below(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

fn make(group: &Path) -> io::Result<()> {
    match fs::create_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_point_is_found_alone_and_beside_the_old_kind() {
        let alone = "26 23 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(parse_mount_point(alone), Some("/sys/fs/cgroup".into()));
        let beside = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      36 31 0:33 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            parse_mount_point(beside),
            Some("/sys/fs/cgroup/unified".into())
        );
        for none in ["", "nonsense", "1 2 3 - tmpfs tmpfs rw", "1 - cgroup2"] {
            assert_eq!(parse_mount_point(none), None, "{none}");
        }
    }
}
