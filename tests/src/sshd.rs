//! A real sshd of the test's own: on loopback, with its own host keys and its own accounts' keys,
//! and a client configuration that knows nothing of the user's.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use tempfile::TempDir;

use crate::{
    eventually, find_program,
    process::{Process, descendants},
};

/// How long sshd and the programs round it may take to start or to stop.
const DEADLINE: Duration = Duration::from_secs(20);

/// How often a port is chosen anew when somebody else takes it first.
const PORT_ATTEMPTS: usize = 5;

/// Programs of OpenSSH that the tests run.
const PROGRAMS: [&str; 4] = ["ssh", "ssh-add", "ssh-agent", "ssh-keygen"];

/// A folder for keys and configurations, and what runs from it.
pub struct SshWorld {
    directory: TempDir,
}

impl SshWorld {
    /// Nothing where a program of OpenSSH is missing, and which.
    ///
    /// # Errors
    /// The program that is missing.
    pub fn new() -> Result<Self, String> {
        for program in PROGRAMS {
            find_program(program).ok_or_else(|| format!("no {program}"))?;
        }
        sshd_program().ok_or("no sshd")?;
        let directory = TempDir::with_prefix("lkc-ssh-").map_err(|error| error.to_string())?;
        Ok(Self { directory })
    }

    /// A path in the folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file into the folder.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("the folder can be written");
        path
    }

    /// A key pair, made by `ssh-keygen` with `arguments`, and its private half's path.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn key(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let path = self.path(name);
        let output = Command::new("ssh-keygen")
            .args(["-q", "-C", name, "-f"])
            .arg(&path)
            .args(arguments)
            .output()
            .expect("ssh-keygen runs");
        assert!(output.status.success(), "{output:?}");
        path
    }

    /// A key pair without passphrase.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn plain_key(&self, name: &str) -> PathBuf {
        self.key(name, &["-t", "ed25519", "-N", ""])
    }

    /// Starts an sshd named `name` that lets the owners of `keys` in, as whoever runs the test, with
    /// `settings` added to its configuration and ed25519 and ecdsa host keys.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn sshd(&self, name: &str, keys: &[&Path], settings: &str) -> Sshd {
        let host_keys = ["ed25519", "ecdsa"]
            .map(|kind| self.key(&format!("{name}-{kind}"), &["-t", kind, "-N", ""]));
        self.sshd_with(name, &host_keys, keys, settings)
    }

    /// The same with these host keys.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn sshd_with(
        &self,
        name: &str,
        host_keys: &[PathBuf],
        keys: &[&Path],
        settings: &str,
    ) -> Sshd {
        let authorized = keys.iter().map(|key| public_half(key)).collect::<String>();
        let authorized = self.write(&format!("{name}-authorized"), &authorized);
        // Of two values sshd takes the first.
        let mut configuration = format!(
            "{settings}\nListenAddress 127.0.0.1\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\n\
             StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin yes\nPrintMotd no\nPrintLastLog no\nLogLevel VERBOSE\nUseDNS no\n",
            authorized.display()
        );
        for key in host_keys {
            configuration.push_str(&format!("HostKey {}\n", key.display()));
        }
        let configuration = self.write(&format!("{name}-sshd_config"), &configuration);
        if nix::unistd::geteuid().is_root() {
            // Where an sshd that is not the system's own leaves its privileges.
            fs::create_dir_all("/run/sshd").expect("root may write to /run");
        }
        let mut errors = String::new();
        for _ in 0..PORT_ATTEMPTS {
            match Sshd::start(&configuration) {
                Ok((child, port, log, reader)) => {
                    return Sshd {
                        port,
                        host_keys: host_keys.iter().map(|key| public_half(key)).collect(),
                        configuration,
                        child,
                        log,
                        reader: Some(reader),
                    };
                }
                Err(error) => errors = error,
            }
        }
        panic!("sshd does not start: {errors}");
    }

    /// An agent without keys, listening on the socket `name` in the folder.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn agent(&self, name: &str) -> SshAgent {
        let socket = self.path(name);
        let child = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ssh-agent starts");
        eventually("the agent has its socket", DEADLINE, || {
            socket.exists().then_some(())
        });
        SshAgent { socket, child }
    }

    /// A client configuration: the blocks of `hosts`, which know no files, keys and agents but
    /// those that they name.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn client_configuration(&self, hosts: &str) -> PathBuf {
        self.write(
            "ssh_config",
            &format!(
                "{hosts}\nHost *\n  UserKnownHostsFile {}\n  GlobalKnownHostsFile none\n  \
                 IdentityFile none\n  IdentityAgent none\n",
                self.path("known_hosts").display()
            ),
        )
    }
}

/// A running agent. It ends with this.
pub struct SshAgent {
    /// Its socket.
    pub socket: PathBuf,
    child: Child,
}

impl SshAgent {
    /// Gives it a key without passphrase.
    ///
    /// # Panics
    /// When it does not take it.
    pub fn add(&self, key: &Path) {
        let output = Command::new("ssh-add")
            .arg(key)
            .env("SSH_AUTH_SOCK", &self.socket)
            .output()
            .expect("ssh-add runs");
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for SshAgent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running sshd. It and its sessions end with this.
pub struct Sshd {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    /// The public halves of its host keys, as in a `.pub` file.
    pub host_keys: Vec<String>,
    /// Its configuration file.
    pub configuration: PathBuf,
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

type Started = (Child, u16, Arc<Mutex<String>>, JoinHandle<()>);

impl Sshd {
    fn start(configuration: &Path) -> Result<Started, String> {
        let port = free_port();
        let mut child = Command::new(sshd_program().expect("looked for before"))
            .args(["-D", "-e", "-p", &port.to_string(), "-f"])
            .arg(configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| error.to_string())?;
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().expect("piped");
        let written = Arc::clone(&log);
        let reader = thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = written.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&line);
                log.push('\n');
            }
        });
        let said =
            |log: &Arc<Mutex<String>>| log.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let ready = format!("Server listening on 127.0.0.1 port {port}.");
        let ended = eventually("sshd listens", DEADLINE, || {
            if said(&log).contains(&ready) {
                return Some(false);
            }
            child.try_wait().ok().flatten().map(|_| true)
        });
        if ended {
            let _ = reader.join();
            return Err(said(&log));
        }
        Ok((child, port, log, reader))
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Lines of a known hosts file with its host keys.
    #[must_use]
    pub fn known_hosts(&self) -> String {
        let line = |key: &String| format!("[127.0.0.1]:{} {key}", self.port);
        self.host_keys.iter().map(line).collect()
    }

    /// A block of a client configuration that leads here under `name`.
    #[must_use]
    pub fn host_block(&self, name: &str, more: &str) -> String {
        format!(
            "Host {name}\n  HostName 127.0.0.1\n  Port {}\n  {more}\n",
            self.port
        )
    }

    /// The processes of its connections.
    #[must_use]
    pub fn sessions(&self) -> Vec<Process> {
        i32::try_from(self.child.id())
            .map(descendants)
            .unwrap_or_default()
    }

    /// Waits until no connection is left.
    ///
    /// # Panics
    /// When one stays.
    pub fn has_no_sessions(&self) {
        eventually("the server has no connection", DEADLINE, || {
            self.sessions().is_empty().then_some(())
        });
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let sessions = self.sessions();
        let _ = self.child.kill();
        let _ = self.child.wait();
        for session in sessions {
            session.signal(nix::sys::signal::Signal::SIGKILL);
        }
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// sshd, which is not on every user's `PATH`.
#[must_use]
pub fn sshd_program() -> Option<PathBuf> {
    let usual = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"];
    find_program("sshd").or_else(|| usual.iter().map(PathBuf::from).find(|path| path.is_file()))
}

/// A port that nobody has at this moment.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .expect("loopback has a free port")
        .port()
}

/// The public half of a key, without its comment.
fn public_half(key: &Path) -> String {
    let mut path = key.as_os_str().to_owned();
    path.push(".pub");
    let text = fs::read_to_string(&path).expect("a public half lies beside the key");
    let mut words = text.split_ascii_whitespace();
    let (kind, key) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    format!("{kind} {key}\n")
}
