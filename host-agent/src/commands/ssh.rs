//! `lkc-host ssh`: the user's own ssh, that knows the node by what the link says.

use std::{ffi::OsString, io, os::unix::process::CommandExt as _, path::Path, process::Command};

use lkc_protocol::exec::ProgramEnd;

use super::{End, context::Context, kubectl::down, program, status};
use crate::{
    carrier::ssh::HostKey,
    cli::Ssh,
    config::{ClusterName, ForwardProtocol},
    control::{ClusterStatus, ForwardState, Phase},
    error::{CommandError, Kind},
    paths::private::{self, FILE_MODE},
};

/// Prints the host keys of the node; its own words where there are none.
const HOST_KEYS: &[&str] = &["sh", "-c", "cat /etc/ssh/ssh_host_*_key.pub"];

/// Bytes of host keys that are looked at; each has some hundred.
const MAX_HOST_KEYS: usize = 64 * 1024;

/// What the forward of sshd leads to.
const SSHD: &str = "127.0.0.1:22";

pub(super) async fn run(context: &Context<'_>, args: &Ssh) -> Result<End, CommandError> {
    let cluster = context.cluster(args.which.cluster.as_ref())?;
    let status = status::one(context, &cluster).await?;
    if status.phase == Phase::Down {
        return Err(down(&cluster));
    }
    let port = port(&status)?;
    let keys = host_keys(context, &cluster).await?;
    let alias = format!("lkc-{cluster}");
    let known_hosts = context.paths.cluster(&cluster).known_hosts();
    let lines: String = keys.iter().map(|key| format!("{alias} {key}\n")).collect();
    private::write_if_changed(&known_hosts, lines.as_bytes(), FILE_MODE)
        .map_err(|error| CommandError::new(Kind::HostIo, error))?;
    let options = options(port, &alias, &known_hosts);
    if args.print {
        let words: Vec<_> = options.iter().map(quoted).collect();
        let line = format!("ssh {}\n", words.join(" "));
        context.output.result(&line)?;
        return Ok(End::Done);
    }
    let mut command = Command::new("ssh");
    command.args(&options);
    if let Some(user) = &args.user {
        command.args(["-l", user]);
    }
    let error = command.arg("127.0.0.1").args(&args.arguments).exec();
    Err(not_started(error))
}

/// Where the node's sshd is met on this host.
fn port(status: &ClusterStatus) -> Result<u16, CommandError> {
    let leads = status.forwards.iter().filter(|forward| {
        forward.target == SSHD
            && forward.protocol == ForwardProtocol::Tcp
            && forward.state == ForwardState::Listening
    });
    leads
        .flat_map(|forward| &forward.listen)
        .find_map(|place| place.strip_prefix("127.0.0.1:")?.parse().ok())
        .ok_or_else(|| {
            let name = &status.name;
            CommandError::new(
                Kind::NotFound,
                format!("no forward of {name} leads from 127.0.0.1 to port 22 of the node"),
            )
            .hint(format!("add one: `lkc-host forward {name} 2210:22`"))
            .hint(format!("or do without SSH: `lkc-host exec {name}`"))
        })
}

async fn host_keys(
    context: &Context<'_>,
    cluster: &ClusterName,
) -> Result<Vec<HostKey>, CommandError> {
    let (output, end) = program::output_of(context, cluster, HOST_KEYS, MAX_HOST_KEYS).await?;
    let text = String::from_utf8_lossy(&output);
    let keys: Vec<HostKey> = text.lines().filter_map(|line| line.parse().ok()).collect();
    if !keys.is_empty() {
        return Ok(keys);
    }
    let why = match end {
        ProgramEnd::Exited(0) => "what is in its /etc/ssh are no host keys",
        _ => "its /etc/ssh has no host keys",
    };
    let text = format!("the node of {cluster} has no sshd: {why}");
    let hint = format!("do without SSH: `lkc-host exec {cluster}`");
    Err(CommandError::new(Kind::NotFound, text).hint(hint))
}

fn options(port: u16, alias: &str, known_hosts: &Path) -> Vec<OsString> {
    let mut options = vec![OsString::from("-p"), port.to_string().into()];
    let mut set = |text: OsString| options.extend(["-o".into(), text]);
    set(format!("HostKeyAlias={alias}").into());
    // ssh splits what it finds there at blanks.
    let mut file = OsString::from("UserKnownHostsFile=\"");
    file.push(known_hosts);
    file.push("\"");
    set(file);
    set("GlobalKnownHostsFile=none".into());
    set("StrictHostKeyChecking=yes".into());
    set("UpdateHostKeys=no".into());
    options
}

/// As a shell, and rsync, reads it as one word.
fn quoted(word: &OsString) -> String {
    let word = word.to_string_lossy();
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=./:@".contains(&byte);
    if word.bytes().all(harmless) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn not_started(error: io::Error) -> CommandError {
    let missing = error.kind() == io::ErrorKind::NotFound;
    let failed = CommandError::new(Kind::HostIo, error);
    if missing {
        failed
            .context("there is no `ssh` on PATH")
            .hint("install OpenSSH, or do without: `lkc-host exec`")
    } else {
        failed.context("ssh cannot be started")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_command_survives_a_shell() {
        let options = options(2210, "lkc-k3s-dev", Path::new("/home/a b/it's/known_hosts"));
        let words: Vec<_> = options.iter().map(quoted).collect();
        let script = format!("printf '%s\\n' {}", words.join(" "));
        let printed = Command::new("sh").args(["-c", &script]).output().unwrap();
        insta::assert_snapshot!(String::from_utf8(printed.stdout).unwrap(), @r#"
        -p
        2210
        -o
        HostKeyAlias=lkc-k3s-dev
        -o
        UserKnownHostsFile="/home/a b/it's/known_hosts"
        -o
        GlobalKnownHostsFile=none
        -o
        StrictHostKeyChecking=yes
        -o
        UpdateHostKeys=no
        "#);
    }
}
