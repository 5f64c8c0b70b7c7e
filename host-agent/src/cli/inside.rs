//! Commands that lead into the node.

use std::ffi::OsString;

use clap::Args;

use super::Which;

/// Run a program in the node, or a shell
///
/// The program runs as the agent does, which is root in a machine of its own. Its exit status is this
/// command's, 128 and the signal's number if one ended it, 127 if it is not there. It gets a terminal
/// when both ends of this command are one. Signals are passed on; a second Ctrl-C gives up. Needs no
/// SSH in the node. What the agent's unit is denied there (it is confined: most of `/etc` and the
/// clock, for instance), the program is denied too; `lkc-host ssh` is not.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  lkc-host exec                            # a shell in the node
  lkc-host exec -- crictl ps
  lkc-host exec k3s-capi -- journalctl -u k3s -n 20
  lkc-host exec -- tar c /var/lib/rancher | tar t
  lkc-host exec -e LANG=C -w /tmp -- sh -c 'cat > notes' < notes")]
pub struct Exec {
    #[command(flatten)]
    pub which: Which,
    /// Give it a terminal, whatever this command has
    #[arg(short, long, overrides_with = "no_tty")]
    pub tty: bool,
    /// Give it pipes: output and errors stay apart, and nothing is changed in them
    #[arg(short = 'T', long, overrides_with = "tty")]
    pub no_tty: bool,
    /// Give it no input; in a loop that reads, the input is the loop's
    #[arg(short = 'n', long)]
    pub no_input: bool,
    /// Set a variable for it; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Directory to run it in [default: the home of its user]
    #[arg(short, long, value_name = "DIRECTORY")]
    pub workdir: Option<String>,
    /// The program and its arguments [default: a login shell]
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Log in to the node by SSH
///
/// Runs your ssh, through the cluster's forward of port 22, with the node's host keys: they come over
/// the link, which is authenticated, so ssh asks nothing and believes nobody else. Who you are there and
/// with which key you log in is ssh's own business. Without an sshd in the node there is
/// `lkc-host exec`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  lkc-host ssh --user root
  lkc-host ssh k3s-capi -- -A
  lkc-host ssh -u root -- uname -a
  rsync -e \"$(lkc-host ssh --print)\" notes root@127.0.0.1:   # for what runs ssh itself")]
pub struct Ssh {
    #[command(flatten)]
    pub which: Which,
    /// Account in the node [default: what ssh would take]
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Print the command that leads to 127.0.0.1 as the node, and do not run it
    #[arg(long, conflicts_with_all = ["user", "arguments"])]
    pub print: bool,
    /// More of ssh's own options, and a command
    #[arg(last = true, value_name = "SSH_ARGUMENT")]
    pub arguments: Vec<OsString>,
}
