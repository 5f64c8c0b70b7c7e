//! Who has a port: pid and name of the process that has a socket on it, where the kernel tells us.
//!
//! It reads `/proc`, which only Linux has, and which shows the descriptors of one's own processes
//! only. Where nothing can be seen nothing is said.

use std::{
    fmt, fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use crate::{config::ForwardProtocol, sanitize};

/// The kernel's tables of sockets, and the state in them of one that is in the way.
fn tables_of(protocol: ForwardProtocol) -> ([&'static str; 2], &'static str) {
    match protocol {
        ForwardProtocol::Tcp | ForwardProtocol::Socks => (["net/tcp", "net/tcp6"], "0A"),
        ForwardProtocol::Udp => (["net/udp", "net/udp6"], "07"),
    }
}

/// Longest table read, in bytes; a host with tens of thousands of sockets has less.
const MAX_TABLE: usize = 16 * 1024 * 1024;

/// A process that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pid: u32,
    name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() {
            write!(formatter, "pid {}", self.pid)
        } else {
            write!(formatter, "{} (pid {})", self.name, self.pid)
        }
    }
}

/// Finds who stands in the way of listening on `address`. Reads many small files: not for an
/// asynchronous task.
pub(super) fn find(protocol: ForwardProtocol, address: SocketAddr) -> Option<Holder> {
    let proc = Path::new("/proc");
    let (tables, state) = tables_of(protocol);
    let tables = tables.map(|table| {
        crate::paths::private::read_bounded(&proc.join(table), MAX_TABLE).unwrap_or_default()
    });
    let inodes: Vec<u64> = tables
        .iter()
        .flat_map(|table| bound_inodes(&String::from_utf8_lossy(table), state, address))
        .collect();
    let pid = process_with(proc, &inodes)?;
    let name = fs::read_to_string(proc.join(pid.to_string()).join("comm")).unwrap_or_default();
    Some(Holder {
        pid,
        name: sanitize::line(&name),
    })
}

/// Inodes of the sockets in a table that are in this state where `wanted` is or on every address.
fn bound_inodes(table: &str, state: &str, wanted: SocketAddr) -> Vec<u64> {
    let entry = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let local = fields.nth(1)?;
        if fields.nth(1)? != state {
            return None;
        }
        let inode = fields.nth(5)?.parse().ok()?;
        let (ip, port) = local.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let ip = parse_address(ip)?;
        let in_the_way = port == wanted.port() && (ip == wanted.ip() || ip.is_unspecified());
        in_the_way.then_some(inode)
    };
    table.lines().skip(1).filter_map(entry).collect()
}

/// An address as the kernel writes it: 32-bit words in the byte order of the machine.
fn parse_address(text: &str) -> Option<IpAddr> {
    let word = |index: usize| {
        let digits = text.get(index * 8..index * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for index in 0..4 {
                bytes[index * 4..index * 4 + 4].copy_from_slice(&word(index)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

/// The first process that has one of the sockets open.
fn process_with(proc: &Path, inodes: &[u64]) -> Option<u32> {
    let targets: Vec<_> = inodes
        .iter()
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let has_socket = |pid: u32| {
        let descriptors = fs::read_dir(proc.join(pid.to_string()).join("fd")).ok()?;
        descriptors
            .filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok())
            .any(|target| {
                target
                    .to_str()
                    .is_some_and(|target| targets.iter().any(|wanted| wanted == target))
            })
            .then_some(pid)
    };
    if targets.is_empty() {
        return None;
    }
    fs::read_dir(proc)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .find_map(has_socket)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 100 0 0 10 0
   1: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0
   2: 0100007F:192B 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 4713 1 0 100 0 0 10 0
   x: garbage
";

    #[cfg(target_endian = "little")]
    #[test]
    fn a_table_gives_the_sockets_in_the_way() {
        let inodes = |address: &str| bound_inodes(TABLE, "0A", address.parse().unwrap());
        assert_eq!(inodes("127.0.0.1:6443"), [4711]);
        assert_eq!(inodes("127.0.0.1:8080"), [4712]);
        assert_eq!(inodes("127.0.0.2:6443"), [0; 0]);
        assert_eq!(inodes("127.0.0.1:50000"), [0; 0]);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn addresses_of_both_families_are_read() {
        assert_eq!(
            parse_address("0100007F"),
            Some("127.0.0.1".parse().unwrap())
        );
        assert_eq!(
            parse_address("00000000000000000000000001000000"),
            Some("::1".parse().unwrap())
        );
        for malformed in ["", "0100007", "zzzzzzzz", "é100007F"] {
            assert_eq!(parse_address(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn a_real_listener_is_found_with_its_name() {
        if !Path::new("/proc/net/tcp").exists() {
            return;
        }
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let taken = listener.local_addr().unwrap();
            let holder = find(ForwardProtocol::Tcp, taken).unwrap();
            assert_eq!(holder.pid, std::process::id());
            let socket = UdpSocket::bind(address).unwrap();
            let taken = socket.local_addr().unwrap();
            assert_eq!(find(ForwardProtocol::Udp, taken), Some(holder.clone()));
            assert!(
                holder
                    .to_string()
                    .ends_with(&format!("(pid {})", holder.pid)),
                "{holder}"
            );
        }
    }

    #[test]
    fn a_free_port_has_no_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(find(ForwardProtocol::Tcp, address), None);
    }
}
