//! A place on the way from which connections can be made.
//!
//! Behind hops by SSH, ports and sockets are reached by the server itself. Everywhere else, and for
//! vsock, it takes a command there: a relay to a socket, or the command of an `exec:` carrier itself.
//! Commands of several hops nest, each an argument list of the one before.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{
    Carrier, ConnectFailure, ConnectedCarrier, exec, hybrid,
    ssh::{self, Destination, Options},
    words::{self, WordsError},
};

/// A place on the way from which connections can be made.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Hop {
    /// A command that runs the command behind it: `incus exec k3s --`, `limactl shell colima`.
    Exec(Vec<String>),
    /// A host by SSH. Not behind a command.
    Ssh(ssh::Target),
}

/// A text that names no hop.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HopParseError {
    /// It has no kind or one that is not known.
    #[error("`{0}` is no hop: write ssh:[USER@]HOST[:PORT] or exec:COMMAND")]
    Kind(String),
    /// The place behind `ssh:` is none.
    #[error(transparent)]
    Ssh(#[from] ssh::TargetError),
    /// The command cannot be taken apart.
    #[error("`{0}` is no command: {1}")]
    Command(String, &'static str),
}

/// Runs whichever relay the hop has. `$1` is the target for ours, `$2` for socat; empty where socat
/// could not be told.
const RELAY: &str = r#"for tool in lkc-host lkc-guest; do
  if command -v "$tool" >/dev/null 2>&1; then exec "$tool" relay "$1"; fi
done
if [ -n "$2" ] && command -v socat >/dev/null 2>&1; then exec socat - "$2"; fi
echo "neither lkc-host nor lkc-guest nor socat is there to reach $1" >&2
exit 127"#;

/// Connects `carrier` as seen from the last of `hops`.
pub(super) async fn connect(
    hops: &[Hop],
    carrier: &Carrier,
    options: &Options,
) -> Result<ConnectedCarrier, ConnectFailure> {
    let (targets, commands) = halves(hops).map_err(ConnectFailure::Unsupported)?;
    let mut connected = if let Carrier::Ssh(target) = carrier {
        check_ssh_end(commands).map_err(ConnectFailure::Unsupported)?;
        let targets = [targets, vec![target.clone()]].concat();
        let stream = ssh::connect(&targets, options, &options.destination()).await?;
        ConnectedCarrier::of_ssh(stream)
    } else if targets.is_empty() {
        exec::connect(&command(commands, carrier))?
    } else {
        let stream = ssh::connect(&targets, options, &destination(commands, carrier)).await?;
        ConnectedCarrier::of_ssh(stream)
    };
    if let Carrier::Hybrid { port, .. } = carrier {
        hybrid::open(&mut connected.stream, *port).await?;
    }
    Ok(connected)
}

/// Says why these hops cannot stand in front of `carrier`, if they cannot.
pub(crate) fn check(hops: &[Hop], carrier: &Carrier) -> Result<(), &'static str> {
    let (_, commands) = halves(hops)?;
    match carrier {
        Carrier::Ssh(_) => check_ssh_end(commands),
        _ => Ok(()),
    }
}

const SSH_BEHIND_COMMAND: &str =
    "SSH cannot begin behind an exec: hop: put ssh: hops first, or run `ssh` in the command";

fn check_ssh_end(commands: &[Hop]) -> Result<(), &'static str> {
    if commands.is_empty() {
        Ok(())
    } else {
        Err(SSH_BEHIND_COMMAND)
    }
}

/// The hosts that are reached one from the other, and the commands on the last of them.
fn halves(hops: &[Hop]) -> Result<(Vec<ssh::Target>, &[Hop]), &'static str> {
    let hosts = hops
        .iter()
        .take_while(|hop| matches!(hop, Hop::Ssh(_)))
        .count();
    let (hosts, commands) = hops.split_at(hosts);
    if commands.iter().any(|hop| matches!(hop, Hop::Ssh(_))) {
        return Err(SSH_BEHIND_COMMAND);
    }
    let targets = hosts.iter().filter_map(|hop| match hop {
        Hop::Ssh(target) => Some(target.clone()),
        Hop::Exec(_) => None,
    });
    Ok((targets.collect(), commands))
}

/// What a server of SSH is asked for: a port or a socket where it can lead there itself.
fn destination(commands: &[Hop], carrier: &Carrier) -> Destination {
    match carrier {
        Carrier::Tcp { host, port } if commands.is_empty() => Destination::Tcp(host.clone(), *port),
        Carrier::Unix(path) | Carrier::Serial(path) | Carrier::Hybrid { path, .. }
            if commands.is_empty() =>
        {
            Destination::Unix(path.clone())
        }
        // Quoted as a shell reads it, too.
        _ => Destination::Command(words::join(&command(commands, carrier))),
    }
}

/// The command that leads to `carrier` behind commands.
fn command(hops: &[Hop], carrier: &Carrier) -> Vec<String> {
    let mut command = Vec::new();
    for hop in hops {
        if let Hop::Exec(prefix) = hop {
            command.extend(prefix.iter().cloned());
        }
    }
    match carrier {
        Carrier::Exec(last) => command.extend(last.iter().cloned()),
        Carrier::Hybrid { path, .. } | Carrier::Serial(path) | Carrier::Unix(path) => {
            let socket = Carrier::Unix(path.clone());
            command.extend(relay(&socket));
        }
        Carrier::Tcp { .. } | Carrier::Vsock { .. } => command.extend(relay(carrier)),
        // It is reached otherwise.
        Carrier::Ssh(_) => {}
    }
    command
}

/// The command that joins its standard input and output with a socket.
fn relay(target: &Carrier) -> [String; 6] {
    [
        "sh",
        "-c",
        RELAY,
        "lkc-relay",
        &target.to_string(),
        &for_socat(target).unwrap_or_default(),
    ]
    .map(str::to_owned)
}

/// The target in socat's words; none where a character means something else to it.
fn for_socat(target: &Carrier) -> Option<String> {
    match target {
        Carrier::Unix(path) => {
            let path = path.to_str()?;
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@".contains(&byte);
            path.bytes()
                .all(plain)
                .then(|| format!("UNIX-CONNECT:{path}"))
        }
        Carrier::Tcp { host, port } if host.contains(':') => {
            Some(format!("TCP6:[{host}]:{port},nodelay"))
        }
        Carrier::Tcp { host, port } => Some(format!("TCP:{host}:{port},nodelay")),
        Carrier::Vsock { cid, port } => Some(format!("VSOCK-CONNECT:{cid}:{port}")),
        Carrier::Hybrid { .. } | Carrier::Exec(_) | Carrier::Serial(_) | Carrier::Ssh(_) => None,
    }
}

impl FromStr for Hop {
    type Err = HopParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let no_command =
            |error: WordsError| HopParseError::Command(text.to_owned(), error.as_str());
        match text.split_once(':') {
            Some(("exec", command)) => words::split(command).map(Self::Exec).map_err(no_command),
            Some(("ssh", target)) => Ok(Self::Ssh(target.parse()?)),
            _ => Err(HopParseError::Kind(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Hop {
    type Error = HopParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Hop> for String {
    fn from(hop: Hop) -> Self {
        hop.to_string()
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exec(command) => write!(formatter, "exec:{}", words::join(command)),
            Self::Ssh(target) => write!(formatter, "ssh:{target}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixListener,
        time::timeout,
    };

    use super::*;
    use crate::carrier::Route;

    const LIMIT: Duration = Duration::from_secs(20);

    fn route(via: &[&str], carrier: &str) -> Route {
        Route {
            via: via.iter().map(|hop| hop.parse().unwrap()).collect(),
            carrier: carrier.parse().unwrap(),
            ssh: Options::default(),
        }
    }

    #[test]
    fn hops_survive_being_written_and_read() {
        let text = "exec:limactl shell colima";
        assert_eq!(text.parse::<Hop>().unwrap().to_string(), text);
        for (text, message) in [
            (
                "docker exec -i k3s",
                "`docker exec -i k3s` is no hop: write ssh:[USER@]HOST[:PORT] or exec:COMMAND",
            ),
            (
                "unix:/a",
                "`unix:/a` is no hop: write ssh:[USER@]HOST[:PORT] or exec:COMMAND",
            ),
            ("exec:'a", "`exec:'a` is no command: a quote is not closed"),
        ] {
            assert_eq!(text.parse::<Hop>().unwrap_err().to_string(), message);
        }
        for route in [
            route(&[], "tcp:a:1"),
            route(
                &["exec:limactl shell colima", "exec:incus exec k3s --"],
                "tcp:a:1",
            ),
        ] {
            let json = serde_json::to_string(&route).unwrap();
            assert_eq!(serde_json::from_str::<Route>(&json).unwrap(), route);
        }
    }

    #[test]
    fn commands_nest_and_what_socat_would_misread_is_kept_from_it() {
        let hops =
            ["exec:limactl shell colima", "exec:incus exec k3s --"].map(|hop| hop.parse().unwrap());
        let stdio = "exec:lkc-guest stdio".parse().unwrap();
        assert_eq!(
            command(&hops, &stdio),
            [
                "limactl",
                "shell",
                "colima",
                "incus",
                "exec",
                "k3s",
                "--",
                "lkc-guest",
                "stdio"
            ]
        );
        for (carrier, ours, socats) in [
            (
                "unix:/run/a.sock",
                "unix:/run/a.sock",
                "UNIX-CONNECT:/run/a.sock",
            ),
            ("unix:/run/a,fork", "unix:/run/a,fork", ""),
            (
                "hybrid:/run/v.sock:5000",
                "unix:/run/v.sock",
                "UNIX-CONNECT:/run/v.sock",
            ),
            ("tcp:h:1", "tcp:h:1", "TCP:h:1,nodelay"),
            ("tcp:[::1]:1", "tcp:[::1]:1", "TCP6:[::1]:1,nodelay"),
            ("vsock:52:5000", "vsock:52:5000", "VSOCK-CONNECT:52:5000"),
        ] {
            let command = command(&hops, &carrier.parse().unwrap());
            assert_eq!(&command[command.len() - 2..], [ours, socats], "{carrier}");
        }
    }

    #[test]
    fn a_server_of_ssh_leads_to_what_it_can() {
        let hops =
            |texts: &[&str]| -> Vec<Hop> { texts.iter().map(|hop| hop.parse().unwrap()).collect() };
        let carrier = |text: &str| text.parse::<Carrier>().unwrap();
        assert_eq!(
            destination(&[], &carrier("tcp:10.0.0.2:7000")),
            Destination::Tcp("10.0.0.2".to_owned(), 7000)
        );
        assert_eq!(
            destination(&[], &carrier("hybrid:/run/vm.sock:5000")),
            Destination::Unix("/run/vm.sock".into())
        );
        assert_eq!(
            destination(
                &hops(&["exec:incus exec k3s --"]),
                &carrier("exec:lkc-guest stdio --socket '/a b'")
            ),
            Destination::Command("incus exec k3s -- lkc-guest stdio --socket '/a b'".to_owned())
        );
        let Destination::Command(relayed) = destination(&[], &carrier("vsock:52:5000")) else {
            panic!("no server knows vsock");
        };
        assert!(relayed.ends_with(" lkc-relay vsock:52:5000 VSOCK-CONNECT:52:5000"));
        let chain = hops(&[
            "ssh:colima",
            "ssh:root@10.0.0.2:22",
            "exec:incus exec k3s --",
        ]);
        let (targets, commands) = halves(&chain).unwrap();
        assert_eq!((targets.len(), commands.len()), (2, 1));
        assert_eq!(check(&chain, &carrier("tcp:a:1")), Ok(()));
        assert_eq!(check(&chain, &carrier("ssh:k3s")), Err(SSH_BEHIND_COMMAND));
        let reversed = hops(&["exec:limactl shell colima", "ssh:k3s"]);
        assert_eq!(
            check(&reversed, &carrier("tcp:a:1")),
            Err(SSH_BEHIND_COMMAND)
        );
    }

    #[tokio::test]
    async fn the_relay_that_the_hop_has_is_used() {
        let dir = tempfile::tempdir().unwrap();
        // A stand-in that tells what it was asked for, and is socat where nothing else is.
        for (name, script) in [
            ("lkc-guest", "echo \"guest $*\""),
            ("socat", "echo \"socat $*\""),
        ] {
            let path = dir.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let only = format!("exec:env PATH={}", dir.path().display());
        let shell = fs::canonicalize("/bin/sh").unwrap();
        std::os::unix::fs::symlink(shell, dir.path().join("sh")).unwrap();
        let route = route(&[&only], "tcp:10.0.0.2:7000");
        for expected in [
            "guest relay tcp:10.0.0.2:7000\n",
            "socat - TCP:10.0.0.2:7000,nodelay\n",
        ] {
            let mut stream = route.connect().await.unwrap().stream;
            let mut said = vec![0; expected.len()];
            timeout(LIMIT, stream.read_exact(&mut said))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(String::from_utf8(said).unwrap(), expected);
            let _ = fs::remove_file(dir.path().join("lkc-guest"));
        }
        fs::remove_file(dir.path().join("socat")).unwrap();
        let mut stream = route.connect().await.unwrap().stream;
        let error = timeout(LIMIT, stream.read_to_end(&mut Vec::new()))
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "env ended with exit status: 127: neither lkc-host nor lkc-guest nor socat is there to reach tcp:10.0.0.2:7000"
        );
    }

    #[tokio::test]
    async fn a_monitors_socket_is_asked_through_the_hop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vm.vsock");
        let listener = UnixListener::bind(&path).unwrap();
        let monitor = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut question = [0; 13];
            stream.read_exact(&mut question).await.unwrap();
            stream.write_all(b"OK 5000\nhello").await.unwrap();
            question
        };
        let relay = dir.path().join("lkc-guest");
        let script = r#"#!/usr/bin/perl
use IO::Socket::UNIX;
my $far = IO::Socket::UNIX->new(Peer => substr($ARGV[1], 5)) or die "nobody: $!";
if (!fork) {
  while (sysread(STDIN, my $bytes, 65536)) { syswrite($far, $bytes) }
  exit;
}
while (sysread($far, my $bytes, 65536)) { syswrite(STDOUT, $bytes) }
"#;
        fs::write(&relay, script).unwrap();
        fs::set_permissions(&relay, fs::Permissions::from_mode(0o755)).unwrap();
        let path_with_relay = format!("exec:env PATH={}:/usr/bin:/bin", dir.path().display());
        let route = route(
            &[&path_with_relay],
            &format!("hybrid:{}:5000", path.display()),
        );
        let (connected, question) =
            timeout(LIMIT, async { tokio::join!(route.connect(), monitor) })
                .await
                .unwrap();
        assert_eq!(&question, b"CONNECT 5000\n");
        let mut greeting = [0; 5];
        connected
            .unwrap()
            .stream
            .read_exact(&mut greeting)
            .await
            .unwrap();
        assert_eq!(&greeting, b"hello");
    }
}
