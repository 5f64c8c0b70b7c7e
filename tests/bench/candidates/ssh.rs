//! `ssh -L` through a loopback sshd with keys and a configuration of its own.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use nix::unistd::{Uid, User};

use super::free_address;
use crate::{
    Failure,
    children::{Child, find_tool},
};

pub(super) fn start(
    target: SocketAddr,
    directory: &Path,
) -> Result<(SocketAddr, Vec<Child>), Failure> {
    let tool = |name| find_tool(name).ok_or(Failure::Missing(name));
    let (ssh, sshd, keygen) = (tool("ssh")?, tool("sshd")?, tool("ssh-keygen")?);
    let (server, entry) = (free_address()?, free_address()?);
    let path = |name| directory.join(name);
    for key in ["host_key", "user_key"] {
        let made = Command::new(&keygen)
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(path(key))
            .stdin(Stdio::null())
            .status()
            .map_err(Failure::to("make a key for ssh"))?;
        if !made.success() {
            return Err(Failure::Candidate(format!("ssh-keygen: {made}")));
        }
    }
    fs::copy(path("user_key.pub"), path("authorized_keys"))
        .map_err(Failure::to("authorise a key for ssh"))?;
    let shown = directory.display();
    let configuration = format!(
        "Port {}\nListenAddress 127.0.0.1\nHostKey {shown}/host_key\n\
         AuthorizedKeysFile {shown}/authorized_keys\nStrictModes no\nUsePAM no\nPidFile none\n\
         PasswordAuthentication no\nPermitRootLogin prohibit-password\nMaxSessions 2000\n\
         LogLevel ERROR\n",
        server.port()
    );
    fs::write(path("sshd_config"), configuration)
        .map_err(Failure::to("write sshd's configuration"))?;
    let mut command = Command::new(sshd);
    command.args(["-D", "-e", "-f"]).arg(path("sshd_config"));
    let daemon = Child::tool(&mut command, "sshd", directory)?;
    let user = User::from_uid(Uid::current()).ok().flatten();
    let user = user.map_or_else(|| "root".to_owned(), |user| user.name);
    let mut command = Command::new(ssh);
    command
        .args(["-N", "-F", "none", "-i"])
        .arg(path("user_key"))
        .args([
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "IdentityAgent=none",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "ExitOnForwardFailure=yes",
            "-o",
            "ConnectionAttempts=10",
            "-o",
            "LogLevel=ERROR",
            "-p",
        ])
        .arg(server.port().to_string())
        .arg("-L")
        .arg(format!("{entry}:{target}"))
        .arg(format!("{user}@127.0.0.1"));
    let client = Child::tool(&mut command, "ssh", directory)?;
    Ok((entry, vec![daemon, client]))
}
