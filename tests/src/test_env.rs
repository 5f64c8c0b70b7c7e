//! A user with a home of its own, in which the real programs run, and which nothing may survive.

use std::{
    cell::RefCell,
    env,
    ffi::{OsStr, OsString},
    fs::{self, Permissions},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::Duration,
};

use nix::{
    sched::{CloneFlags, setns},
    sys::signal::Signal,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Invocation, Outcome, User, eventually,
    leftovers::{Leftovers, control_group},
    process::{Process, processes_of},
};

/// Ports that each environment has for itself.
const PORTS_EACH: u16 = 20;

/// First port that is given away: below those that the kernel gives to whoever asks for any.
const FIRST_PORT: u16 = 16_000;

/// How many environments fit between it and the kernel's.
const SLOTS: u16 = 800;

/// How long what was stopped may take until it is gone.
const GONE_DEADLINE: Duration = Duration::from_secs(10);

/// The programs under test, as cargo built them.
#[derive(Debug, Clone, Copy)]
pub struct Programs {
    /// `lkc-host`.
    pub host: &'static str,
    /// `lkc-guest`.
    pub guest: &'static str,
    /// `k3s-simulator`.
    pub simulator: &'static str,
}

/// The host ports of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterPorts {
    /// The Kubernetes API.
    pub api: u16,
    /// HTTP.
    pub http: u16,
    /// HTTPS.
    pub https: u16,
    /// SSH.
    pub ssh: u16,
}

/// A user with a home of its own. On drop every cluster is deleted and the daemon stopped, and it is
/// an error if any process, mount, control group, socket or listener is left.
pub struct TestEnv {
    directory: TempDir,
    user: User,
    first_port: u16,
    groups: RefCell<Vec<PathBuf>>,
}

impl TestEnv {
    /// Whoever runs the tests, at home in an empty directory.
    #[must_use]
    pub fn new(programs: Programs) -> Self {
        Self::of(User::Me, programs)
    }

    /// A user at home in an empty directory.
    #[must_use]
    pub fn of(user: User, programs: Programs) -> Self {
        // Short, since a socket's path must be.
        let directory = tempfile::Builder::new()
            .prefix("e2e-")
            .tempdir_in("/tmp")
            .expect("a temporary directory");
        let root = directory.path();
        fs::set_permissions(root, Permissions::from_mode(0o755)).expect("a mode");
        for (name, mode) in [
            ("bin", 0o755),
            ("home", 0o700),
            ("run", 0o700),
            ("project", 0o755),
            ("tmp", 0o700),
        ] {
            let path = root.join(name);
            fs::create_dir(&path).expect("a directory");
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("a mode");
            user.own(&path).expect("an owner");
        }
        let bin = root.join("bin");
        for (program, name) in [
            (programs.host, "lkc-host"),
            (programs.guest, "lkc-guest"),
            (programs.simulator, "k3s-simulator"),
        ] {
            place(Path::new(program), &bin.join(name)).expect("a program");
        }
        if let Some(kubectl) = find_program("kubectl") {
            symlink(kubectl, bin.join("kubectl")).expect("a link");
        }
        Self {
            user,
            first_port: free_ports(),
            groups: RefCell::default(),
            directory,
        }
    }

    /// Everything of this environment is below.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.directory.path()
    }

    /// The user's home directory.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.root().join("home")
    }

    /// The working directory of commands.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.root().join("project")
    }

    /// Directory of lkc's sockets.
    #[must_use]
    pub fn runtime_dir(&self) -> PathBuf {
        self.root().join("run/lkc")
    }

    /// Directory of what lkc keeps.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.home().join(".local/state/lkc")
    }

    /// Directory of what lkc keeps of a cluster.
    #[must_use]
    pub fn cluster_dir(&self, cluster: &str) -> PathBuf {
        self.state_dir().join("clusters").join(cluster)
    }

    /// The kubeconfig of a cluster.
    #[must_use]
    pub fn kubeconfig(&self, cluster: &str) -> PathBuf {
        self.cluster_dir(cluster).join("kubeconfig.yaml")
    }

    /// Who the user is.
    #[must_use]
    pub const fn user(&self) -> User {
        self.user
    }

    /// The ports of the `number`th cluster, 0 to 3, that [`Self::cluster`] gives it.
    #[must_use]
    pub const fn ports(&self, number: u16) -> ClusterPorts {
        let first = self.first_port + 4 * number;
        ClusterPorts {
            api: first,
            http: first + 1,
            https: first + 2,
            ssh: first + 3,
        }
    }

    /// A port that nobody uses, 0 to 3.
    #[must_use]
    pub const fn spare_port(&self, number: u16) -> u16 {
        self.first_port + PORTS_EACH - 1 - number
    }

    /// The part of `lkc.toml` that describes a cluster on ports of this environment and with a
    /// simulated k3s. `settings` are k3s' in TOML, as `simulate-node-ready-delay = "1m"`; `more`
    /// are lines of the cluster's own table.
    #[must_use]
    pub fn cluster(&self, name: &str, number: u16, settings: &[&str], more: &str) -> String {
        let ClusterPorts {
            api,
            http,
            https,
            ssh,
        } = self.ports(number);
        let simulator = self.root().join("bin/k3s-simulator");
        format!(
            "[cluster.{name}]\nindex = {number}\n{more}\n\
             [cluster.{name}.ports]\napi = {api}\nhttp = {http}\nhttps = {https}\nssh = {ssh}\n\
             [cluster.{name}.k3s]\nbinary = {simulator:?}\n\
             [cluster.{name}.k3s.settings]\n{}\n",
            settings.join("\n")
        )
    }

    /// Writes `lkc.toml` where commands find it.
    pub fn configure(&self, text: &str) {
        let path = self.work().join("lkc.toml");
        fs::write(&path, text).expect("a configuration");
        self.user.own(&path).expect("an owner");
    }

    /// Describes one cluster named `k3s-dev`.
    pub fn configure_one(&self, settings: &[&str]) {
        self.configure(&self.cluster("k3s-dev", 0, settings, ""));
    }

    /// `lkc-host` with arguments.
    #[must_use]
    pub fn lkc<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Invocation {
        self.program("lkc-host").args(args)
    }

    /// `lkc-host` with arguments, to its end.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Outcome {
        self.lkc(args).run()
    }

    /// `kubectl` with a cluster's kubeconfig, without lkc in between.
    #[must_use]
    pub fn kubectl<A: AsRef<OsStr>>(
        &self,
        cluster: &str,
        args: impl IntoIterator<Item = A>,
    ) -> Invocation {
        self.program("kubectl")
            .env("KUBECONFIG", self.kubeconfig(cluster))
            .args(args)
    }

    /// A program of this environment, or of the system.
    #[must_use]
    pub fn program(&self, name: &str) -> Invocation {
        self.program_as(self.user, name)
    }

    /// A program in this environment, run by someone else.
    #[must_use]
    pub fn program_as(&self, user: User, name: &str) -> Invocation {
        let root = self.root();
        let own = root.join("bin").join(name);
        let program = if own.exists() {
            own
        } else {
            PathBuf::from(name)
        };
        let path = OsString::from(format!(
            "{}:/usr/sbin:/usr/bin:/sbin:/bin",
            root.join("bin").display()
        ));
        let (home, run, tmp) = (self.home(), root.join("run"), root.join("tmp"));
        let environment: [(&str, &OsStr); 6] = [
            ("PATH", &path),
            ("HOME", home.as_os_str()),
            ("XDG_RUNTIME_DIR", run.as_os_str()),
            ("TMPDIR", tmp.as_os_str()),
            ("LANG", OsStr::new("C.UTF-8")),
            ("TERM", OsStr::new("dumb")),
        ];
        Invocation::new(&program, &environment, self.known())
            .in_directory(&self.work())
            .by(user)
    }

    /// `lkc-host status CLUSTER --output json`.
    #[track_caller]
    #[must_use]
    pub fn status(&self, cluster: &str) -> Value {
        let outcome = self.lkc(["status", cluster, "--output", "json"]).run();
        let mut clusters = outcome.succeeds().json();
        clusters[0].take()
    }

    /// The daemon's process.
    #[track_caller]
    #[must_use]
    pub fn daemon(&self) -> Process {
        let outcome = self.lkc(["daemon", "status", "--output", "json"]).run();
        let info = outcome.succeeds().json();
        let pid = info["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        pid.and_then(Process::find).expect("the daemon's process")
    }

    /// The first process of a cluster's machine.
    #[track_caller]
    #[must_use]
    pub fn machine(&self, cluster: &str) -> Process {
        let status = self.status(cluster);
        let pid = status["machine"]["pid"].as_i64();
        let pid = pid.and_then(|pid| i32::try_from(pid).ok());
        let process = pid.and_then(Process::find);
        let process = process.unwrap_or_else(|| panic!("no machine runs: {status:#}"));
        self.groups.borrow_mut().extend(control_group(process.pid));
        process
    }

    /// A process of a cluster's machine by its name, as `lkc-guest` or `k3s`.
    #[track_caller]
    #[must_use]
    pub fn process_in(&self, cluster: &str, name: &str) -> Option<Process> {
        let machine = self.machine(cluster);
        let inside = |process: &Process| {
            let mut parent = process.parent();
            while let Some(pid) = parent.filter(|&pid| pid > 1) {
                if pid == machine.pid {
                    return true;
                }
                parent = Process::find(pid).and_then(|process| process.parent());
            }
            false
        };
        processes_of(self.root())
            .into_iter()
            .find(|process| process.name == name && inside(process))
    }

    /// Listens inside the network of a cluster's machine, where only root may go.
    ///
    /// # Panics
    /// When the machine's network cannot be entered or the port is taken.
    #[track_caller]
    #[must_use]
    pub fn listen_in(&self, cluster: &str, address: &str) -> TcpListener {
        let address = address.to_owned();
        self.in_network_of(cluster, || {
            TcpListener::bind(address).expect("a free port in the machine")
        })
    }

    /// Connects inside the network of a cluster's machine, where only root may go.
    ///
    /// # Errors
    /// As connect(2).
    ///
    /// # Panics
    /// When the machine's network cannot be entered.
    #[track_caller]
    pub fn connect_in(&self, cluster: &str, address: &str) -> io::Result<TcpStream> {
        let address = address.to_owned();
        self.in_network_of(cluster, || TcpStream::connect(address))
    }

    /// A UDP socket inside the network of a cluster's machine, where only root may go.
    ///
    /// # Panics
    /// When the machine's network cannot be entered or the port is taken.
    #[track_caller]
    #[must_use]
    pub fn udp_in(&self, cluster: &str, address: &str) -> UdpSocket {
        let address = address.to_owned();
        self.in_network_of(cluster, || {
            UdpSocket::bind(address).expect("a free port in the machine")
        })
    }

    #[track_caller]
    fn in_network_of<T: Send + 'static>(
        &self,
        cluster: &str,
        make: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let namespace = format!("/proc/{}/ns/net", self.machine(cluster).pid);
        let namespace = fs::File::open(namespace).expect("the machine's network");
        // A thread of its own, since it does not come back.
        thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("to enter the network");
            make()
        })
        .join()
        .expect("a socket")
    }

    /// Fails the test if anything of this environment runs, listens or is mounted.
    #[track_caller]
    pub fn nothing_is_left(&self) {
        let ports: Vec<u16> = (self.first_port..self.first_port + PORTS_EACH).collect();
        let groups = self.groups.borrow().clone();
        let look = || Leftovers::of(self.root(), &ports, &groups);
        let mut last = look();
        // Whoever was told to end may need a moment to be gone from the kernel's tables.
        let gone = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("nothing is left", GONE_DEADLINE, || {
                last = look();
                last.is_empty().then_some(())
            });
        }));
        assert!(gone.is_ok(), "left behind:\n{last}");
    }

    /// What differs between environments, and its name.
    fn known(&self) -> Vec<(String, String)> {
        let mut known = vec![
            (self.home().display().to_string(), "$HOME".to_owned()),
            (self.root().display().to_string(), "$ENV".to_owned()),
        ];
        for number in 0..4 {
            let ports = self.ports(number);
            let suffix = if number == 0 {
                String::new()
            } else {
                number.to_string()
            };
            for (name, port) in [
                ("API", ports.api),
                ("HTTP", ports.http),
                ("HTTPS", ports.https),
                ("SSH", ports.ssh),
            ] {
                known.push((port.to_string(), format!("${name}{suffix}")));
            }
        }
        for number in 0..4 {
            known.push((
                self.spare_port(number).to_string(),
                format!("$SPARE{number}"),
            ));
        }
        known
    }

    fn clean_up(&self) -> Result<(), String> {
        if self.runtime_dir().exists() {
            let delete = self.lkc(["delete", "--all", "--yes"]).run();
            if delete.exit_code() != 0 {
                return Err(delete.to_string());
            }
            let stop = self.lkc(["daemon", "stop"]).run();
            if !matches!(stop.exit_code(), 0 | 3) {
                return Err(stop.to_string());
            }
        }
        Ok(())
    }

    #[expect(clippy::print_stderr, reason = "a test that failed should say why")]
    fn explain(&self) {
        for log in [
            "daemon.log",
            "clusters/k3s-dev/machine/console.log",
            "clusters/k3s-dev/machine/var/log/lkc-guest.log",
        ] {
            let text = fs::read_to_string(self.state_dir().join(log)).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            let last = &lines[lines.len().saturating_sub(40)..];
            eprintln!("--- {log}\n{}", last.join("\n"));
        }
    }
}

impl Drop for TestEnv {
    fn drop(&mut self) {
        if thread::panicking() {
            self.explain();
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.clean_up()));
            for process in processes_of(self.root()) {
                process.signal(Signal::SIGKILL);
            }
            return;
        }
        self.groups.borrow_mut().extend(
            processes_of(self.root())
                .iter()
                .filter_map(|process| control_group(process.pid)),
        );
        if let Err(error) = self.clean_up() {
            self.explain();
            panic!("cannot clean up: {error}");
        }
        self.nothing_is_left();
    }
}

/// Links a program, or copies it to another file system.
fn place(program: &Path, target: &Path) -> io::Result<()> {
    fs::hard_link(program, target).or_else(|_| fs::copy(program, target).map(drop))
}

/// Where a program is on the `PATH` of whoever runs the tests.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
}

/// The host's loopback addresses: not every one has IPv6.
#[must_use]
pub fn loopbacks() -> Vec<IpAddr> {
    [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ]
    .into_iter()
    .filter(|address| TcpListener::bind((*address, 0)).is_ok())
    .collect()
}

/// The first of some ports in a row that nobody listens on.
fn free_ports() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Others may run the same tests at the same time.
    let offset = u16::try_from(std::process::id() % u32::from(SLOTS)).unwrap_or_default();
    for _ in 0..SLOTS {
        let slot = (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % SLOTS;
        let first = FIRST_PORT + slot * PORTS_EACH;
        let free = |port: u16| {
            loopbacks()
                .iter()
                .all(|address| TcpListener::bind((*address, port)).is_ok())
        };
        if (first..first + PORTS_EACH).all(free) {
            return first;
        }
    }
    panic!("no ports are free");
}
