//! Where the host may have the guest listen. Pure.

use std::net::{IpAddr, SocketAddr};

use lkc_protocol::{
    error::{Refusal, RefusalCode},
    message::{Listen, k3s_use_of},
};

/// Whether [`permit`] has to know the guest's own addresses to judge this.
#[must_use]
pub fn needs_own_addresses(wanted: &Listen) -> bool {
    let address = wanted.address.parse().map(|ip: IpAddr| ip.to_canonical());
    address.is_ok_and(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

/// Where to listen: on loopback, on every address or on one of the guest's `own`, and on no port
/// that k3s needs.
///
/// # Errors
/// A refusal to hand to the host: `Invalid` or `Denied`.
pub fn permit(wanted: &Listen, own: &[IpAddr]) -> Result<SocketAddr, Refusal> {
    let invalid = |text| Refusal::new(RefusalCode::Invalid, text);
    let denied = |text| Refusal::new(RefusalCode::Denied, text);
    let address: IpAddr = wanted
        .address
        .parse()
        .map_err(|_| invalid("a listener needs an IP address of the guest"))?;
    if wanted.port == 0 {
        return Err(invalid("a listener needs a port"));
    }
    if let Some(what) = k3s_use_of(wanted.port) {
        let text = format!("port {} of the guest is for k3s: {what}", wanted.port);
        return Err(denied(text));
    }
    let address = address.to_canonical();
    let everyones = address.is_loopback() || address.is_unspecified();
    if !everyones && (is_link_local(address) || !own.contains(&address)) {
        return Err(denied(format!("{address} is no address of the guest")));
    }
    Ok(SocketAddr::new(address, wanted.port))
}

/// Such an address means nothing without an interface, which a request cannot name.
fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(address: &str, port: u16) -> Result<String, RefusalCode> {
        let own: Vec<IpAddr> = ["192.100.0.10", "fd00::10", "fe80::1", "169.254.1.1"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        let wanted = Listen {
            id: 1,
            address: address.to_owned(),
            port,
        };
        let known = needs_own_addresses(&wanted);
        let judged = permit(&wanted, if known { &own } else { &[] });
        judged
            .map(|address| address.to_string())
            .map_err(|refusal| refusal.code)
    }

    #[test]
    fn the_guests_own_addresses_and_no_others() {
        let table = [
            ("127.0.0.1", Ok("127.0.0.1:5000")),
            ("127.9.9.9", Ok("127.9.9.9:5000")),
            ("::1", Ok("[::1]:5000")),
            ("0.0.0.0", Ok("0.0.0.0:5000")),
            ("::", Ok("[::]:5000")),
            ("192.100.0.10", Ok("192.100.0.10:5000")),
            ("fd00::10", Ok("[fd00::10]:5000")),
            ("::ffff:192.100.0.10", Ok("192.100.0.10:5000")),
            ("::ffff:0.0.0.0", Ok("0.0.0.0:5000")),
            ("192.100.0.11", Err(RefusalCode::Denied)),
            ("::ffff:192.100.0.11", Err(RefusalCode::Denied)),
            ("8.8.8.8", Err(RefusalCode::Denied)),
            ("224.0.0.1", Err(RefusalCode::Denied)),
            ("255.255.255.255", Err(RefusalCode::Denied)),
            ("fe80::1", Err(RefusalCode::Denied)),
            ("169.254.1.1", Err(RefusalCode::Denied)),
            ("localhost", Err(RefusalCode::Invalid)),
            ("", Err(RefusalCode::Invalid)),
            ("/run/x.sock", Err(RefusalCode::Invalid)),
            ("fe80::1%eth0", Err(RefusalCode::Invalid)),
            ("127.0.0.1:5000", Err(RefusalCode::Invalid)),
        ];
        for (address, expected) in table {
            let expected = expected.map(str::to_owned);
            assert_eq!(judge(address, 5000), expected, "{address}");
        }
    }

    #[test]
    fn no_port_that_k3s_needs() {
        assert_eq!(judge("127.0.0.1", 0), Err(RefusalCode::Invalid));
        for &(port, what) in lkc_protocol::message::K3S_PORTS {
            for address in ["127.0.0.1", "0.0.0.0", "192.100.0.10"] {
                assert_eq!(
                    judge(address, port),
                    Err(RefusalCode::Denied),
                    "{what} on {address}"
                );
            }
        }
        for port in [1, 80, 5000, 6442, 6445, 10_247, 10_251, 65_535] {
            assert!(judge("127.0.0.1", port).is_ok(), "{port}");
        }
    }
}
