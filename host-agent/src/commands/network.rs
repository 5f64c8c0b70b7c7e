//! `lkc-host network`.

mod document;

use std::{
    io::Read as _,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use lkc_protocol::{
    message::{
        ApplyNetwork, ConfirmNetwork, NetworkPhase, NetworkStatus, NetworkStatusAnswer,
        NetworkTried, RollBackNetwork, TryNetwork,
    },
    version,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;

use super::{End, context::Context, doctor, remembered};
use crate::{
    carrier::Route,
    cli::{
        Network, NetworkApply, NetworkChange, NetworkCommand, NetworkSource, NetworkWhich, Probe,
    },
    config::{ClusterName, Driver},
    control::Failure,
    daemon::Visit,
    error::{CommandError, Kind},
    sanitize,
};

/// How long the guest may take for what it does at once.
const ANSWER: Duration = Duration::from_secs(20);

/// How long the guest may take beyond the deadline to bring the state before back.
const WAY_BACK: Duration = Duration::from_secs(15);

/// How long one address may take to be reached.
const REACH: Duration = Duration::from_secs(2);

/// Pause between two attempts to come back: nothing tells when a network is there.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn run(context: &Context<'_>, args: &Network) -> Result<End, CommandError> {
    match &args.command {
        NetworkCommand::Diff(source) => diff(context, source).await,
        NetworkCommand::Apply(args) => apply(context, args).await,
        NetworkCommand::Confirm(change) => confirm(context, change).await,
        NetworkCommand::Rollback(change) => roll_back(context, change).await,
        NetworkCommand::Status(which) => status(context, which).await,
    }
}

async fn diff(context: &Context<'_>, source: &NetworkSource) -> Result<End, CommandError> {
    let node = Node::find(context, &source.which).await?;
    let network = wanted(context, &node.cluster, source)?;
    let request = TryNetwork {
        id: [0; 16],
        deadline_ms: 1000,
        probe: false,
        plan_only: true,
        network,
    };
    let visit = node.visit(context).await?;
    let planned = visit.ask(&request, ANSWER, "the network").await;
    visit.end().await;
    let steps = planned.map_err(answered)?.steps;
    let output = context.output;
    if output.is_json() {
        output.json(&json!({ "cluster": node.cluster, "steps": steps }))?;
    } else if steps.is_empty() {
        output.summary(&format!(
            "The network of {} is as configured.",
            node.cluster
        ))?;
    } else {
        output.result(&lines(&steps))?;
    }
    Ok(End::Done)
}

async fn apply(context: &Context<'_>, args: &NetworkApply) -> Result<End, CommandError> {
    let node = Node::find(context, &args.source.which).await?;
    let network = wanted(context, &node.cluster, &args.source)?;
    let probe = args.probe.unwrap_or_else(|| node.probe());
    let deadline_ms = u32::try_from(args.deadline.as_millis()).unwrap_or(u32::MAX);
    let request = TryNetwork {
        id: random()?,
        deadline_ms,
        probe: probe == Probe::Address,
        plan_only: false,
        network,
    };
    let begun = Instant::now();
    let visit = node.visit(context).await?;
    let tried = visit
        .ask(&request, args.deadline + WAY_BACK, "the network")
        .await;
    visit.end().await;
    let id = hex(request.id);
    match tried {
        Ok(NetworkTried { pending: false, .. }) => {
            return done(context, &node, &id, "is as configured, and kept");
        }
        Ok(tried) => {
            for step in &tried.steps {
                context.output.talk(&format!("  {}", sanitize::line(step)));
            }
        }
        Err(Some(failure)) => return Err(not_changed(failure)),
        // The link went over what was changed.
        Err(None) => context
            .output
            .talk("the link is gone with the old network: coming back on a new one"),
    }
    if args.no_confirm {
        let text = format!(
            "waits for `lkc-host network confirm {} --id {id}`, {} s from its beginning",
            node.cluster,
            args.deadline.as_secs()
        );
        return done(context, &node, &id, &text);
    }
    keep(context, &node, request.id, begun + args.deadline).await?;
    done(
        context,
        &node,
        &id,
        "is as configured, and kept over restarts",
    )
}

async fn confirm(context: &Context<'_>, change: &NetworkChange) -> Result<End, CommandError> {
    let node = Node::find(context, &change.which).await?;
    let (id, left) = pending(context, &node, change).await?;
    keep(context, &node, id, Instant::now() + left).await?;
    done(
        context,
        &node,
        &hex(id),
        "is confirmed, and kept over restarts",
    )
}

async fn roll_back(context: &Context<'_>, change: &NetworkChange) -> Result<End, CommandError> {
    let node = Node::find(context, &change.which).await?;
    let (id, _) = pending(context, &node, change).await?;
    let visit = node.visit(context).await?;
    let asked = visit
        .ask(&RollBackNetwork { id }, WAY_BACK, "the network")
        .await;
    visit.end().await;
    asked.map_err(answered)?;
    done(context, &node, &hex(id), "is as it was before")
}

async fn status(context: &Context<'_>, which: &NetworkWhich) -> Result<End, CommandError> {
    let node = Node::find(context, which).await?;
    let visit = node.visit(context).await?;
    let status = ask_status(&visit).await;
    visit.end().await;
    let status = status?;
    let output = context.output;
    let detail = sanitize::line(&status.detail);
    if output.is_json() {
        output.json(&json!({
            "cluster": node.cluster,
            "means": status.means,
            "phase": status.phase,
            "id": status.id.map(hex),
            "leftMs": status.left_ms,
            "detail": detail,
            "confirmed": status.confirmed.is_some(),
        }))?;
        return Ok(End::Done);
    }
    let mut text = format!("changed by  {}\nlast change {}", status.means, status.phase);
    if let Some(id) = status.id {
        text.push_str(&format!(" {}", hex(id)));
    }
    if status.phase == NetworkPhase::Pending {
        text.push_str(&format!(", taken back in {} s", status.left_ms / 1000));
    }
    if !detail.is_empty() {
        text.push_str(&format!("\n            {detail}"));
    }
    let kept = match status.confirmed {
        Some(_) => "a confirmed configuration",
        None => "nothing confirmed yet",
    };
    text.push_str(&format!("\nat a boot   {kept}"));
    output.result(&text)?;
    Ok(End::Done)
}

/// A node and the ways to it.
struct Node {
    cluster: ClusterName,
    routes: Vec<Route>,
    driver: Driver,
}

impl Node {
    async fn find(context: &Context<'_>, which: &NetworkWhich) -> Result<Self, CommandError> {
        let cluster = context.cluster(which.cluster.as_ref())?;
        let (routes, driver) = doctor::ways(context, &cluster).await?;
        Ok(Self {
            cluster,
            routes,
            driver,
        })
    }

    /// A new link, to a guest that knows what a trial is.
    async fn visit(&self, context: &Context<'_>) -> Result<Visit, CommandError> {
        let ours = self.driver != Driver::Existing;
        let visit = Visit::begin(&context.paths, &self.cluster, &self.routes, ours).await?;
        let guest = visit.link().peer();
        if guest.capability < version::NETWORK_TRIAL {
            let text = format!(
                "lkc-guest {} cannot take a change of the network back",
                sanitize::line(&guest.version)
            );
            visit.end().await;
            return Err(CommandError::new(Kind::Version, text).hint(format!(
                "bring lkc-guest in the machine of {} up to the version of lkc-host",
                self.cluster
            )));
        }
        Ok(visit)
    }

    /// What can be reached from here: the addresses of a machine of a driver's may be behind it.
    fn probe(&self) -> Probe {
        let direct = self.routes.iter().all(|route| route.via.is_empty());
        if self.driver == Driver::Existing && direct {
            Probe::Address
        } else {
            Probe::Link
        }
    }
}

/// Comes back on new links until the change is confirmed or over.
async fn keep(
    context: &Context<'_>,
    node: &Node,
    id: [u8; 16],
    deadline: Instant,
) -> Result<(), CommandError> {
    let mut last = None;
    loop {
        match attempt(context, node, id).await {
            Ok(()) => return Ok(()),
            Err(error) if error.kind == Kind::RolledBack => return Err(error),
            Err(error) => last = Some(error).or(last),
        }
        if Instant::now() >= deadline {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let why = last.map_or_else(String::new, |error| format!(": {error}"));
    Err(CommandError::new(
        Kind::RolledBack,
        format!(
            "the network of {} could not be confirmed in time{why}",
            node.cluster
        ),
    )
    .hint("the guest takes the change back; `lkc-host network status` says when it has"))
}

async fn attempt(context: &Context<'_>, node: &Node, id: [u8; 16]) -> Result<(), CommandError> {
    let visit = node.visit(context).await?;
    let done = async {
        let status = ask_status(&visit).await?;
        match status.phase {
            NetworkPhase::Committed if status.id == Some(id) => return Ok(()),
            NetworkPhase::Pending if status.id == Some(id) => {}
            NetworkPhase::Applying if status.id == Some(id) => {
                return Err(CommandError::new(Kind::Other, "the guest is still at it"));
            }
            _ => {
                let text = format!(
                    "the network was not changed: {}",
                    sanitize::line(&status.detail)
                );
                return Err(CommandError::new(Kind::RolledBack, text));
            }
        }
        let proof = prove(&status).await?;
        let confirmed = visit
            .ask(&ConfirmNetwork { id, proof }, ANSWER, "the network")
            .await;
        confirmed.map(drop).map_err(answered)
    };
    let done = done.await;
    visit.end().await;
    done
}

/// Reaches an address of the new configuration, where the guest wants that.
async fn prove(status: &NetworkStatusAnswer) -> Result<Vec<u8>, CommandError> {
    if status.probes.is_empty() {
        return Ok(Vec::new());
    }
    let addresses: Vec<SocketAddr> = status
        .probes
        .iter()
        .filter_map(|probe| probe.parse().ok())
        .collect();
    let reaching = move || {
        let mut failed = "no address to reach".to_owned();
        for address in addresses {
            match proof(address) {
                Ok(proof) => return Ok(proof),
                Err(error) => failed = format!("{address} is not reached: {error}"),
            }
        }
        Err(failed)
    };
    let reached = tokio::task::spawn_blocking(reaching).await;
    let reached = reached.unwrap_or_else(|error| Err(error.to_string()));
    reached.map_err(|why| CommandError::new(Kind::Unreachable, why))
}

fn proof(address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let stream = TcpStream::connect_timeout(&address, REACH)?;
    stream.set_read_timeout(Some(REACH))?;
    let mut proof = Vec::new();
    stream.take(64).read_to_end(&mut proof)?;
    Ok(proof)
}

/// The change that waits, or the one that was named.
async fn pending(
    context: &Context<'_>,
    node: &Node,
    change: &NetworkChange,
) -> Result<([u8; 16], Duration), CommandError> {
    let visit = node.visit(context).await?;
    let status = ask_status(&visit).await;
    visit.end().await;
    let status = status?;
    let left = Duration::from_millis(u64::from(status.left_ms));
    if let Some(text) = &change.id {
        let id = u128::from_str_radix(text, 16)
            .ok()
            .filter(|_| text.len() == 32);
        let id = id.ok_or_else(|| {
            CommandError::new(Kind::Usage, format!("{text} is not the id of a change"))
        })?;
        return Ok((id.to_be_bytes(), left));
    }
    match (status.phase, status.id) {
        (NetworkPhase::Pending, Some(id)) => Ok((id, left)),
        _ => Err(CommandError::new(
            Kind::NotFound,
            format!("no change of the network of {} waits", node.cluster),
        )),
    }
}

async fn ask_status(visit: &Visit) -> Result<NetworkStatusAnswer, CommandError> {
    let answer = visit.ask(&NetworkStatus {}, ANSWER, "the network").await;
    answer.map_err(answered)
}

/// What the file says, or the cluster's configuration.
fn wanted(
    context: &Context<'_>,
    cluster: &ClusterName,
    source: &NetworkSource,
) -> Result<ApplyNetwork, CommandError> {
    if let Some(path) = &source.file {
        let read = document::read(&context.resolve(path));
        return read.map_err(|error| {
            CommandError::new(Kind::BadInput, error)
                .context(format!("cannot use {}", path.display()))
        });
    }
    let config = context.config()?;
    let known = if config.path.is_none() {
        remembered::read(context, cluster)?
    } else {
        None
    };
    match known {
        Some(spec) => Ok(spec.to_network()),
        None => Ok(config.cluster(Some(cluster))?.0.to_network()),
    }
}

fn done(context: &Context<'_>, node: &Node, id: &str, how: &str) -> Result<End, CommandError> {
    let output = context.output;
    if output.is_json() {
        output.json(&json!({ "cluster": node.cluster, "id": id, "result": how }))?;
    } else {
        output.summary(&format!("The network of {} {how}.", node.cluster))?;
    }
    Ok(End::Done)
}

fn not_changed(mut failure: Failure) -> CommandError {
    // What the guest has tried it has taken back; its words say how that went.
    if failure.kind == Kind::Other {
        failure.kind = Kind::RolledBack;
    }
    failure.message = sanitize::line(&failure.message);
    failure.into()
}

fn answered(failure: Option<Failure>) -> CommandError {
    match failure {
        Some(failure) => failure.into(),
        None => CommandError::new(
            Kind::Unreachable,
            "the link went down before the answer came",
        ),
    }
}

fn lines(steps: &[String]) -> String {
    let lines: Vec<String> = steps.iter().map(|step| sanitize::line(step)).collect();
    lines.join("\n")
}

fn random() -> Result<[u8; 16], CommandError> {
    let mut id = [0; 16];
    SystemRandom::new()
        .fill(&mut id)
        .map_err(|_| CommandError::new(Kind::HostIo, "the kernel gives no random bytes"))?;
    Ok(id)
}

fn hex(id: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(id))
}
