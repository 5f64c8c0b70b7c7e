//! The fastest proxy that many know.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use super::free_address;
use crate::{
    Failure,
    children::{Child, find_tool},
};

pub(super) fn start(
    target: SocketAddr,
    directory: &Path,
) -> Result<(SocketAddr, Vec<Child>), Failure> {
    let program = find_tool("haproxy").ok_or(Failure::Missing("haproxy"))?;
    let entry = free_address()?;
    let configuration = directory.join("haproxy.cfg");
    let text = format!(
        "global\n  maxconn 4500\n\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend entry\n  bind {entry}\n  default_backend target\n\
         backend target\n  server target {target}\n"
    );
    fs::write(&configuration, text).map_err(Failure::to("write haproxy's configuration"))?;
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(configuration);
    let child = Child::tool(&mut command, "haproxy", directory)?;
    Ok((entry, vec![child]))
}
