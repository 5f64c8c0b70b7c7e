//! A guest agent with a key of its own that lets the test in.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "what fails here fails the test, and says where"
)]

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use lkc_host::carrier::Route;
use lkc_protocol::{
    identity::{Identity, PublicKey},
    link::{self, ConnectError, Encrypt, Link, LinkEnd, LinkOptions},
    session::Limits,
};
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::timeout};

use super::PATIENCE;
use crate::{Programs, eventually};

/// An agent that listens on a unix socket, for TCP and on a serial line that may appear.
pub struct Guest {
    dir: TempDir,
    host: Arc<Identity>,
    key: PublicKey,
    /// Where it listens for TCP.
    pub tcp: SocketAddr,
    agent: Child,
}

/// Between two attempts of somebody who waits for an agent.
const PAUSE: Duration = Duration::from_millis(20);

/// A link that stands, and the task that moves its bytes.
pub struct Connected {
    /// The link.
    pub link: Link,
    driver: JoinHandle<LinkEnd>,
}

impl Guest {
    /// Starts one.
    #[must_use]
    pub fn start(programs: Programs) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("lkc-")
            .tempdir()
            .expect("a folder");
        let (host, guest) = (
            Identity::generate().expect("randomness"),
            Identity::generate().expect("randomness"),
        );
        fs::write(dir.path().join("identity.pem"), guest.to_pem()).expect("a file");
        let hosts = format!("{}\n", host.public_key());
        fs::write(dir.path().join("authorized_hosts"), hosts).expect("a file");
        // As hops and commands know it.
        symlink(programs.guest, dir.path().join("lkc-guest")).unwrap();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let tcp = free.local_addr().unwrap();
        drop(free);
        let agent = run(dir.path(), tcp);
        Self {
            host: Arc::new(host),
            key: guest.public_key(),
            dir,
            tcp,
            agent,
        }
    }

    /// A path in its folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Kills it and starts it again with the same keys.
    pub fn restart(&mut self) {
        self.agent.kill().unwrap();
        self.agent.wait().unwrap();
        self.agent = run(self.dir.path(), self.tcp);
    }

    /// Connects as the daemon does.
    ///
    /// # Errors
    /// What it says.
    pub async fn connect(&self, route: &Route) -> Result<Connected, String> {
        let attempt = async {
            let carrier = route
                .connect()
                .await
                .map_err(|error| error.source.to_string())?;
            let options = LinkOptions {
                identity: Arc::clone(&self.host),
                version: "0.1.0".to_owned(),
                node: "carriers".to_owned(),
                boot_id: [1; 16],
                encrypt: Encrypt::Auto,
                locality: carrier.locality,
                limits: Limits::default(),
            };
            let (link, _incoming, driver) = link::connect(carrier.stream, self.key, &options)
                .await
                .map_err(|error: ConnectError| error.to_string())?;
            let driver = tokio::spawn(driver.run());
            Ok(Connected { link, driver })
        };
        timeout(PATIENCE, attempt).await.unwrap()
    }

    /// Connects again and again, as one does while an agent starts.
    pub async fn until_connected(&self, route: &Route) -> Connected {
        let mut last = String::new();
        timeout(PATIENCE, async {
            loop {
                match self.connect(route).await {
                    Ok(connected) => return connected,
                    Err(error) => last = error,
                }
                tokio::time::sleep(PAUSE).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("no link over {route}: {last}\n{}", self.log()))
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.agent.id()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }
}

impl Connected {
    /// Takes leave; returns once every byte of it is gone.
    pub async fn close(self) {
        self.link.close();
        let _ = timeout(PATIENCE, self.driver).await.unwrap();
    }

    /// Waits until the other end is found to be gone.
    pub async fn lost(self) -> LinkEnd {
        timeout(PATIENCE, self.driver).await.unwrap().unwrap()
    }
}

fn run(dir: &Path, tcp: SocketAddr) -> Child {
    let file = |name: &str| dir.join(name);
    let child = Command::new(file("lkc-guest"))
        .arg("run")
        .arg("--identity")
        .arg(file("identity.pem"))
        .arg("--authorized-hosts")
        .arg(file("authorized_hosts"))
        .arg(format!("--listen=unix:{}", file("agent.sock").display()))
        .arg(format!("--listen=tcp:{tcp}"))
        .arg(format!("--listen=serial:{}", file("lkc.agent.0").display()))
        .arg("--log")
        .arg(file("agent.log"))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a program that can be run");
    eventually("the agent listens", PATIENCE, || {
        std::os::unix::net::UnixStream::connect(file("agent.sock")).ok()
    });
    child
}

/// An agent with files in `dir` that lets the host with the public key `host` in, in a network
/// namespace of its own: it will be asked to set its network up. With it comes its public key.
pub fn run_isolated(programs: Programs, dir: &Path, host: &str) -> (Child, String) {
    let guest = Identity::generate().expect("randomness");
    fs::write(dir.join("identity.pem"), guest.to_pem()).expect("a file");
    fs::write(dir.join("authorized_hosts"), format!("{host}\n")).expect("a file");
    let child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--net", "--"])
        .arg(programs.guest)
        .arg("run")
        .arg("--identity")
        .arg(dir.join("identity.pem"))
        .arg("--authorized-hosts")
        .arg(dir.join("authorized_hosts"))
        .arg(format!(
            "--listen=unix:{}",
            dir.join("agent.sock").display()
        ))
        .arg("--log")
        .arg(dir.join("agent.log"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a program that can be run");
    eventually("the agent listens", PATIENCE, || {
        std::os::unix::net::UnixStream::connect(dir.join("agent.sock")).ok()
    });
    (child, guest.public_key().to_string())
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}
