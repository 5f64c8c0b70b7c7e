//! The command line: what can be asked, and the manual of each command as its help text.

pub mod complete;
mod forward;
mod forward_command;
mod inside;
mod kubectl;
mod machine;
mod network;
mod reach;
mod snapshot;

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::engine::ArgValueCompleter;
use lkc_protocol::message::Cni;

use crate::{
    config::{ClusterName, Encrypt, Overrides, duration},
    control::Goal,
};

pub use forward::ForwardArg;
pub use forward_command::{ClusterOrForward, Forward, ForwardCommand};
pub use inside::{Exec, Ssh};
pub use kubectl::shield as shield_kubectl;
pub use machine::MachineArgs;
pub use network::{
    Network, NetworkApply, NetworkChange, NetworkCommand, NetworkSource, NetworkWhich, Probe,
};
pub use reach::{Adopt, Doctor, Identity, Relay};
pub use snapshot::{SnapshotArgs, SnapshotCommand, SnapshotName};

const MANUAL: &str = "\
Examples:
  lkc-host up                      # a cluster named k3s-dev, with every default
  lkc-host kubectl get nodes       # kubectl with that cluster's kubeconfig
  lkc-host wait --for deployment/kube-system/coredns
  lkc-host status --output json
  lkc-host down

Clusters are described in `lkc.toml`, looked for from the working directory upwards and then in
the configuration directory. Without one there is a cluster named k3s-dev.

Results go to stdout, everything else to stderr. With `--output json` a result is one JSON document;
up, restart, wait, logs and `status --watch` print one JSON object per line as things happen. An
error is an object with the member `error`, on stdout too.

Exit codes:
  0 done                     6 timeout               12 k3s failed
  1 other failure            7 conflict              70 bug of lkc
  2 wrong usage              8 rolled back          130 interrupted (Ctrl-C)
  3 no such cluster          9 version mismatch     141 reader of stdout went away
  4 guest unreachable       10 bad input            143 terminated
  5 authentication failed   11 files, permissions or kernel of this host";

/// Run local k3s clusters
#[derive(Debug, Parser)]
#[command(
    name = "lkc-host",
    bin_name = "lkc-host",
    version,
    after_long_help = MANUAL,
    max_term_width = 100,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Read this file instead of looking for `lkc.toml`
    #[arg(
        long,
        value_name = "FILE",
        global = true,
        env = "LKC_CONFIG",
        hide_env_values = true
    )]
    pub config: Option<PathBuf>,
    /// Say nothing but results and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more; twice for every detail
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Print results as `text` for people or as `json` for programs
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        global = true,
        env = "LKC_OUTPUT",
        default_value = "text",
        hide_env_values = true,
        hide_possible_values = true
    )]
    pub output: Format,
    /// Use no colour (so does a `NO_COLOR` that is not empty)
    #[arg(long, global = true)]
    pub no_color: bool,
}

/// Form of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    Up(Box<Up>),
    Down(Down),
    Restart(Restart),
    Delete(Delete),
    Status(Status),
    Wait(Wait),
    Kubeconfig(Kubeconfig),
    Kubectl(Kubectl),
    Forward(Forward),
    Network(Network),
    Snapshot(SnapshotArgs),
    Logs(Logs),
    Exec(Exec),
    Ssh(Ssh),
    Doctor(Doctor),
    Identity(Identity),
    Adopt(Adopt),
    Daemon(Daemon),
    Relay(Relay),
    Completions(Completions),
    Version(Version),
}

/// Which cluster a command is about.
#[derive(Debug, Clone, Args)]
pub struct Which {
    /// Name of the cluster [default: the one of `lkc.toml`, else the only one, else k3s-dev]
    #[arg(value_name = "CLUSTER", add = ArgValueCompleter::new(complete::clusters))]
    pub cluster: Option<ClusterName>,
}

/// Which cluster or clusters a command is about.
#[derive(Debug, Clone, Args)]
pub struct WhichOrAll {
    #[command(flatten)]
    pub which: Which,
    /// Take every cluster, one after the other
    #[arg(long, conflicts_with = "cluster")]
    pub all: bool,
}

/// Bring a cluster up and wait until it is ready
///
/// Starts the machine, connects to the agent in it, sets its network up, starts k3s and follows the
/// readiness ladder: agent, network, k3s, api, registered, node, system. Run again it continues, or
/// says that there is nothing to do. Ctrl-C ends the waiting, not the cluster.
///
/// With `--output json` every change of status is one line, `{"event":"status","cluster":{…}}`, and
/// the last line is `{"event":"done",…}` or `{"event":"failed","error":{…}}`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  lkc-host up
  lkc-host up k3s-capi --index 1
  lkc-host up --cni none --wait api
  lkc-host up --image nixos.qcow2 --cpus 4 --memory 8GiB   # a virtual machine by QEMU
  lkc-host up --wait deployment/kube-system/coredns --timeout 10m
  lkc-host up --forward 5432 --forward 8000:10.43.0.20:80
  lkc-host up --reverse 5000 --reverse node:11434:127.0.0.1:11434
  lkc-host up --socks              # curl --socks5-hostname 127.0.0.1:1080 http://10.43.0.20")]
pub struct Up {
    #[command(flatten)]
    pub which: WhichOrAll,
    /// Index of the cluster, 0 to 89, which fixes its default ports and addresses
    #[arg(long, value_name = "INDEX", value_parser = clap::value_parser!(u8).range(..=89), conflicts_with = "all")]
    pub index: Option<u8>,
    /// Address of the node, with or without prefix length: 192.100.0.10/24
    #[arg(long, value_name = "ADDRESS", value_parser = parse_address, conflicts_with = "all")]
    pub address: Option<String>,
    /// Reach a machine that is there already over this carrier: vsock:CID:PORT, hybrid:PATH:PORT, unix:PATH, tcp:HOST:PORT, ssh:USER@HOST:PORT, exec:COMMAND or serial:PATH; may be repeated, the first that leads to the guest is used
    #[arg(long, value_name = "CARRIER", conflicts_with = "all")]
    pub carrier: Vec<String>,
    /// Reach the carriers from behind this hop: ssh:USER@HOST:PORT, or exec:COMMAND, which runs the command behind it; may be repeated, from this host on
    #[arg(long, value_name = "HOP", conflicts_with = "all")]
    pub via: Vec<String>,
    /// Key of the guest in a machine that is there already, as `lkc-guest identity` prints it
    #[arg(long, value_name = "KEY", conflicts_with = "all")]
    pub guest_key: Option<String>,
    /// Configuration that ssh: carriers and hops are looked up in, in place of ~/.ssh/config
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath, conflicts_with = "all")]
    pub ssh_config: Option<PathBuf>,
    /// Take the host key of an SSH server that no known_hosts file has as it is, and keep it
    #[arg(long, conflicts_with = "all")]
    pub accept_new: bool,
    #[command(flatten)]
    pub machine: MachineArgs,
    /// Who provides the pod network: k3s' own flannel, or nobody until you install one
    #[arg(long, value_name = "CNI", value_parser = parse_cni)]
    pub cni: Option<Cni>,
    /// Program to run as k3s
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::ExecutablePath)]
    pub k3s: Option<PathBuf>,
    /// Where to stop waiting: a rung of the ladder, an object, or none [default: node, or api without a CNI]
    #[arg(long, value_name = "GOAL")]
    pub wait: Option<WaitFor>,
    /// How long to wait at most: 90s, 5m, 1h30m [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub timeout: Option<Duration>,
    /// Open a further forward: PORT, HOST:GUEST or HOST:ADDRESS:GUEST, with NAME= in front and /udp or /socks behind if you like; may be repeated
    #[arg(long, value_name = "HOST:GUEST", conflicts_with = "all")]
    pub forward: Vec<ForwardArg>,
    /// Have the guest listen and bring its connections to this host: PORT, GUEST:HOST, GUEST:ADDRESS:HOST or GUEST:unix:PATH, with NAME= and an ADDRESS: of the guest in front if you like; may be repeated
    #[arg(long, value_name = "GUEST:HOST", conflicts_with = "all")]
    pub reverse: Vec<String>,
    /// Let programs reach the cluster's pods and services by SOCKS5 [default port: 1080 + index]
    #[arg(
        long,
        value_name = "PORT",
        num_args = 0..=1,
        require_equals = true,
        value_parser = clap::value_parser!(u16).range(1..),
        conflicts_with = "all"
    )]
    pub socks: Option<Option<u16>>,
    /// Keep the link encrypted even where only this host's kernel stands between its ends
    #[arg(long)]
    pub encrypt: bool,
}

impl Up {
    /// What the flags say of the cluster.
    #[must_use]
    pub fn overrides(&self) -> Overrides {
        Overrides {
            index: self.index.map(i64::from),
            address: self.address.clone(),
            carriers: self.carrier.clone(),
            via: self.via.clone(),
            guest_key: self.guest_key.clone(),
            ssh_config: self.ssh_config.clone(),
            accept_new: self.accept_new,
            cni: self.cni.map(|cni| cni.to_string()),
            encrypt: self.encrypt.then(|| Encrypt::Always.to_string()),
            k3s_binary: self.k3s.clone(),
            ports: self.socks.iter().map(socks_port).collect(),
            forwards: self.forward.iter().map(ToString::to_string).collect(),
            reverse: self.reverse.clone(),
            ..self.machine.overrides()
        }
    }
}

fn socks_port(port: &Option<u16>) -> String {
    match port {
        Some(port) => format!("socks={port}"),
        None => "socks=on".to_owned(),
    }
}

/// Stop a cluster; its data stays
///
/// Stops k3s and the machine and closes the forwards. `lkc-host up` brings it back as it was.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  lkc-host down
  lkc-host down --all")]
pub struct Down {
    #[command(flatten)]
    pub which: WhichOrAll,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration::parse)]
    pub timeout: Duration,
}

/// Stop a cluster and bring it up again
///
/// Uses the specification that the cluster came up with; to change it, run `lkc-host up`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  lkc-host restart
  lkc-host restart k3s-capi --wait api")]
pub struct Restart {
    #[command(flatten)]
    pub which: Which,
    /// Where to stop waiting: a rung of the ladder, an object, or none [default: node, or api without a CNI]
    #[arg(long, value_name = "GOAL")]
    pub wait: Option<WaitFor>,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration::parse)]
    pub timeout: Duration,
}

/// Stop a cluster and remove all of it: machine, data, kubeconfig
///
/// Asks first on a terminal. Elsewhere it needs `--yes`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  lkc-host delete k3s-dev
  lkc-host delete --all --yes")]
pub struct Delete {
    #[command(flatten)]
    pub which: WhichOrAll,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration::parse)]
    pub timeout: Duration,
}

/// Show how clusters stand
///
/// Without a name a table of every cluster; with one its ladder, forwards and kubeconfig. With
/// `--output json` always an array; with `--watch` one line per change instead.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  lkc-host status
  lkc-host status k3s-dev
  lkc-host status --watch
  lkc-host status --output json")]
pub struct Status {
    /// Name of the cluster [default: all]
    #[arg(value_name = "CLUSTER", add = ArgValueCompleter::new(complete::clusters))]
    pub cluster: Option<ClusterName>,
    /// Go on showing every change until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
}

/// Wait until a cluster or objects in it are ready
///
/// A goal is a rung of the ladder or objects of the cluster, which need not exist yet.
///
/// Every goal must hold. At the timeout the exit code is 6, and the message names what was missing;
/// when k3s fails it is 12 at once.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Goals:
  agent, network, k3s, api, registered, node, system
                                     a rung of the ladder, and every one below it
  deployment/kube-system/coredns     RESOURCE/NAMESPACE/NAME, ready as its kind means it
  crd/gateways.gateway.networking.k8s.io
                                     RESOURCE/NAME of the default namespace or of none
  job/default/migrate=Complete       with a condition of your own behind `=`
  pods/default?app=web               every object with these labels, at least one

Examples:
  lkc-host wait
  lkc-host wait --for node --timeout 30s
  lkc-host wait k3s-capi --for api --for deployment/kube-system/coredns")]
pub struct Wait {
    #[command(flatten)]
    pub which: Which,
    /// What to wait for; may be repeated [default: node, or api without a CNI]
    #[arg(long = "for", value_name = "GOAL")]
    pub goals: Vec<Goal>,
    /// How long to wait at most
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration::parse)]
    pub timeout: Duration,
}

/// Print a cluster's kubeconfig, or merge it into your own
///
/// The file belongs to lkc: it is replaced when k3s rotates its certificates and removed with the
/// cluster. Your own kubeconfig is touched only by `--merge` and `--unmerge`, and only in entries
/// that are named after the cluster.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  export KUBECONFIG=$(lkc-host kubeconfig --path)
  lkc-host kubeconfig > k3s-dev.yaml
  lkc-host kubeconfig --merge --use
  lkc-host kubeconfig --unmerge")]
pub struct Kubeconfig {
    #[command(flatten)]
    pub which: Which,
    /// Print where the file is instead of what it says
    #[arg(long, conflicts_with_all = ["merge", "unmerge"])]
    pub path: bool,
    /// Add the cluster, user and context to your own kubeconfig (`KUBECONFIG`, else `~/.kube/config`)
    #[arg(long, conflicts_with = "unmerge")]
    pub merge: bool,
    /// With `--merge`: make it the current context too
    #[arg(long = "use", requires = "merge")]
    pub use_context: bool,
    /// Remove what `--merge` added
    #[arg(long)]
    pub unmerge: bool,
}

/// Run kubectl with a cluster's kubeconfig
///
/// Everything behind `kubectl` is passed on untouched, except a `--cluster NAME` in the first place.
/// Options of lkc-host go before `kubectl`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  lkc-host kubectl get nodes
  lkc-host kubectl --cluster k3s-capi get pods -A -o wide
  lkc-host kubectl -- --help        # kubectl's own help")]
pub struct Kubectl {
    /// Name of the cluster; must come first [default: the one of `lkc.toml`, else the only one, else k3s-dev]
    #[arg(long, value_name = "NAME", add = ArgValueCompleter::new(complete::clusters))]
    pub cluster: Option<ClusterName>,
    /// Arguments of kubectl
    #[arg(
        value_name = "ARGS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub args: Vec<std::ffi::OsString>,
}

/// Show a log of a cluster
///
/// k3s and agent are logs of the guest and need its agent; machine and daemon are files of this host.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  lkc-host logs
  lkc-host logs --source machine -n 50
  lkc-host logs k3s-capi -f")]
pub struct Logs {
    #[command(flatten)]
    pub which: Which,
    /// Whose log
    #[arg(short, long, value_name = "SOURCE", default_value = "k3s")]
    pub source: Source,
    /// Number of past lines to show
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub lines: u32,
    /// Go on showing new lines until Ctrl-C; a journal's over reconnects, each line once
    #[arg(short, long)]
    pub follow: bool,
}

/// Whose log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Source {
    /// k3s in the guest
    K3s,
    /// lkc-guest in the guest
    Agent,
    /// The daemon of this host
    Daemon,
    /// What the machine itself printed
    Machine,
}

/// Look after the background daemon
///
/// Every command that needs the daemon starts it. Alone, `lkc-host daemon` runs it in the foreground.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  lkc-host daemon status
  lkc-host daemon log -f
  lkc-host daemon stop             # clusters go on running")]
pub struct Daemon {
    #[command(subcommand)]
    pub command: Option<DaemonCommand>,
}

/// What to do about the daemon.
#[derive(Debug, Subcommand)]
pub enum DaemonCommand {
    /// Run it in the foreground
    Run,
    /// Say whether it runs; exit code 3 when it does not
    Status,
    /// Stop it; clusters go on running and the next command starts it again
    Stop,
    /// Show its log
    Log {
        /// Number of past lines to show
        #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
        lines: u32,
        /// Go on showing new lines until Ctrl-C
        #[arg(short, long)]
        follow: bool,
    },
}

/// Print a script that completes commands and cluster names
#[derive(Debug, Args)]
#[command(after_long_help = "\
Read it at the start of each shell rather than keeping a copy, so that it fits the program:
  bash   echo 'source <(lkc-host completions bash)' >> ~/.bashrc
  zsh    echo 'source <(lkc-host completions zsh)' >> ~/.zshrc
  fish   echo 'lkc-host completions fish | source' >> ~/.config/fish/config.fish")]
pub struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

/// A shell with completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

/// Print the versions of this program and of the running daemon
#[derive(Debug, Args)]
pub struct Version {}

/// What `up` and `restart` wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitFor {
    /// Nothing: return at once.
    Nothing,
    /// A goal.
    Goal(Goal),
}

impl std::str::FromStr for WaitFor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            Ok(Self::Nothing)
        } else {
            text.parse().map(Self::Goal)
        }
    }
}

fn parse_address(text: &str) -> Result<String, String> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address
        .parse()
        .map_err(|_| format!("`{address}` is not an IP address"))?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    match prefix.map(str::parse::<u8>) {
        None => Ok(text.to_owned()),
        Some(Ok(length)) if (1..=most).contains(&length) => Ok(text.to_owned()),
        Some(_) => Err(format!("`{text}` has no prefix length from 1 to {most}")),
    }
}

fn parse_cni(text: &str) -> Result<Cni, String> {
    text.parse()
}

#[cfg(test)]
mod tests;
