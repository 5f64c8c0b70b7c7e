//! What the users of lkc had before: a socat at each end.

use std::{net::SocketAddr, path::Path, process::Command};

use super::free_address;
use crate::{
    Failure,
    children::{Child, find_tool},
};

pub(super) fn start(
    hops: u32,
    tuned: bool,
    target: SocketAddr,
    directory: &Path,
) -> Result<(SocketAddr, Vec<Child>), Failure> {
    let program = find_tool("socat").ok_or(Failure::Missing("socat"))?;
    let (mut entry, mut children) = (target, Vec::new());
    let nodelay = if tuned { ",nodelay" } else { "" };
    for hop in 1..=hops {
        let listening = free_address()?;
        let mut command = Command::new(&program);
        if tuned {
            command.arg("-b65536");
        }
        command.arg(format!(
            "TCP-LISTEN:{},bind=127.0.0.1,fork,reuseaddr,backlog=1024{nodelay}",
            listening.port()
        ));
        command.arg(format!("TCP:127.0.0.1:{}{nodelay}", entry.port()));
        children.push(Child::tool(
            &mut command,
            &format!("socat-{hop}"),
            directory,
        )?);
        entry = listening;
    }
    Ok((entry, children))
}
