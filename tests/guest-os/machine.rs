//! One machine: its network cards, its system, and what the tests do to it.

use std::{
    env, fs,
    io::{self, Read as _},
    net::{SocketAddr, TcpStream},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use lkc_protocol::identity::{Identity, PublicKey};
use lkc_tests::{eventually, skipped, within};
use nix::{
    sched::{CloneFlags, setns},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

/// Longest that a boot, a lease or an end may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Hardware addresses of the first card, whose network has DHCP, and of the second.
pub(crate) const MACS: [&str; 2] = ["52:54:00:c8:31:0a", "52:54:00:c8:32:0a"];

/// The host's addresses in the two networks.
pub(crate) const GATEWAYS: [&str; 2] = ["10.77.0.1", "192.100.0.1"];

/// Root of the unified control groups, alone or beside the older ones.
const CGROUPS: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// The signal by which systemd in a container is told to shut down, SIGRTMIN+4.
const SHUT_DOWN: i32 = 38;

static MACHINES: AtomicU32 = AtomicU32::new(0);

/// A machine and the networks that it is in. They go with it.
pub(crate) struct Machine {
    pub(crate) dir: TempDir,
    pub(crate) host: Identity,
    pub(crate) key: PublicKey,
    cards: usize,
    name: String,
    tree: PathBuf,
    cgroup: PathBuf,
    dhcp: Option<Child>,
    system: Option<System>,
}

struct System {
    child: Child,
    /// The first process, as this machine counts.
    init: Pid,
}

impl Machine {
    /// Boots a machine with so many cards; none where the tests cannot run.
    pub(crate) fn boot(cards: usize) -> Option<Self> {
        let mut machine = Self::make(cards)?;
        machine.start();
        Some(machine)
    }

    /// One that is not booted yet.
    pub(crate) fn make(cards: usize) -> Option<Self> {
        let (Some(tree), Some(programs)) = (
            env::var_os("LKC_GUEST_OS_TREE"),
            env::var_os("LKC_GUEST_OS_PROGRAMS"),
        ) else {
            skipped("no guest system: run tests/guest-os/run");
            return None;
        };
        let dir = tempfile::Builder::new().prefix("lkc-").tempdir().unwrap();
        let (host, guest) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let file = |name: &str| dir.path().join(name);
        for name in ["credentials", "upper", "programs"] {
            fs::create_dir(file(name)).unwrap();
        }
        fs::write(file("credentials/lkc.identity"), guest.to_pem()).unwrap();
        let hosts = format!("{}\n", host.public_key());
        fs::write(file("credentials/lkc.authorized_hosts"), hosts).unwrap();
        programs_of(Path::new(&programs), &file("programs"));
        let number = MACHINES.fetch_add(1, Ordering::Relaxed);
        let name = format!("lkc{}-{number}", std::process::id());
        let root = CGROUPS
            .iter()
            .find(|path| Path::new(path).join("cgroup.procs").exists());
        let cgroup = Path::new(root.expect("no unified control groups")).join(&name);
        let mut machine = Self {
            key: guest.public_key(),
            dir,
            host,
            cards,
            name,
            tree: PathBuf::from(tree),
            cgroup,
            dhcp: None,
            system: None,
        };
        machine.make_networks();
        Some(machine)
    }

    /// Plugs the cards in and boots, until the agent listens.
    pub(crate) fn start(&mut self) {
        self.power_on();
        let up = within(PATIENCE, || self.socket().exists().then_some(()));
        assert!(up.is_some(), "the agent does not listen\n{}", self.story());
    }

    /// Plugs the cards in and boots, until there is a first process.
    fn power_on(&mut self) {
        self.plug_in();
        fs::create_dir_all(&self.cgroup).unwrap();
        let console = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("console"))
            .unwrap();
        let child = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.inside()))
            .args("unshare --mount --pid --uts --ipc --fork --kill-child".split(' '))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("guest-os/boot"))
            .args([
                &self.tree,
                &self.path("programs"),
                self.dir.path(),
                &self.cgroup,
            ])
            .stdin(Stdio::null())
            .stdout(console.try_clone().unwrap())
            .stderr(console)
            .spawn()
            .unwrap();
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let init = eventually("the first process runs", PATIENCE, || {
            fs::read_to_string(&children).ok()?.trim().parse().ok()
        });
        self.system = Some(System {
            child,
            init: Pid::from_raw(init),
        });
    }

    /// Where the agent listens, as this machine sees it.
    pub(crate) fn socket(&self) -> PathBuf {
        let init = self
            .system
            .as_ref()
            .map_or(Pid::from_raw(0), |system| system.init);
        PathBuf::from(format!("/proc/{init}/root/run/lkc/agent.sock"))
    }

    /// A path in the machine, as this machine sees it.
    pub(crate) fn inner(&self, path: &str) -> PathBuf {
        let init = self
            .system
            .as_ref()
            .map_or(Pid::from_raw(0), |system| system.init);
        PathBuf::from(format!("/proc/{init}/root{path}"))
    }

    /// Pulls the plug and boots again, with new cards that know nothing.
    pub(crate) fn reset(&mut self) {
        self.power_off(Signal::SIGKILL);
        self.start();
    }

    /// As [`Self::reset`], but waits for nothing.
    pub(crate) fn boot_anew(&mut self) {
        self.power_off(Signal::SIGKILL);
        self.power_on();
    }

    /// Shuts the system down in order and boots it again.
    pub(crate) fn reboot(&mut self) {
        let system = self.system.as_ref().unwrap();
        let _ = Command::new("kill")
            .args([format!("-{SHUT_DOWN}"), system.init.to_string()])
            .status();
        let mut system = self.system.take().unwrap();
        let ended = within(PATIENCE, || system.child.try_wait().unwrap());
        if ended.is_none() {
            self.system = Some(system);
            panic!("the system does not shut down\n{}", self.story());
        }
        self.unplug();
        self.start();
    }

    fn power_off(&mut self, signal: Signal) {
        if let Some(mut system) = self.system.take() {
            let _ = kill(system.init, signal);
            let _ = system.child.wait();
        }
        self.unplug();
    }

    /// Runs a command in the machine and gives what it printed.
    pub(crate) fn run(&self, command: &str) -> String {
        let init = self.system.as_ref().unwrap().init;
        let output = Command::new("nsenter")
            .arg(format!("--target={init}"))
            .args([
                "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd",
            ])
            .args(["/bin/sh", "-c", command])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin")
            .env("SYSTEMD_COLORS", "0")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        text
    }

    /// Writes a file of the machine before it boots.
    pub(crate) fn prepare(&self, path: &str, text: &str) {
        let path = self.path("upper").join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Gives the host's end of a network an address.
    pub(crate) fn host_takes(&self, number: usize, address: &str) {
        ip_in(
            &self.outside(),
            &format!("addr add {address} dev br{number}"),
        );
    }

    /// Runs a command again and again until it prints `expected`.
    pub(crate) fn until_run(&self, command: &str, expected: &str) -> String {
        let seen = within(PATIENCE, || {
            let text = self.run(command);
            text.contains(expected).then_some(text)
        });
        seen.unwrap_or_else(|| panic!("`{command}` never prints {expected}"))
    }

    /// Writes a file of the machine.
    pub(crate) fn give(&self, path: &str, text: &str) {
        let path = self.inner(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Whether the host reaches the machine under an address: it is let in, or turned away there.
    pub(crate) fn answers(&self, address: &str) -> bool {
        match self.dial(address, 5000, Duration::from_secs(1)) {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::ConnectionRefused,
        }
    }

    /// Connects to the machine from where the host is.
    pub(crate) fn dial(
        &self,
        address: &str,
        port: u16,
        patience: Duration,
    ) -> io::Result<TcpStream> {
        dial(&self.outside(), address, port, patience)
    }

    /// The name of the namespace that the host's ends are in.
    pub(crate) fn outside(&self) -> String {
        format!("{}h", self.name)
    }

    fn inside(&self) -> String {
        format!("{}g", self.name)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What happened, for a test that fails.
    pub(crate) fn story(&self) -> String {
        let mut console = String::new();
        if let Ok(mut file) = fs::File::open(self.path("console")) {
            let _ = file.read_to_string(&mut console);
        }
        let inside = if self.system.is_some() {
            self.run(
                "ip -brief addr; ip route; networkctl --no-pager; ls -l /run/systemd/network; \
                 journalctl -b --no-pager | tail -n 90",
            )
        } else {
            String::new()
        };
        format!("-- console\n{console}\n-- inside\n{inside}")
    }

    /// Two bridges with the host in each, and DHCP with names in the first.
    fn make_networks(&mut self) {
        let outside = self.outside();
        ip(&["netns", "add", &outside]);
        let ip = |command: &str| ip_in(&outside, command);
        ip("link set lo up");
        for (number, gateway) in GATEWAYS.iter().enumerate() {
            ip(&format!("link add br{number} type bridge"));
            ip(&format!("link set br{number} up"));
            ip(&format!("addr add {gateway}/24 dev br{number}"));
            ip(&format!(
                "addr add fd00:77:{number}::1/64 dev br{number} nodad"
            ));
        }
        let server = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{outside}"))
            .arg("chroot")
            .arg(&self.tree)
            .args([
                "dnsmasq",
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--user=root",
            ])
            .args([
                "--pid-file",
                "--leasefile-ro",
                "--no-ping",
                "--no-hosts",
                "--no-resolv",
            ])
            .args([
                "--dhcp-authoritative",
                "--dhcp-range=10.77.0.100,10.77.0.200,1h",
            ])
            .args([
                "--interface=br0",
                "--interface=br1",
                "--no-dhcp-interface=br1",
                "--bind-interfaces",
            ])
            .args(["--address=/lab.lkc.test/192.0.2.7", "--log-facility=-"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.path("dnsmasq")).unwrap())
            .spawn()
            .unwrap();
        self.dhcp = Some(server);
    }

    fn plug_in(&self) {
        let (inside, outside) = (self.inside(), self.outside());
        ip(&["netns", "add", &inside]);
        for (number, mac) in MACS.iter().enumerate().take(self.cards) {
            let card = format!(
                "link add h{number} type veth peer name eth{number} netns {inside} address {mac}"
            );
            ip_in(&outside, &card);
            ip_in(
                &outside,
                &format!("link set h{number} master br{number} up"),
            );
        }
    }

    fn unplug(&self) {
        // The cards go with the namespace once nothing runs in it; their other ends would wait for that.
        for number in 0..self.cards {
            let _ = Command::new("ip")
                .args(["-n", &self.outside(), "link", "del", &format!("h{number}")])
                .stderr(Stdio::null())
                .status();
        }
        let _ = Command::new("ip")
            .args(["netns", "del", &self.inside()])
            .status();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() {
            let text = self.story();
            #[expect(
                clippy::print_stderr,
                reason = "whoever reads a failure wants its story"
            )]
            {
                eprintln!("{text}");
            }
        }
        self.power_off(Signal::SIGKILL);
        if let Some(mut server) = self.dhcp.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        let _ = Command::new("ip")
            .args(["netns", "del", &self.outside()])
            .status();
        remove_cgroup(&self.cgroup);
    }
}

/// Connects from a namespace: on a thread of its own, which goes there for it.
pub(crate) fn dial(
    namespace: &str,
    address: &str,
    port: u16,
    patience: Duration,
) -> io::Result<TcpStream> {
    let namespace = fs::File::open(format!("/run/netns/{namespace}"))?;
    let address = SocketAddr::new(address.parse().unwrap(), port);
    let dialling = thread::spawn(move || {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        TcpStream::connect_timeout(&address, patience)
    });
    dialling.join().unwrap()
}

/// The agent and the simulator under the names that their units have, from where cargo put them for
/// users or for the tests.
fn programs_of(from: &Path, to: &Path) {
    let agents = ["lkc-guest", "tested-lkc-guest"].map(|name| from.join(name));
    // Of what is there the one that was built last.
    let built = |path: &&PathBuf| fs::metadata(path).and_then(|file| file.modified()).ok();
    let agent = agents.iter().max_by_key(built).unwrap();
    for (program, name) in [(agent, "lkc-guest"), (&from.join("k3s-simulator"), "k3s")] {
        let linked = fs::hard_link(program, to.join(name));
        linked
            .or_else(|_| fs::copy(program, to.join(name)).map(drop))
            .unwrap();
    }
    // As it is found by whoever calls it by hand.
    let _ = symlink("lkc-guest", to.join("lkc"));
}

fn remove_cgroup(path: &Path) {
    if let Ok(entries) = fs::read_dir(path) {
        for entry in entries.flatten() {
            if entry.path().is_dir() {
                remove_cgroup(&entry.path());
            }
        }
    }
    // The kernel may still be taking its last process out.
    within(Duration::from_secs(2), || fs::remove_dir(path).ok());
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status().unwrap();
    assert!(status.success(), "ip {}", arguments.join(" "));
}

fn ip_in(namespace: &str, command: &str) {
    let mut arguments = vec!["-n", namespace];
    arguments.extend(command.split(' '));
    ip(&arguments);
}
