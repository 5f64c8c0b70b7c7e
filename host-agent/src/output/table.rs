//! `status`: every cluster as a table, one cluster in full.

use std::fmt::Write;

use lkc_protocol::message::{Rung, RungState};

use super::{Paint, forwards::forward_table, reverse::reverse_table, steps};
use crate::{
    config::ForwardSpec,
    control::{
        ClusterStatus, ForwardStatus, Goal, LinkState, NodeStatus, Phase, ProbeStatus, UsageStatus,
    },
    sanitize,
};

/// Columns of a detail in the table; `status CLUSTER` has all of it.
const DETAIL_WIDTH: usize = 60;

/// A clock that is off by more milliseconds is wrong enough to say so.
const WRONG_CLOCK_MS: u64 = 2000;

/// Every cluster, one line each.
#[must_use]
pub fn cluster_table(clusters: &[ClusterStatus], paint: Paint) -> String {
    let rows = clusters.iter().map(|cluster| {
        let cells = [
            cluster.name.to_string(),
            cluster.index.to_string(),
            phase(cluster.phase).to_owned(),
            rung_reached(cluster),
            api(cluster),
            steps::cut(&in_the_way(cluster), DETAIL_WIDTH),
        ];
        cells.to_vec()
    });
    columns(
        &["CLUSTER", "INDEX", "PHASE", "READY", "API", "DETAIL"],
        rows.collect(),
        paint,
    )
}

/// One cluster in full.
#[must_use]
pub fn cluster_view(cluster: &ClusterStatus, paint: Paint, width: usize) -> String {
    let mut text = format!(
        "{}  {}\n",
        paint.bold(cluster.name.as_str()),
        phase(cluster.phase)
    );
    let mut field = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<12}{value}");
    };
    field("index", &cluster.index.to_string());
    field("machine", &machine(cluster));
    field("link", &link(cluster));
    if let Some(version) = &cluster.agent_version {
        field("agent", &format!("lkc-guest {}", sanitize::line(version)));
    }
    if let Some(node) = &cluster.node {
        field("node", &node_line(node));
        if let Some(text) = clock(node) {
            field("clock", &text);
        }
        if let Some(usage) = &node.usage {
            field("in use", &in_use(usage));
        }
    }
    if let Some(k3s) = &cluster.k3s {
        let version = if k3s.version.is_empty() {
            "unknown version".into()
        } else {
            sanitize::line(&k3s.version)
        };
        let simulated = if k3s.simulated {
            ", simulated: no container runs"
        } else {
            ""
        };
        let restarts = match k3s.restarts {
            0 => String::new(),
            1 => ", restarted once by itself".to_owned(),
            count => format!(", restarted {count} times by itself"),
        };
        field("k3s", &format!("{version}{simulated}{restarts}"));
    }
    match (&cluster.kubeconfig, &cluster.kubeconfig_error) {
        (_, Some(error)) => field(
            "kubeconfig",
            &format!("not written: {}", sanitize::line(error)),
        ),
        (Some(path), None) => field("kubeconfig", &sanitize::line(&path.to_string_lossy())),
        (None, None) => field("kubeconfig", "not written yet"),
    }
    if let Some(probe) = api_forward(cluster).and_then(|forward| forward.probe.as_ref()) {
        field("api", &probed(probe));
    }
    text.push_str("\nSteps\n");
    for row in steps::rows(cluster, &[Goal::Rung(Rung::System)]) {
        let _ = writeln!(text, "{}", row.line(paint, width, "…", None));
    }
    for step in cluster
        .steps
        .iter()
        .filter(|step| step.state == RungState::Failed)
    {
        for line in &step.tail {
            let _ = writeln!(text, "        {}", sanitize::line(line));
        }
    }
    if !cluster.forwards.is_empty() {
        let _ = write!(text, "\n{}", forward_table(&cluster.forwards, paint));
    }
    if !cluster.reverse.is_empty() {
        let _ = write!(text, "\n{}", reverse_table(&cluster.reverse, paint));
    }
    text
}

/// Lines of cells, each column as wide as its widest cell, the last one as it is.
pub(super) fn columns(heads: &[&str], rows: Vec<Vec<String>>, paint: Paint) -> String {
    let mut widths: Vec<usize> = heads.iter().map(|head| head.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<String>| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head = line(heads.iter().map(|head| (*head).to_owned()).collect());
    let mut text = format!("{}\n", paint.bold(&head));
    for row in rows {
        text.push_str(&line(row));
        text.push('\n');
    }
    text
}

fn node_line(node: &NodeStatus) -> String {
    let mut parts = vec![sanitize::line(&node.hostname)];
    if !node.os.is_empty() {
        parts.push(sanitize::line(&node.os));
    }
    parts.push(format!("Linux {}", sanitize::line(&node.kernel)));
    parts.push(format!("up {}", age(node.uptime_ms)));
    parts.join(", ")
}

/// What is or was wrong with a clock.
fn clock(node: &NodeStatus) -> Option<String> {
    let why_not = node.clock.as_ref().and_then(|clock| clock.why_not.as_ref());
    if let Some(text) = wrong_clock(node.clock_skew_ms) {
        let why_not = why_not.map(|why| format!("; not set: {}", sanitize::line(why)));
        return Some(text + &why_not.unwrap_or_default());
    }
    let was = node
        .clock
        .as_ref()
        .filter(|clock| clock.why_not.is_none())?;
    let by = age(was.off_ms.unsigned_abs());
    let direction = if was.off_ms < 0 { "behind" } else { "ahead of" };
    Some(format!(
        "right; it was {by} {direction} this host's, and was set"
    ))
}

/// What is wrong with a clock, and what that breaks; none when it is right.
#[must_use]
pub fn wrong_clock(skew_ms: i64) -> Option<String> {
    (skew_ms.unsigned_abs() > WRONG_CLOCK_MS).then(|| broken_by(skew_ms))
}

/// Memory, load and disks, one after the other.
fn in_use(usage: &UsageStatus) -> String {
    let of = |size: u64, available: u64| {
        let used = size.saturating_sub(available);
        format!("{} of {}", amount(used), amount(size))
    };
    let mut parts = vec![format!(
        "memory {}",
        of(usage.memory_kib, usage.memory_available_kib)
    )];
    let load = usage.load_percent.iter();
    let load: Vec<String> = load
        .map(|load| format!("{}.{:02}", load / 100, load % 100))
        .collect();
    if !load.is_empty() {
        let processors = usage.processors;
        parts.push(format!("load {} on {processors} CPUs", load.join(" ")));
    }
    for disk in &usage.disks {
        let path = sanitize::line(&disk.path);
        parts.push(format!("{path} {}", of(disk.size_kib, disk.available_kib)));
    }
    parts.join(", ")
}

/// An amount of KiB in its largest unit.
fn amount(kib: u64) -> String {
    match kib {
        0..1024 => format!("{kib} KiB"),
        1024..1_048_576 => format!("{} MiB", kib / 1024),
        _ => format!(
            "{}.{} GiB",
            kib / 1_048_576,
            kib % 1_048_576 * 10 / 1_048_576
        ),
    }
}

fn broken_by(skew_ms: i64) -> String {
    let by = age(skew_ms.unsigned_abs());
    if skew_ms < 0 {
        format!("{by} behind this host's: certificates made since then are not valid there yet")
    } else {
        format!("{by} ahead of this host's: what it signs is not valid here yet")
    }
}

/// A time in its largest units.
fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds}.{} s", ms % 1000 / 100),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

pub(super) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Down => "down",
        Phase::Starting => "starting",
        Phase::Up => "up",
        Phase::Stopping => "stopping",
        Phase::Failed => "failed",
    }
}

fn rung_reached(cluster: &ClusterStatus) -> String {
    steps::reached(cluster).map_or_else(|| "-".to_owned(), |rung| rung.to_string())
}

fn api(cluster: &ClusterStatus) -> String {
    let listen = api_forward(cluster).and_then(|forward| forward.listen.first());
    listen.map_or_else(
        || "-".to_owned(),
        |address| format!("https://{}", sanitize::line(address)),
    )
}

fn api_forward(cluster: &ClusterStatus) -> Option<&ForwardStatus> {
    let mut forwards = cluster.forwards.iter();
    forwards.find(|forward| forward.name == ForwardSpec::API)
}

fn probed(probe: &ProbeStatus) -> String {
    let detail = sanitize::line(&probe.detail);
    match (probe.ok, probe.latency_ms) {
        (true, Some(latency)) => format!("{detail} ({latency} ms)"),
        (true, None) => detail,
        (false, _) => format!("does not answer on this host: {detail}"),
    }
}

/// The first step that is not ready, with its reason; what is simulated when all are.
fn in_the_way(cluster: &ClusterStatus) -> String {
    if cluster.phase == Phase::Down {
        return String::new();
    }
    match cluster
        .steps
        .iter()
        .find(|step| step.state != RungState::Ready)
    {
        Some(step) => format!(
            "{} {}: {}",
            sanitize::line(&step.name),
            step.state,
            sanitize::line(&step.detail)
        ),
        None if cluster.k3s.as_ref().is_some_and(|k3s| k3s.simulated) => "simulated k3s".to_owned(),
        None => String::new(),
    }
}

fn machine(cluster: &ClusterStatus) -> String {
    let description = sanitize::line(&cluster.machine.description);
    match (cluster.machine.running, description.is_empty()) {
        (true, false) => description,
        (true, true) => format!("{}, running", cluster.machine.driver),
        (false, _) => format!("{}, not running", cluster.machine.driver),
    }
}

fn link(cluster: &ClusterStatus) -> String {
    let link = &cluster.link;
    let state = match link.state {
        LinkState::Down => "down",
        LinkState::Connecting => "connecting",
        LinkState::Up => "up",
    };
    let carrier = link
        .carrier
        .as_deref()
        .map(|carrier| format!(", {}", sanitize::line(carrier)));
    let detail = if link.detail.is_empty() {
        String::new()
    } else {
        format!(": {}", sanitize::line(&link.detail))
    };
    let again = if link.connects > 1 {
        format!(", connected {} times", link.connects)
    } else {
        String::new()
    };
    let denied = match link.denied {
        0 => String::new(),
        count => format!(", requests of the guest denied: {count}"),
    };
    format!(
        "{state}{}{again}{denied}{detail}",
        carrier.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests;
