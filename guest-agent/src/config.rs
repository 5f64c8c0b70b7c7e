//! The agent's command line, and what it leads to.
//!
//! Under systemd the identity and the keys of the hosts come as credentials (`lkc.identity`,
//! `lkc.authorized_hosts`); elsewhere as files that the machine's driver put there. A guest that
//! nobody gave keys makes its own, and waits for a host that comes by a token.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, Parser, Subcommand};
use lkc_protocol::{
    identity::{Identity, IdentityError, PublicKey},
    relay::RelayTarget,
};
use thiserror::Error;

use crate::{
    enrolment::{EnrolmentArgs, give_to_owner_of},
    k3s::unit::Unit,
    listen::ListenAddress,
    network::change::ChangeId,
    steward::StewardArgs,
};

/// Largest identity or key file in bytes; an honest one has some hundred.
const MAX_KEY_FILE: u64 = 64 * 1024;

const IDENTITY_CREDENTIAL: &str = "lkc.identity";
const HOSTS_CREDENTIAL: &str = "lkc.authorized_hosts";

/// Log file where no journal takes standard error.
const DEFAULT_LOG: &str = "/var/log/lkc-guest.log";

/// `lkc-guest`'s command line.
#[derive(Debug, Parser)]
#[command(
    name = "lkc-guest",
    version,
    about = "The guest end of lkc: network, k3s readiness, kubeconfig and tunnel"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `lkc-guest` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent until it is told to stop
    Run(RunArgs),
    /// Print this guest's key fingerprint and the hosts it lets in
    Identity(ShowArgs),
    /// Join standard input and output with the agent: the end of a carrier that is a command
    Stdio(StdioArgs),
    /// Join standard input and output with a socket: a hop of a carrier
    Relay(RelayArgs),
    /// Print a token that lets one more host in, once: `lkc-host adopt CLUSTER` asks for it
    Token(TokenArgs),
    /// Do for an agent without privileges what needs root: lkc-steward.socket starts this
    #[command(hide = true)]
    Steward(StewardArgs),
    /// Run one program of a host's: lkc-exec.socket starts this
    #[command(hide = true)]
    Execute,
    /// Parts of changing the network that do not need the agent
    #[command(subcommand)]
    Network(NetworkCommand),
}

/// What `lkc-guest network` can do.
#[derive(Debug, Subcommand)]
pub enum NetworkCommand {
    /// Set up for this boot what a host has confirmed: a unit runs it before systemd-networkd starts
    Restore(StateArgs),
    /// Take a change back that nobody has confirmed: a timer runs it
    Rollback(RollbackArgs),
}

/// Where the network's files are.
#[derive(Debug, Clone, Args)]
pub struct StateArgs {
    /// What outlives a boot
    #[arg(long, value_name = "DIR", default_value = "/var/lib/lkc", hide = true)]
    pub state_dir: PathBuf,

    /// What does not
    #[arg(long, value_name = "DIR", default_value = "/run/lkc", hide = true)]
    pub runtime_dir: PathBuf,
}

/// Arguments of `network rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The change
    #[arg(value_name = "ID")]
    pub id: ChangeId,

    /// Where its files are
    #[command(flatten)]
    pub state: StateArgs,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Where to listen for the host: unix:PATH, vsock:PORT, serial:PATH or, for all who reach it, tcp:ADDRESS:PORT; may be repeated
    #[arg(
        long,
        value_name = "CARRIER",
        default_value = "unix:/run/lkc/agent.sock"
    )]
    pub listen: Vec<ListenAddress>,

    /// Keys of this guest and of its hosts
    #[command(flatten)]
    pub keys: IdentityArgs,

    /// The k3s program to run; without it k3s is somebody else's to start
    #[arg(long, value_name = "PATH")]
    pub k3s: Option<PathBuf>,

    /// The unit of systemd that runs k3s when the agent does not
    #[arg(long, value_name = "NAME", default_value = "k3s.service")]
    pub k3s_unit: Unit,

    /// Directory with the sockets of a steward, which does for an agent without privileges what needs root; without it the agent does all by itself
    #[arg(long, env = "LKC_STEWARD", value_name = "DIR", conflicts_with = "k3s")]
    pub steward: Option<PathBuf>,

    /// How long a guest whose network nobody has configured waits for a host before it asks for leases by DHCP
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub wait_for_host: u64,

    /// Whether a host may set this machine's clock where it is wrong, as after the host has slept; needs CAP_SYS_TIME
    #[arg(long, env = "LKC_SET_CLOCK", value_parser = clap::builder::FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    pub set_clock: bool,

    /// Where to log beside standard error [default: /var/log/lkc-guest.log, nowhere under systemd]
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// Set by systemd when standard error leads to the journal
    #[arg(long, env = "JOURNAL_STREAM", hide = true, value_name = "ID")]
    pub journal_stream: Option<String>,
}

impl RunArgs {
    /// The file to log to, none when the journal has the log.
    #[must_use]
    pub fn log_path(&self) -> Option<PathBuf> {
        let default = || {
            self.journal_stream
                .is_none()
                .then(|| PathBuf::from(DEFAULT_LOG))
        };
        self.log.clone().or_else(default)
    }
}

/// Arguments of `stdio`.
#[derive(Debug, Args)]
pub struct StdioArgs {
    /// The agent's socket
    #[arg(long, value_name = "PATH", default_value = "/run/lkc/agent.sock")]
    pub socket: PathBuf,
}

/// Arguments of `relay`.
#[derive(Debug, Args)]
pub struct RelayArgs {
    /// Where to: unix:PATH, tcp:HOST:PORT or vsock:CID:PORT
    #[arg(value_name = "TARGET")]
    pub target: RelayTarget,
}

/// Arguments of `token`.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// How long it is good
    #[arg(long, value_name = "MINUTES", default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=10))]
    pub minutes: u8,

    /// Where it waits for its host
    #[command(flatten)]
    pub enrolment: EnrolmentArgs,
}

/// Arguments of `identity`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Keys of this guest and of its hosts
    #[command(flatten)]
    pub keys: IdentityArgs,

    /// Text for people, or one JSON document: `guest` and `hosts`, each with `key` and `fingerprint`
    #[arg(long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// In which form something is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Where the keys are.
#[derive(Debug, Args)]
pub struct IdentityArgs {
    /// This guest's private key, PEM [default: the credential lkc.identity, else one that is made]
    #[arg(long, value_name = "FILE")]
    pub identity: Option<PathBuf>,

    /// Public keys of the hosts to let in, one a line [default: the credential lkc.authorized_hosts]
    #[arg(long, value_name = "FILE")]
    pub authorized_hosts: Option<PathBuf>,

    /// Where those are that came by a token
    #[command(flatten)]
    pub enrolment: EnrolmentArgs,

    /// Where systemd puts credentials
    #[arg(long, env = "CREDENTIALS_DIRECTORY", hide = true, value_name = "DIR")]
    pub credentials_dir: Option<PathBuf>,
}

/// The keys, read and checked.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Ours.
    pub identity: Arc<Identity>,
    /// Those of the hosts that this guest was told to let in.
    pub authorized_hosts: Vec<PublicKey>,
}

/// Why the agent cannot start.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// This guest has no key and cannot make one.
    #[error("cannot make a key for this guest in {}: give it one by `--identity FILE` or the systemd credential `{IDENTITY_CREDENTIAL}`", path.display())]
    Make {
        /// Where it was to be.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{} is unusable", path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        source: IdentityError,
    },
    /// Nobody could connect.
    #[error("{} lists no host: write one `ed25519:…` public key a line", .0.display())]
    NoHosts(PathBuf),
}

impl IdentityArgs {
    /// Reads the keys.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(&self) -> Result<Keys, ConfigError> {
        let authorized_hosts = match self.locate(self.authorized_hosts.as_deref(), HOSTS_CREDENTIAL)
        {
            None => Vec::new(),
            Some(path) => read_hosts(&path)?,
        };
        let path = self
            .locate(self.identity.as_deref(), IDENTITY_CREDENTIAL)
            .map_or_else(|| self.own_identity(), Ok)?;
        let identity = Identity::from_pem(&read(&path)?)
            .map_err(|source| ConfigError::Key { path, source })?;
        Ok(Keys {
            identity: Arc::new(identity),
            authorized_hosts,
        })
    }

    fn locate(&self, named: Option<&Path>, credential: &str) -> Option<PathBuf> {
        let in_credentials = || Some(self.credentials_dir.as_ref()?.join(credential));
        named
            .map(Path::to_owned)
            .or_else(|| in_credentials().filter(|path| path.exists()))
    }

    /// The key that this guest made for itself, or makes now.
    fn own_identity(&self) -> Result<PathBuf, ConfigError> {
        let directory = &self.enrolment.state_dir;
        let path = directory.join("identity.pem");
        let make = || {
            let identity = Identity::generate().map_err(io::Error::other)?;
            fs::create_dir_all(directory)?;
            let mut file = tempfile::Builder::new()
                .permissions(fs::Permissions::from_mode(0o600))
                .tempfile_in(directory)?;
            file.write_all(identity.to_pem().as_bytes())?;
            give_to_owner_of(directory, file.as_file())?;
            file.as_file().sync_all()?;
            match file.persist_noclobber(&path) {
                Err(failed) if failed.error.kind() != io::ErrorKind::AlreadyExists => {
                    Err(failed.error)
                }
                _ => Ok(()),
            }
        };
        if !path.exists()
            && let Err(source) = make()
        {
            return Err(ConfigError::Make { path, source });
        }
        Ok(path)
    }
}

fn read_hosts(path: &Path) -> Result<Vec<PublicKey>, ConfigError> {
    let hosts = parse_hosts(&read(path)?).map_err(|source| ConfigError::Key {
        path: path.to_owned(),
        source,
    })?;
    if hosts.is_empty() {
        return Err(ConfigError::NoHosts(path.to_owned()));
    }
    Ok(hosts)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: path.to_owned(),
        source,
    };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > MAX_KEY_FILE {
        let message = format!("{size} bytes are too many for a key file");
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, message)));
    }
    fs::read_to_string(path).map_err(failed)
}

/// The keys of a list: one a line, whatever follows it and after `#` is for people.
pub(crate) fn parse_hosts(text: &str) -> Result<Vec<PublicKey>, IdentityError> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(|line| line.split_whitespace().next().unwrap_or_default().parse())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(dir: &Path) -> IdentityArgs {
        IdentityArgs {
            identity: None,
            authorized_hosts: None,
            enrolment: EnrolmentArgs {
                state_dir: dir.join("state"),
                runtime_dir: dir.join("run"),
            },
            credentials_dir: Some(dir.to_owned()),
        }
    }

    #[test]
    fn keys_come_from_the_credentials() {
        let dir = tempfile::tempdir().unwrap();
        let guest = Identity::generate().unwrap();
        let host = Identity::generate().unwrap().public_key();
        fs::write(dir.path().join("lkc.identity"), guest.to_pem()).unwrap();
        fs::write(
            dir.path().join("lkc.authorized_hosts"),
            format!("# hosts\n\n{host} alice's laptop\n"),
        )
        .unwrap();
        let keys = args(dir.path()).load().unwrap();
        assert_eq!(keys.identity.public_key(), guest.public_key());
        assert_eq!(keys.authorized_hosts, [host]);
    }

    #[test]
    fn a_guest_without_keys_makes_its_own_once_and_lets_nobody_in() {
        let dir = tempfile::tempdir().unwrap();
        let keys = args(dir.path()).load().unwrap();
        assert!(keys.authorized_hosts.is_empty());
        let again = args(dir.path()).load().unwrap();
        assert_eq!(keys.identity.public_key(), again.identity.public_key());
        let file = fs::metadata(dir.path().join("state/identity.pem")).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);

        let mut blocked = args(dir.path());
        blocked.enrolment.state_dir = dir.path().join("state/identity.pem");
        let error = blocked.load().unwrap_err().to_string();
        assert!(
            error.starts_with("cannot make a key for this guest in "),
            "{error}"
        );
    }

    #[test]
    fn unusable_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let guest = Identity::generate().unwrap();
        fs::write(dir.path().join("lkc.identity"), guest.to_pem()).unwrap();
        let hosts = dir.path().join("lkc.authorized_hosts");
        for (text, expected) in [("", "lists no host"), ("ssh-ed25519 AAAA", "is unusable")] {
            fs::write(&hosts, text).unwrap();
            let error = args(dir.path()).load().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        fs::write(&hosts, "x".repeat(100_000)).unwrap();
        assert!(matches!(
            args(dir.path()).load(),
            Err(ConfigError::Read { .. })
        ));
    }
}
