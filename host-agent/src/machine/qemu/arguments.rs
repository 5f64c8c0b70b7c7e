//! QEMU's command line, as a function of what is wanted.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::accelerator::Accelerator;
use super::architecture::Architecture;
use super::channel::{Channel, Sockets};
use super::credentials::Credential;
use crate::machine::{VmNetwork, VmSpec};

/// The disk's name in the monitor.
pub(super) const DISK: &str = "disk0";

/// The vsock device's name in the monitor.
pub(super) const VSOCK_DEVICE: &str = "vsock0";

/// The port that the vsock device is plugged into.
pub(super) const VSOCK_PORT: &str = "port0";

/// Name of the virtio-serial port that the agent listens on.
const AGENT_PORT_NAME: &str = "lkc.agent.0";

/// What a virtual machine is started with.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) mac: [u8; 6],
    pub(super) vm: &'a VmSpec,
    pub(super) architecture: Architecture,
    pub(super) accelerator: Accelerator,
    pub(super) channel: &'a Channel,
    pub(super) sockets: &'a Sockets,
    pub(super) disk: &'a Path,
    pub(super) console: &'a Path,
    pub(super) firmware: Option<&'a Path>,
    pub(super) credentials: &'a [Credential],
}

impl Wanted<'_> {
    /// The arguments. Standard input and output are the keeper's monitor.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let mut line = Line::default();
        let VmSpec {
            cpus, memory_mib, ..
        } = self.vm;
        line.option("-name", [format!("lkc-{}", self.name)]);
        line.flags(&["-nodefaults", "-no-user-config", "-display", "none"]);
        self.processor(&mut line);
        line.option("-smp", [cpus.to_string()]);
        line.option("-m", [format!("{memory_mib}M")]);
        line.option("-rtc", ["base=utc".to_owned()]);
        line.option("-chardev", ["stdio,id=keeper,signal=off".to_owned()]);
        line.option("-mon", ["chardev=keeper,mode=control".to_owned()]);
        line.with_path(
            "-chardev",
            "socket,id=monitor,server=on,wait=off,path=",
            &self.sockets.monitor,
        );
        line.option("-mon", ["chardev=monitor,mode=control".to_owned()]);
        line.with_path("-chardev", "file,id=console,append=on,path=", self.console);
        line.option("-serial", ["chardev:console".to_owned()]);
        if let Some(firmware) = self.firmware {
            line.flags(&["-bios"]);
            line.0.push(firmware.into());
        }
        line.with_path(
            "-blockdev",
            &format!("driver=qcow2,node-name={DISK},discard=unmap,file.driver=file,file.filename="),
            self.disk,
        );
        line.option(
            "-device",
            [format!("virtio-blk-pci,drive={DISK},bootindex=0")],
        );
        self.network(&mut line);
        line.option("-device", ["virtio-rng-pci".to_owned()]);
        self.agent(&mut line);
        for credential in self.credentials {
            let before = match self.architecture {
                Architecture::X86_64 => "type=11,path=".to_owned(),
                Architecture::Aarch64 => {
                    format!("name=opt/io.systemd.credentials/{},file=", credential.name)
                }
            };
            line.with_path(
                credential.option(self.architecture),
                &before,
                &credential.path,
            );
        }
        line.0
    }

    fn processor(&self, line: &mut Line) {
        let machine = self.architecture.machine();
        let accelerator = self.accelerator.option();
        line.option("-accel", [accelerator.to_owned()]);
        line.option("-cpu", [self.accelerator.cpu().to_owned()]);
        if let Channel::User { .. } = self.channel {
            // A device that is a process of its own sees the guest's memory.
            let size = self.vm.memory_mib;
            line.option("-M", [format!("{machine},memory-backend=memory")]);
            line.option(
                "-object",
                [format!(
                    "memory-backend-memfd,id=memory,size={size}M,share=on"
                )],
            );
        } else {
            line.option("-M", [machine.to_owned()]);
        }
    }

    /// User-mode networking, for the guest's own traffic. Nothing of the host is forwarded to it.
    fn network(&self, line: &mut Line) {
        let [a, b, c, d, e, f] = self.mac;
        line.option(
            "-netdev",
            [format!("user,id=net0{}", user_network(&self.vm.network))],
        );
        line.option(
            "-device",
            [format!(
                "virtio-net-pci,netdev=net0,mac={a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}"
            )],
        );
    }

    fn agent(&self, line: &mut Line) {
        line.option("-device", ["virtio-serial-pci".to_owned()]);
        line.with_path(
            "-chardev",
            "socket,id=agent,server=on,wait=off,path=",
            &self.sockets.agent,
        );
        line.option(
            "-device",
            [format!(
                "virtserialport,chardev=agent,name={AGENT_PORT_NAME}"
            )],
        );
        match self.channel {
            Channel::Serial => {
                // Whoever holds the port's other end is not told of a reset; the keeper makes a
                // start of it, which closes the socket.
                line.option("-action", ["reboot=shutdown".to_owned()]);
            }
            Channel::Kernel { cid } => {
                line.option(
                    "-device",
                    [format!("vhost-vsock-pci,id={VSOCK_DEVICE},guest-cid={cid}")],
                );
            }
            Channel::User { .. } => {
                // It does not survive a reset of the guest; the keeper makes one of a start.
                line.option("-action", ["reboot=shutdown".to_owned()]);
                // Plugged into a port of its own, since it has to be out while a snapshot is made.
                line.option(
                    "-device",
                    [format!("pcie-root-port,id={VSOCK_PORT},chassis=1,slot=1")],
                );
                line.with_path(
                    "-chardev",
                    &format!("socket,id={VSOCK_DEVICE}-0,path="),
                    &self.sockets.device,
                );
                line.option(
                    "-device",
                    [format!(
                        "vhost-user-vsock-pci,id={VSOCK_DEVICE},chardev={VSOCK_DEVICE}-0,bus={VSOCK_PORT}"
                    )],
                );
            }
        }
    }
}

/// QEMU's own router has to be where the node's configuration says that the gateway is.
fn user_network(network: &VmNetwork) -> String {
    let VmNetwork {
        address,
        prefix,
        gateway,
        nameserver,
    } = network;
    match (address, gateway) {
        (IpAddr::V4(address), Some(IpAddr::V4(gateway))) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(*prefix))
                .unwrap_or_default();
            let net = std::net::Ipv4Addr::from_bits(address.to_bits() & mask);
            let dns = match nameserver {
                Some(IpAddr::V4(nameserver)) => *nameserver,
                _ => dns_beside(net.to_bits(), mask, [address.to_bits(), gateway.to_bits()]),
            };
            format!(",ipv6=off,net={net}/{prefix},host={gateway},dns={dns}")
        }
        (IpAddr::V6(address), Some(IpAddr::V6(gateway))) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(*prefix))
                .unwrap_or_default();
            let net = std::net::Ipv6Addr::from_bits(address.to_bits() & mask);
            let dns = match nameserver {
                Some(IpAddr::V6(nameserver)) => format!(",ipv6-dns={nameserver}"),
                _ => String::new(),
            };
            format!(",ipv4=off,ipv6-net={net}/{prefix},ipv6-host={gateway}{dns}")
        }
        // Without a gateway nothing leaves.
        _ => ",restrict=on".to_owned(),
    }
}

/// An address of the network for QEMU's name server: the lowest that nobody has.
fn dns_beside(net: u32, mask: u32, taken: [u32; 2]) -> std::net::Ipv4Addr {
    let broadcast = net | !mask;
    let free = (net + 1..broadcast).find(|candidate| !taken.contains(candidate));
    std::net::Ipv4Addr::from_bits(free.unwrap_or(net + 1))
}

/// A command line that grows.
#[derive(Debug, Default)]
struct Line(Vec<OsString>);

impl Line {
    fn flags(&mut self, flags: &[&str]) {
        self.0.extend(flags.iter().map(OsString::from));
    }

    fn option(&mut self, name: &str, value: [String; 1]) {
        self.0.push(name.into());
        self.0.extend(value.map(OsString::from));
    }

    /// An option whose last value is a path.
    fn with_path(&mut self, name: &str, before: &str, path: &Path) {
        let mut value = OsString::from(before);
        value.push(escaped(path.as_os_str()));
        self.0.push(name.into());
        self.0.push(value);
    }
}

/// In QEMU's options a comma ends a value, and two are one.
fn escaped(value: &OsStr) -> OsString {
    let mut bytes = Vec::with_capacity(value.len());
    for &byte in value.as_bytes() {
        bytes.push(byte);
        if byte == b',' {
            bytes.push(byte);
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests;
