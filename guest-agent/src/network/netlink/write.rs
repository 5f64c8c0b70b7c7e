//! From steps to netlink messages.

use std::io;
use std::net::IpAddr;

use nix::errno::Errno;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::route::{RouteMessage, RouteProtocol, RouteScope};
use rtnetlink::{
    AddressMessageBuilder, Error, Handle, LinkMessageBuilder, LinkUnspec, RouteMessageBuilder,
};

use super::super::address::Cidr;
use super::super::observed::{KernelRoute, Origin};
use super::super::plan::{Action, LinkRef};
use super::io_error;

/// Asks the kernel for one step and waits for its answer.
pub(super) async fn write(handle: &Handle, action: &Action) -> io::Result<()> {
    let written = match action {
        Action::SetDown { link } => change(handle, unspec(link).down()).await,
        Action::SetUp { link } => change(handle, unspec(link).up()).await,
        Action::Rename { link, to } => change(handle, unspec(link).name(to)).await,
        Action::SetMtu { link, mtu } => change(handle, unspec(link).mtu(*mtu)).await,
        Action::AddAddress { link, address } => {
            let add = handle
                .address()
                .add(link.index, address.ip(), address.prefix());
            add.replace().execute().await
        }
        Action::RemoveAddress { link, address } => {
            handle
                .address()
                .del(address_message(link.index, *address))
                .execute()
                .await
        }
        Action::AddRoute { link, route } => {
            handle
                .route()
                .add(route_message(link.index, route)?)
                .execute()
                .await
        }
        Action::ReplaceRoute { link, route } => {
            handle
                .route()
                .add(route_message(link.index, route)?)
                .replace()
                .execute()
                .await
        }
        Action::RemoveRoute { link, route } => {
            let mut message = route_message(link.index, route)?;
            // For a removal this scope means any.
            message.header.scope = RouteScope::NoWhere;
            handle.route().del(message).execute().await
        }
        Action::SetHostname { name } => return Ok(nix::unistd::sethostname(name)?),
    };
    written.map_err(io_error)
}

/// Whether the kernel refused a removal because there is nothing to remove.
pub(super) fn is_so_already(action: &Action, error: &io::Error) -> bool {
    let absent = match action {
        Action::RemoveAddress { .. } => Errno::EADDRNOTAVAIL,
        Action::RemoveRoute { .. } => Errno::ESRCH,
        _ => return false,
    };
    error.raw_os_error() == Some(absent as i32)
}

fn unspec(link: &LinkRef) -> LinkMessageBuilder<LinkUnspec> {
    LinkUnspec::new_with_index(link.index)
}

async fn change(handle: &Handle, link: LinkMessageBuilder<LinkUnspec>) -> Result<(), Error> {
    handle.link().change(link.build()).execute().await
}

fn address_message(link: u32, address: Cidr) -> AddressMessage {
    match address.ip() {
        IpAddr::V4(ip) => AddressMessageBuilder::<std::net::Ipv4Addr>::new()
            .index(link)
            .address(ip, address.prefix())
            .build(),
        IpAddr::V6(ip) => AddressMessageBuilder::<std::net::Ipv6Addr>::new()
            .index(link)
            .address(ip, address.prefix())
            .build(),
    }
}

fn route_message(link: u32, route: &KernelRoute) -> io::Result<RouteMessage> {
    let KernelRoute {
        route,
        origin,
        source,
    } = route;
    let mut message = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(route.to.ip(), route.to.prefix())
        .map_err(unbuildable)?
        .output_interface(link)
        .protocol(protocol(*origin));
    message = match route.via {
        Some(via) => message.gateway(via).map_err(unbuildable)?,
        None if route.to.ip().is_ipv4() => message.scope(RouteScope::Link),
        None => message,
    };
    if let Some(source) = source {
        message = message.pref_source(*source).map_err(unbuildable)?;
    }
    if route.metric != 0 {
        message = message.priority(route.metric);
    }
    Ok(message.build())
}

fn unbuildable(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error.to_string())
}

fn protocol(origin: Origin) -> RouteProtocol {
    match origin {
        Origin::Kernel => RouteProtocol::Kernel,
        Origin::RouterAdvertisement => RouteProtocol::Ra,
        Origin::Boot => RouteProtocol::Boot,
        Origin::Static => RouteProtocol::Static,
        Origin::Dhcp => RouteProtocol::Dhcp,
        Origin::Other(number) => number.into(),
    }
}
