//! Which devices lead from the host to the guest's agent.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::tool;
use crate::carrier::{Carrier, Route};

/// Port of AF_VSOCK that the agent of an image listens on.
pub const AGENT_PORT: u32 = 5000;

/// The device of the kernel that makes guests reachable by AF_VSOCK.
const KERNEL_DEVICE: &str = "/dev/vhost-vsock";

/// The program that does the same without the kernel.
const USER_PROGRAM: &str = "vhost-device-vsock";

/// Context id of a guest that nobody but its own `vhost-device-vsock` knows.
const PRIVATE_CONTEXT: u32 = 3;

/// Lowest context id that is tried where the whole host shares them: below are those that people
/// choose by hand.
const FIRST_CONTEXT: u32 = 0x1000;

/// How many context ids are tried.
pub(super) const CONTEXT_ATTEMPTS: u32 = 16;

/// What leads to the guest, beside a virtio-serial port, which every machine has as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Channel {
    /// AF_VSOCK by the host's kernel.
    Kernel { cid: u32 },
    /// AF_VSOCK by a process of the host, as a unix socket.
    User { program: PathBuf },
    /// Nothing else.
    Serial,
}

impl Channel {
    /// The best that this host has. `seed` spreads context ids, so that machines rarely try the same.
    pub(super) fn choose(seed: u64) -> Self {
        let kernel = OpenOptions::new()
            .read(true)
            .write(true)
            .open(KERNEL_DEVICE);
        Self::of(seed, kernel.is_ok(), tool::find(USER_PROGRAM))
    }

    fn of(seed: u64, kernel: bool, program: Option<PathBuf>) -> Self {
        match (kernel, program) {
            (true, _) => Self::Kernel {
                cid: FIRST_CONTEXT + u32::try_from(seed % 0x7fff_0000).unwrap_or(0),
            },
            (false, Some(program)) => Self::User { program },
            (false, None) => Self::Serial,
        }
    }

    /// The same with another context id.
    pub(super) fn next(&self) -> Self {
        match self {
            Self::Kernel { cid } => Self::Kernel { cid: cid + 1 },
            other => other.clone(),
        }
    }

    /// Context id of the guest.
    pub(super) const fn context(&self) -> Option<u32> {
        match self {
            Self::Kernel { cid } => Some(*cid),
            Self::User { .. } => Some(PRIVATE_CONTEXT),
            Self::Serial => None,
        }
    }

    /// How the agent is reached. The serial port is there with every channel, and used when there is
    /// nothing better: whoever tries it while nobody listens learns that by waiting, and a guest
    /// that comes back would be found late.
    pub(super) fn route(&self, sockets: &Sockets) -> Route {
        let carrier = match self {
            Self::Kernel { cid } => Carrier::Vsock {
                cid: *cid,
                port: AGENT_PORT,
            },
            // The keeper removes both when the device's process dies.
            Self::User { .. } if sockets.vsock.exists() || sockets.hidden.exists() => {
                Carrier::Hybrid {
                    path: sockets.vsock.clone(),
                    port: AGENT_PORT,
                }
            }
            Self::User { .. } | Self::Serial => Carrier::Serial(sockets.agent.clone()),
        };
        carrier.into()
    }

    /// For people.
    pub(super) const fn description(&self) -> &'static str {
        match self {
            Self::Kernel { .. } => "vsock",
            Self::User { .. } => "vsock by vhost-device-vsock",
            Self::Serial => "virtio-serial",
        }
    }
}

/// The unix sockets of a machine, in its runtime directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sockets {
    /// QEMU's monitor.
    pub(super) monitor: PathBuf,
    /// The other end of the virtio-serial port.
    pub(super) agent: PathBuf,
    /// Between QEMU and `vhost-device-vsock`.
    pub(super) device: PathBuf,
    /// Where `vhost-device-vsock` lets the host in, while it may be asked.
    pub(super) vsock: PathBuf,
    /// The same while it may not.
    pub(super) hidden: PathBuf,
}

impl Sockets {
    pub(super) fn of(runtime_dir: &Path) -> Self {
        Self {
            monitor: runtime_dir.join("qmp.sock"),
            agent: runtime_dir.join("serial.sock"),
            device: runtime_dir.join("vhost.sock"),
            vsock: runtime_dir.join("vsock.sock"),
            hidden: runtime_dir.join("hidden.sock"),
        }
    }

    pub(super) fn all(&self) -> [&Path; 5] {
        [
            &self.monitor,
            &self.agent,
            &self.device,
            &self.vsock,
            &self.hidden,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_comes_first_and_the_serial_port_is_what_remains() {
        let dir = tempfile::tempdir().unwrap();
        let sockets = Sockets::of(dir.path());
        let place = |scheme: &str, socket: &Path| format!("{scheme}:{}", socket.display());
        let program = || Some(PathBuf::from("/usr/bin/vhost-device-vsock"));
        let hybrid = format!("{}:5000", place("hybrid", &sockets.vsock));
        let serial = place("serial", &sockets.agent);
        for (device_runs, kernel, program, description, route) in [
            (true, true, program(), "vsock", "vsock:4103:5000"),
            (
                true,
                false,
                program(),
                "vsock by vhost-device-vsock",
                &hybrid,
            ),
            (
                false,
                false,
                program(),
                "vsock by vhost-device-vsock",
                &serial,
            ),
            (true, false, None, "virtio-serial", &serial),
        ] {
            if device_runs {
                std::fs::write(&sockets.vsock, "").unwrap();
            } else {
                std::fs::remove_file(&sockets.vsock).unwrap();
            }
            let channel = Channel::of(7, kernel, program);
            assert_eq!(channel.description(), description);
            assert_eq!(channel.route(&sockets).to_string(), route);
        }
    }

    #[test]
    fn context_ids_are_a_guests_for_every_seed() {
        for seed in [0, 1, 0x7ffe_ffff, 0x7fff_0000, u64::MAX] {
            let channel = Channel::of(seed, true, None);
            let last = (0..CONTEXT_ATTEMPTS).fold(channel.clone(), |channel, _| channel.next());
            for cid in [channel.context().unwrap(), last.context().unwrap()] {
                assert!(
                    (FIRST_CONTEXT..u32::MAX / 2 + 0x10000).contains(&cid),
                    "{cid}"
                );
            }
        }
    }
}
