//! Which routes an interface can be given.

use std::net::IpAddr;

use lkc_protocol::message::{InterfaceConfig, RouteConfig};

use super::super::address::{Cidr, CidrError, Family};
use super::Route;
use super::host_address::{cluster_range, is_link_local, network_or_broadcast, unusable};
use super::problem::{BadGateway, BadRoute, Problem};

/// Metric that the kernel gives an IPv6 route that has none.
const METRIC_V6: u32 = 1024;

/// Parses the routes of one interface that has `addresses`.
pub(super) fn parse_all(wire: &InterfaceConfig, addresses: &[Cidr]) -> Result<Vec<Route>, Problem> {
    let mut routes: Vec<Route> = Vec::with_capacity(wire.routes.len());
    for one in &wire.routes {
        let route = parse(one, wire, addresses).map_err(|why| Problem::route(&one.to, why))?;
        if routes
            .iter()
            .any(|r| r.to == route.to && r.metric == route.metric)
        {
            return Err(Problem::route(
                &one.to,
                BadRoute::Twice {
                    metric: route.metric,
                },
            ));
        }
        routes.push(route);
    }
    Ok(routes)
}

fn parse(one: &RouteConfig, wire: &InterfaceConfig, addresses: &[Cidr]) -> Result<Route, BadRoute> {
    let via = one.via.as_deref().map(str::parse::<IpAddr>).transpose();
    let via = via.map_err(|_| BadRoute::Gateway(BadGateway::Malformed))?;
    let to = destination(&one.to, via)?;
    match via {
        Some(via) => gateway(via, to, wire, addresses).map_err(BadRoute::Gateway)?,
        None if to.prefix() == 0 => return Err(BadRoute::DefaultWithoutGateway),
        None => {}
    }
    let metric = match (to.family(), one.metric.unwrap_or(0)) {
        (Family::V6, 0) => METRIC_V6,
        (_, metric) => metric,
    };
    Ok(Route { to, via, metric })
}

fn destination(text: &str, via: Option<IpAddr>) -> Result<Cidr, BadRoute> {
    if text == "default" {
        let via = via.ok_or(BadRoute::DefaultWithoutGateway)?;
        return Ok(Family::of(via).everything());
    }
    let to = match text.parse::<Cidr>() {
        Err(CidrError::NoPrefix) => text
            .parse()
            .map(Cidr::single)
            .map_err(|_| BadRoute::Malformed(CidrError::Address))?,
        other => other.map_err(BadRoute::Malformed)?,
    };
    if to.network() != to {
        return Err(BadRoute::HostBits {
            network: to.network(),
        });
    }
    if to.prefix() == 0 {
        return Ok(to);
    }
    let kernels_own = to.ip().is_ipv6() && is_link_local(to.ip());
    if unusable(to.ip()).is_some() || kernels_own {
        return Err(BadRoute::Destination);
    }
    if let Some((what, range)) = cluster_range(|range| range.covers(to)) {
        return Err(BadRoute::Cluster { what, range });
    }
    Ok(to)
}

fn gateway(
    via: IpAddr,
    to: Cidr,
    wire: &InterfaceConfig,
    addresses: &[Cidr],
) -> Result<(), BadGateway> {
    if Family::of(via) != to.family() {
        return Err(BadGateway::OtherFamily);
    }
    if let Some(why) = unusable(via) {
        return Err(BadGateway::Unusable(why));
    }
    if addresses.iter().any(|own| own.ip() == via) {
        return Err(BadGateway::Own);
    }
    if via.is_ipv6() && is_link_local(via) {
        return Ok(());
    }
    let Some(own) = addresses.iter().find(|own| own.contains(via)) else {
        let dhcp = if via.is_ipv4() {
            wire.dhcp4
        } else {
            wire.dhcp6
        };
        return if dhcp {
            Ok(())
        } else {
            Err(BadGateway::Outside)
        };
    };
    network_or_broadcast(*own, via).map_or(Ok(()), |why| Err(BadGateway::Unusable(why)))
}
