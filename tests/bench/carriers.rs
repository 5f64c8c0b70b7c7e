//! What a link reaches over each carrier that needs no virtual machine, of what the carrier's own
//! bytes reach: the host's way to connect, once to a bare peer and once to a guest agent that dials
//! the same peer. A real `lkc-guest` and a real sshd.
//!
//! The link has one hop more than the bare bytes, from the agent to the peer. Virtual machines have
//! figures of their own, in their tests.

mod peer;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use lkc_host::carrier::{Route, ssh::Options};
use lkc_protocol::message::{Dial, DialNetwork};
use lkc_tests::{
    Programs,
    carriers::{guest::Guest, peers},
    sshd::{SshWorld, Sshd},
};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite};

use self::peer::{Direction, Peer};
use crate::{Failure, report, statistics::Spread};

/// Links that are made one after the other to tell how long one takes.
const LINKS: usize = 15;

/// How long bytes move before they count, and how long they count.
const WARM_UP: Duration = Duration::from_millis(300);
const WINDOW: Duration = Duration::from_millis(1200);

/// What was found of one carrier.
#[derive(Debug, Serialize)]
struct Row {
    carrier: &'static str,
    encrypted: bool,
    /// MiB per second and their ratio: into the guest, then out of it.
    into: Rates,
    out: Rates,
    /// Milliseconds from nothing to a link.
    link_ms: Spread,
}

#[derive(Debug, Serialize)]
struct Rates {
    raw: Spread,
    link: Spread,
    ratio: Spread,
}

/// Measures them all, `rounds` times, and prints the table.
///
/// # Errors
/// A program is missing, or a carrier does not carry.
pub(crate) fn run(rounds: u32, json: bool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::to("start the runtime"))?;
    let rows = runtime.block_on(measure(rounds));
    runtime.shutdown_background();
    let rows = rows?;
    if json {
        let text = serde_json::to_string_pretty(&rows);
        report::line(&text.map_err(|error| Failure::Candidate(error.to_string()))?);
    } else {
        report::line(&table(&rows));
    }
    Ok(())
}

/// A carrier: how it leads to the agent, and how to the bare peer.
struct Lane {
    name: &'static str,
    link: Route,
    raw: Route,
}

async fn measure(rounds: u32) -> Result<Vec<Row>, Failure> {
    let guest = Guest::start(programs()?);
    let peer = Peer::start(&guest.path("raw.sock"))?;
    // Lives as long as its server is needed.
    let ssh = Ssh::start();
    let mut rows = Vec::new();
    for lane in lanes(&guest, &peer, ssh.as_ref())? {
        report::progress(lane.name);
        rows.push(measure_lane(&lane, &guest, &peer, rounds).await?);
    }
    Ok(rows)
}

async fn measure_lane(
    lane: &Lane,
    guest: &Guest,
    peer: &Peer,
    rounds: u32,
) -> Result<Row, Failure> {
    let mut links = Vec::new();
    let mut encrypted = false;
    for _ in 0..LINKS {
        let since = Instant::now();
        let connected = guest
            .connect(&lane.link)
            .await
            .map_err(Failure::Candidate)?;
        links.push(since.elapsed().as_secs_f64() * 1000.0);
        encrypted = connected.link.is_encrypted();
        connected.close().await;
    }
    let (mut into, mut out) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        for (direction, found) in [(Direction::Into, &mut into), (Direction::OutOf, &mut out)] {
            let raw = raw_rate(lane, peer, direction).await?;
            let link = link_rate(lane, guest, peer, direction).await?;
            found.push((raw, link));
        }
    }
    let nothing = || Failure::Candidate("nothing was measured".to_owned());
    Ok(Row {
        carrier: lane.name,
        encrypted,
        into: Rates::of(&into).ok_or_else(nothing)?,
        out: Rates::of(&out).ok_or_else(nothing)?,
        link_ms: Spread::of(&links).ok_or_else(nothing)?,
    })
}

impl Rates {
    fn of(pairs: &[(f64, f64)]) -> Option<Self> {
        let all = |value: fn(&(f64, f64)) -> f64| {
            Spread::of(&pairs.iter().map(value).collect::<Vec<_>>())
        };
        Some(Self {
            raw: all(|pair| pair.0)?,
            link: all(|pair| pair.1)?,
            ratio: all(|pair| pair.1 / pair.0)?,
        })
    }
}

async fn raw_rate(lane: &Lane, peer: &Peer, direction: Direction) -> Result<f64, Failure> {
    let connected = lane.raw.connect().await;
    let carrier = connected.map_err(|error| Failure::Candidate(error.to_string()))?;
    rate(carrier.stream, peer, direction).await
}

async fn link_rate(
    lane: &Lane,
    guest: &Guest,
    peer: &Peer,
    direction: Direction,
) -> Result<f64, Failure> {
    let connected = guest
        .connect(&lane.link)
        .await
        .map_err(Failure::Candidate)?;
    let dial = Dial {
        network: DialNetwork::Tcp,
        host: peer.tcp.ip().to_string(),
        port: peer.tcp.port(),
    };
    let dialled = connected.link.request(&dial).await;
    let (_, stream) = dialled.map_err(|error| Failure::Candidate(error.to_string()))?;
    let found = rate(stream, peer, direction).await;
    connected.close().await;
    found
}

/// MiB per second.
async fn rate(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: &Peer,
    direction: Direction,
) -> Result<f64, Failure> {
    let moving = peer.talk(stream, direction);
    // Time is what is measured here, not a sign of anything.
    tokio::time::sleep(WARM_UP).await;
    let (since, before) = (Instant::now(), peer.counted());
    tokio::time::sleep(WINDOW).await;
    let (took, moved) = (since.elapsed(), peer.counted() - before);
    moving.end().await;
    peer.is_alone().await?;
    if moved == 0 {
        return Err(Failure::Candidate("nothing moves".to_owned()));
    }
    Ok(moved as f64 / (1024.0 * 1024.0) / took.as_secs_f64())
}

fn lanes(guest: &Guest, peer: &Peer, ssh: Option<&Ssh>) -> Result<Vec<Lane>, Failure> {
    let (agent, bare) = (guest.path("agent.sock"), guest.path("raw.sock"));
    let (agent_vm, bare_vm) = (guest.path("agent.vsock"), guest.path("raw.vsock"));
    let (agent_proxy, bare_proxy) = (guest.path("agent.proxy"), guest.path("raw.proxy"));
    peers::monitor(&agent_vm, agent.clone());
    peers::monitor(&bare_vm, bare.clone());
    peers::proxy(&agent_proxy, agent.clone());
    peers::proxy(&bare_proxy, bare.clone());
    let stdio = |socket: &Path| {
        format!(
            "{} stdio --socket {}",
            guest.path("lkc-guest").display(),
            socket.display()
        )
    };
    let unix = |path: &Path| route(&format!("unix:{}", path.display()));
    let hybrid = |path: &Path| route(&format!("hybrid:{}:5000", path.display()));
    let mut lanes = vec![
        Lane {
            name: "unix",
            link: unix(&agent)?,
            raw: unix(&bare)?,
        },
        Lane {
            name: "unix, forwarded",
            link: unix(&agent_proxy)?,
            raw: unix(&bare_proxy)?,
        },
        Lane {
            name: "tcp",
            link: route(&format!("tcp:{}", guest.tcp))?,
            raw: route(&format!("tcp:{}", peer.tcp))?,
        },
        Lane {
            name: "hybrid",
            link: hybrid(&agent_vm)?,
            raw: hybrid(&bare_vm)?,
        },
        Lane {
            name: "exec",
            link: route(&format!("exec:{}", stdio(&agent)))?,
            raw: route(&format!("exec:{}", stdio(&bare)))?,
        },
    ];
    match ssh {
        None => report::progress("no sshd or ssh-keygen: nothing over SSH"),
        Some(ssh) => {
            let socket = |path: &Path| ssh.route(|options| options.socket = Some(path.into()));
            let command = |path: &Path| ssh.route(|options| options.command = Some(stdio(path)));
            lanes.push(Lane {
                name: "ssh, to the socket",
                link: socket(&agent)?,
                raw: socket(&bare)?,
            });
            lanes.push(Lane {
                name: "ssh, to a command",
                link: command(&agent)?,
                raw: command(&bare)?,
            });
        }
    }
    Ok(lanes)
}

fn route(carrier: &str) -> Result<Route, Failure> {
    let carrier = carrier.parse();
    let carrier: lkc_host::carrier::Carrier =
        carrier.map_err(|error| Failure::Candidate(format!("{error}")))?;
    Ok(Route::from(carrier))
}

/// A server that a key opens.
struct Ssh {
    world: SshWorld,
    sshd: Sshd,
    key: std::path::PathBuf,
}

impl Ssh {
    fn start() -> Option<Self> {
        let world = SshWorld::new().ok()?;
        let key = world.plain_key("id");
        let sshd = world.sshd("dev", &[&key], "");
        world.write("known_hosts", &sshd.known_hosts());
        Some(Self { world, sshd, key })
    }

    fn route(&self, choose: impl FnOnce(&mut Options)) -> Result<Route, Failure> {
        let file = format!("IdentityFile {}", self.key.display());
        let block = self.sshd.host_block("dev", &file);
        let mut route = route("ssh:dev")?;
        route.ssh.config = Some(self.world.client_configuration(&block));
        route.ssh.known_hosts = Some(self.world.path("own_known_hosts"));
        choose(&mut route.ssh);
        Ok(route)
    }
}

/// Those that are built with this one.
fn programs() -> Result<Programs, Failure> {
    let own = std::env::current_exe().map_err(Failure::to("find this program"))?;
    let beside = |name: &str| -> Result<&'static str, Failure> {
        let path = own.with_file_name(name);
        if path.exists() {
            Ok(String::leak(path.display().to_string()))
        } else {
            Err(Failure::Candidate(format!(
                "there is no {name} beside this program: `cargo build --release` makes it"
            )))
        }
    };
    Ok(Programs {
        host: beside("lkc-host")?,
        guest: beside("lkc-guest")?,
        simulator: beside("k3s-simulator")?,
    })
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<20} {:<9} {:>8} {:>8} {:>13} {:>8} {:>8} {:>13} {:>8}\n",
        "carrier", "bytes", "raw in", "link in", "ratio", "raw out", "link out", "ratio", "link ms"
    );
    for row in rows {
        let ratio = |ratio: &Spread| {
            format!(
                "{:.2} ±{:.2}",
                ratio.median,
                (ratio.most - ratio.least) / 2.0
            )
        };
        text.push_str(&format!(
            "{:<20} {:<9} {:>8.0} {:>8.0} {:>13} {:>8.0} {:>8.0} {:>13} {:>8.1}\n",
            row.carrier,
            if row.encrypted { "encrypted" } else { "plain" },
            row.into.raw.median,
            row.into.link.median,
            ratio(&row.into.ratio),
            row.out.raw.median,
            row.out.link.median,
            ratio(&row.out.ratio),
            row.link_ms.median,
        ));
    }
    text.push_str("\nMiB per second, medians; link ms: from nothing to a link.");
    text
}
