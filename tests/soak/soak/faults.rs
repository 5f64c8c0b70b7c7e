//! What breaks the link on purpose.

use std::{
    fs,
    time::{Duration, Instant},
};

use lkc_tests::{process::Process, within};
use nix::sys::signal::Signal;
use rustix::{
    fd::OwnedFd,
    net::{Shutdown, shutdown},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};

use super::{ledger::Breach, plan::Kind};
use crate::{Failure, arrangement::Arrangement, options::Way};

/// Longest time until the loss of a link is noticed, and until the next one is up.
const NOTICED: Duration = Duration::from_secs(30);

/// What breaks the link, by turns.
pub(super) const FAULTS: [Kind; 3] = [Kind::AgentKilled, Kind::CarrierCut, Kind::AgentFrozen];

/// Breaks the link and waits until the next one is up.
///
/// # Errors
/// When there is nothing to break, the link does not break, or does not come back.
pub(super) fn inject(arrangement: &Arrangement, fault: Kind, way: Way) -> Result<Breach, Failure> {
    let gone = || Failure::Here("the guest agent is gone".to_owned());
    let guest = arrangement.guest().ok_or_else(gone)?;
    let (connects, _) = arrangement.link();
    let from = Instant::now();
    match fault {
        Kind::CarrierCut => {
            for socket in carriers_of(&guest)? {
                shutdown(&socket, Shutdown::Both)
                    .map_err(|error| Failure::Here(format!("cannot cut the carrier: {error}")))?;
            }
        }
        Kind::AgentFrozen => {
            guest.signal(Signal::SIGSTOP);
            let noticed = within(NOTICED, || {
                let (made, up) = arrangement.link();
                (made > connects || !up).then_some(())
            });
            // Whatever happened, it must not stay so.
            guest.signal(Signal::SIGCONT);
            noticed.ok_or_else(|| Failure::Here("a frozen agent is not given up".to_owned()))?;
        }
        _ => guest.signal(Signal::SIGKILL),
    }
    let next = within(NOTICED, || {
        let (made, up) = arrangement.link();
        (made > connects && up).then_some(())
    });
    next.ok_or_else(|| Failure::Here(format!("no new link after {fault:?}")))?;
    Ok(Breach {
        from,
        until: Instant::now(),
        spares: way == Way::Sockets,
    })
}

/// The accepted unix sockets of the agent: those that have the path it listens on. The kernel lists
/// them in the network namespace of whoever connected, which is ours.
fn carriers_of(guest: &Process) -> Result<Vec<OwnedFd>, Failure> {
    let what = |error: std::io::Error| Failure::Here(format!("cannot find the carrier: {error}"));
    let sockets = fs::read_to_string("/proc/self/net/unix").map_err(what)?;
    let inodes: Vec<_> = sockets.lines().filter_map(inode_of_a_carrier).collect();
    let process =
        Pid::from_raw(guest.pid).ok_or_else(|| what(std::io::ErrorKind::NotFound.into()))?;
    let process = pidfd_open(process, PidfdFlags::empty()).map_err(|errno| what(errno.into()))?;
    let mut carriers = Vec::new();
    for entry in fs::read_dir(format!("/proc/{}/fd", guest.pid)).map_err(what)? {
        let entry = entry.map_err(what)?;
        let Ok(link) = fs::read_link(entry.path()) else {
            continue;
        };
        let link = link.display().to_string();
        let inode = link
            .strip_prefix("socket:[")
            .and_then(|rest| rest.strip_suffix(']'));
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let (Some(inode), Some(number)) = (inode, number)
            && inodes.contains(&inode)
        {
            let socket = pidfd_getfd(&process, number, PidfdGetfdFlags::empty());
            carriers.push(socket.map_err(|errno| what(errno.into()))?);
        }
    }
    if carriers.is_empty() {
        return Err(Failure::Here("the agent has no carrier to cut".to_owned()));
    }
    Ok(carriers)
}

/// `Num RefCount Protocol Flags Type St Inode Path`, of a connected socket (state 03).
fn inode_of_a_carrier(line: &str) -> Option<&str> {
    let mut fields = line.split_ascii_whitespace().skip(5);
    let (state, inode, path) = (fields.next()?, fields.next()?, fields.next()?);
    (state == "03" && path.ends_with("/agent.sock")).then_some(inode)
}

#[cfg(test)]
mod tests {
    use super::inode_of_a_carrier;

    #[test]
    fn only_a_connected_socket_of_the_agent_is_a_carrier() {
        let line = |state: &str, path: &str| {
            format!("0000: 00000003 00000000 00000000 0001 {state} 4711{path}")
        };
        assert_eq!(
            inode_of_a_carrier(&line("03", " /run/lkc/agent.sock")),
            Some("4711")
        );
        assert_eq!(
            inode_of_a_carrier(&line("01", " /run/lkc/agent.sock")),
            None
        );
        assert_eq!(inode_of_a_carrier(&line("03", " /run/other.sock")), None);
        assert_eq!(inode_of_a_carrier(&line("03", "")), None);
    }
}
