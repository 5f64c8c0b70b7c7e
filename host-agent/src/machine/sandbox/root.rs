//! The root directory of the sandbox: a tmpfs with the host's programs bound into it read-only, an
//! `/etc` of its own, and `/var` and `/etc/rancher` kept in the state directory.
//!
//! As root the host's devices and control groups are there as well, because a real k3s needs them;
//! the guest is then as privileged as a privileged container. In a user namespace it can do what
//! the calling user can.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::pivot_root;

use super::report::{Failure, FailureKind, SandboxMode};
use super::{MACHINE_ID_FILE, RANCHER_DIR, ROOT_DIR, VAR_DIR, cgroup};
use crate::machine::{
    GUEST_CONFIG_DIR, GUEST_PROGRAM_DIR, GUEST_RUNTIME_DIR, MachineSpec, Programs,
};

/// Where the guest finds its programs, in the order of the search.
pub(super) const GUEST_PATH: &str = "/opt/lkc/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:\
                                     /usr/bin:/sbin:/bin:/run/current-system/sw/bin";

/// Directories of programs and libraries; those that are links on the host are links in the guest.
const HOST_DIRS: [&str; 8] = [
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix",
];

/// Configuration that programs and libraries of the host need to run at all.
const HOST_ETC: [&str; 8] = [
    "ssl/certs",
    "ca-certificates",
    "pki",
    "static",
    "alternatives",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
];

const SMALL_DEVICES: [&str; 8] = [
    "null", "zero", "full", "random", "urandom", "tty", "net/tun", "fuse",
];

const RUNTIME_FLAGS: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

const KERNEL_FLAGS: MsFlags = RUNTIME_FLAGS.union(MsFlags::MS_NOEXEC);

/// Builds the new root and moves into it; what is not in it is out of reach afterwards.
pub(super) fn enter(spec: &MachineSpec, mode: SandboxMode, own_group: bool) -> Result<(), Failure> {
    set_propagation("/", MsFlags::MS_PRIVATE)?;
    let root = NewRoot {
        path: spec.state_dir.join(ROOT_DIR),
    };
    mount_fresh("tmpfs", &root.path, RUNTIME_FLAGS, "mode=0755")?;
    root.system()?;
    root.etc(spec)?;
    root.persistent(&spec.state_dir)?;
    root.temporary()?;
    root.kernel()?;
    if own_group {
        cgroup::mount(&root.path)?;
    }
    match mode {
        SandboxMode::Root => root.all_devices()?,
        SandboxMode::UserNamespace => root.few_devices()?,
    }
    root.bind(&spec.runtime_dir, GUEST_RUNTIME_DIR)?;
    root.programs(&spec.programs)?;
    root.pivot()?;
    // Pods share mounts with each other and with k3s, which asks for this of its host.
    set_propagation("/", MsFlags::MS_SHARED)
}

struct NewRoot {
    path: PathBuf,
}

impl NewRoot {
    fn system(&self) -> Result<(), Failure> {
        for dir in HOST_DIRS {
            self.mirror(Path::new(dir))?;
        }
        self.dir("/opt", 0o755)?;
        if let Ok(entries) = fs::read_dir("/opt") {
            for entry in entries.flatten() {
                if entry.file_name() != "lkc" {
                    self.mirror(&entry.path())?;
                }
            }
        }
        for (dir, mode) in [("/root", 0o700), ("/home", 0o755), ("/mnt", 0o755)] {
            self.dir(dir, mode)?;
        }
        Ok(())
    }

    fn etc(&self, spec: &MachineSpec) -> Result<(), Failure> {
        for path in HOST_ETC {
            self.mirror(&Path::new("/etc").join(path))?;
        }
        let name = &spec.name;
        let machine_id = fs::read(spec.state_dir.join(MACHINE_ID_FILE))
            .map_err(Failure::at("read the machine's id"))?;
        let resolv_conf = fs::read("/etc/resolv.conf").unwrap_or_default();
        let files: [(&str, &[u8]); 8] = [
            (
                "passwd",
                b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
            ),
            ("group", b"root:x:0:\nnogroup:x:65534:\n"),
            (
                "nsswitch.conf",
                b"passwd: files\ngroup: files\nhosts: files dns\n",
            ),
            ("hostname", &format!("{name}\n").into_bytes()),
            (
                "hosts",
                &format!("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {name}\n").into_bytes(),
            ),
            ("resolv.conf", &resolv_conf),
            ("machine-id", &machine_id),
            ("mtab", b""),
        ];
        for (file, contents) in files {
            self.file(&Path::new("/etc").join(file), contents, 0o644)?;
        }
        self.link("/etc/os-release", Path::new("../usr/lib/os-release"))?;
        self.dir(GUEST_CONFIG_DIR, 0o700)?;
        for file in &spec.files {
            self.file(&file.path, &file.contents, file.mode & 0o777)?;
        }
        Ok(())
    }

    fn persistent(&self, state_dir: &Path) -> Result<(), Failure> {
        self.bind(&state_dir.join(RANCHER_DIR), "/etc/rancher")?;
        self.bind(&state_dir.join(VAR_DIR), "/var")?;
        for (dir, mode) in [
            ("/var/lib", 0o755),
            ("/var/log", 0o755),
            ("/var/cache", 0o755),
            ("/var/tmp", 0o1777),
        ] {
            self.dir(dir, mode)?;
        }
        self.link("/var/run", Path::new("/run"))?;
        self.link("/var/lock", Path::new("/run/lock"))
    }

    fn temporary(&self) -> Result<(), Failure> {
        self.fresh("tmpfs", "/tmp", RUNTIME_FLAGS, "mode=1777")?;
        self.fresh("tmpfs", "/run", RUNTIME_FLAGS, "mode=0755")?;
        self.dir("/run/lock", 0o1777)?;
        // On NixOS the system's programs are found through this link.
        if let Ok(target) = fs::read_link("/run/current-system") {
            self.link("/run/current-system", &target)?;
        }
        Ok(())
    }

    fn kernel(&self) -> Result<(), Failure> {
        self.dir("/proc", 0o555)?;
        let proc = self.path.join("proc");
        mount_errno("proc", &proc, KERNEL_FLAGS, "").map_err(|errno| {
            let kind = match errno {
                Errno::EPERM | Errno::EACCES => FailureKind::Proc,
                _ => FailureKind::Other,
            };
            Failure::of_errno(kind, "mount a fresh /proc")(errno)
        })?;
        if self.fresh("sysfs", "/sys", KERNEL_FLAGS, "").is_ok() {
            self.bind(Path::new("/sys/fs/cgroup"), "/sys/fs/cgroup")
        } else {
            self.bind(Path::new("/sys"), "/sys")
        }
    }

    fn all_devices(&self) -> Result<(), Failure> {
        self.bind(Path::new("/dev"), "/dev")?;
        self.shared_memory()
    }

    /// A user namespace cannot make device nodes, only bind those of the host.
    fn few_devices(&self) -> Result<(), Failure> {
        self.fresh("tmpfs", "/dev", MsFlags::MS_NOSUID, "mode=0755")?;
        for name in SMALL_DEVICES {
            let device = Path::new("/dev").join(name);
            if device.exists() {
                self.bind(&device, &device)?;
            }
        }
        self.fresh(
            "devpts",
            "/dev/pts",
            MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC),
            "newinstance,ptmxmode=0666,mode=0620",
        )?;
        for (link, target) in [
            ("/dev/ptmx", "pts/ptmx"),
            ("/dev/fd", "/proc/self/fd"),
            ("/dev/stdin", "/proc/self/fd/0"),
            ("/dev/stdout", "/proc/self/fd/1"),
            ("/dev/stderr", "/proc/self/fd/2"),
        ] {
            self.link(link, Path::new(target))?;
        }
        self.shared_memory()
    }

    fn shared_memory(&self) -> Result<(), Failure> {
        self.fresh("tmpfs", "/dev/shm", RUNTIME_FLAGS, "mode=1777")
    }

    fn programs(&self, programs: &Programs) -> Result<(), Failure> {
        for (name, path) in [("lkc-guest", &programs.guest_agent), ("k3s", &programs.k3s)] {
            let guest_path = Path::new(GUEST_PROGRAM_DIR).join(name);
            self.bind(path, &guest_path)?;
            self.protect(&guest_path);
        }
        Ok(())
    }

    fn pivot(&self) -> Result<(), Failure> {
        let old = self.path.join("old");
        fs::create_dir(&old).map_err(Failure::at("make a place for the old root"))?;
        pivot_root(&self.path, &old)
            .map_err(Failure::of_errno(FailureKind::Other, "change the root"))?;
        std::env::set_current_dir("/").map_err(Failure::at("change into the new root"))?;
        umount2("/old", MntFlags::MNT_DETACH)
            .map_err(Failure::of_errno(FailureKind::Other, "leave the old root"))?;
        fs::remove_dir("/old").map_err(Failure::at("remove the old root's place"))
    }

    /// Gives the guest what the host has at `path`, read-only; nothing if the host has nothing.
    fn mirror(&self, path: &Path) -> Result<(), Failure> {
        let Ok(metadata) = fs::symlink_metadata(path) else {
            return Ok(());
        };
        if metadata.is_symlink() {
            let target = fs::read_link(path).map_err(Failure::at(step("read", path)))?;
            return self.link(path, &target);
        }
        self.bind(path, path)?;
        self.protect(path);
        Ok(())
    }

    /// Binds `source` of the host, with everything mounted below it.
    fn bind(&self, source: &Path, guest_path: impl AsRef<Path>) -> Result<(), Failure> {
        let guest_path = guest_path.as_ref();
        let target = self.at(guest_path);
        let metadata = fs::metadata(source).map_err(Failure::at(step("find", source)))?;
        if metadata.is_dir() {
            self.dir(guest_path, 0o755)?;
        } else if !target.exists() {
            self.file(guest_path, b"", 0o644)?;
        }
        mount(
            Some(source),
            &target,
            None::<&str>,
            MsFlags::MS_BIND | MsFlags::MS_REC,
            None::<&str>,
        )
        .map_err(Failure::of_errno(FailureKind::Other, step("bind", source)))
    }

    /// Makes what is bound at `guest_path` read-only, where the kernel lets us; in a user namespace
    /// the files' owners protect them as well. Flags that are locked must be named again.
    fn protect(&self, guest_path: &Path) {
        let target = self.at(guest_path);
        let Ok(status) = statvfs(&target) else {
            return;
        };
        let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        for (has, keep) in [
            (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
            (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
            (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
            (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
            (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
            (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
        ] {
            if status.flags().contains(has) {
                flags |= keep;
            }
        }
        let _ = mount(None::<&str>, &target, None::<&str>, flags, None::<&str>);
    }

    fn fresh(
        &self,
        kind: &str,
        guest_path: &str,
        flags: MsFlags,
        options: &str,
    ) -> Result<(), Failure> {
        self.dir(guest_path, 0o755)?;
        mount_fresh(kind, &self.at(Path::new(guest_path)), flags, options)
    }

    fn dir(&self, guest_path: impl AsRef<Path>, mode: u32) -> Result<(), Failure> {
        let guest_path = guest_path.as_ref();
        let target = self.at(guest_path);
        if target.is_dir() {
            return Ok(());
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&target)
            .and_then(|()| fs::set_permissions(&target, Permissions::from_mode(mode)))
            .map_err(Failure::at(step("make", guest_path)))
    }

    fn file(&self, guest_path: &Path, contents: &[u8], mode: u32) -> Result<(), Failure> {
        let target = self.at(guest_path);
        if let Some(parent) = guest_path.parent() {
            self.dir(parent, 0o755)?;
        }
        let write = || -> io::Result<()> {
            // Private from the first moment: the contents may be a key.
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&target)?;
            file.write_all(contents)?;
            file.set_permissions(Permissions::from_mode(mode))
        };
        write().map_err(Failure::at(step("write", guest_path)))
    }

    fn link(&self, guest_path: impl AsRef<Path>, target: &Path) -> Result<(), Failure> {
        let guest_path = guest_path.as_ref();
        match symlink(target, self.at(guest_path)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(Failure::at(step("link", guest_path))(error))
            }
            _ => Ok(()),
        }
    }

    fn at(&self, guest_path: &Path) -> PathBuf {
        self.path
            .join(guest_path.strip_prefix("/").unwrap_or(guest_path))
    }
}

fn mount_fresh(kind: &str, target: &Path, flags: MsFlags, options: &str) -> Result<(), Failure> {
    mount_errno(kind, target, flags, options).map_err(Failure::of_errno(
        FailureKind::Other,
        format!("mount a {kind} on {}", target.display()),
    ))
}

fn mount_errno(kind: &str, target: &Path, flags: MsFlags, options: &str) -> nix::Result<()> {
    mount(Some(kind), target, Some(kind), flags, Some(options))
}

fn set_propagation(path: &str, propagation: MsFlags) -> Result<(), Failure> {
    mount(
        None::<&str>,
        path,
        None::<&str>,
        propagation | MsFlags::MS_REC,
        None::<&str>,
    )
    .map_err(Failure::of_errno(
        FailureKind::Other,
        "separate the sandbox's mounts",
    ))
}

fn step(what: &str, path: &Path) -> String {
    format!("{what} {}", path.display())
}
