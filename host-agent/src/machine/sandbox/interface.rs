//! The network interface of the sandbox: a veth pair of which the guest configures one end, while
//! the other plays the switch port that it is plugged into. Nothing leads out of the sandbox.

use std::fs;
use std::io;

use rtnetlink::packet_route::link::LinkMessage;
use rtnetlink::{Handle, LinkDummy, LinkUnspec, LinkVeth};

use super::report::{Failure, FailureKind};

/// The guest's end. Not the name it will have: the agent has to find it by its address and rename
/// it, as on any other machine.
const GUEST_END: &str = "ens3";

const SWITCH_END: &str = "uplink";

/// Brings `lo` up and makes the interface with the address `mac`, down.
pub(super) async fn make(mac: [u8; 6]) -> Result<(), Failure> {
    let (connection, handle, _) =
        rtnetlink::new_connection().map_err(interface("open a netlink socket"))?;
    let connection = tokio::spawn(connection);
    let made = make_with(&handle, mac).await;
    connection.abort();
    let _ = connection.await;
    made
}

async fn make_with(handle: &Handle, mac: [u8; 6]) -> Result<(), Failure> {
    set_up(handle, "lo").await?;
    let veth = LinkVeth::new(GUEST_END, SWITCH_END)
        .address(mac.to_vec())
        .build();
    match add(handle, veth).await {
        Ok(()) => {
            // Nobody lives at the switch's end; an address of its own would only confuse.
            let _ = fs::write(
                format!("/proc/sys/net/ipv6/conf/{SWITCH_END}/disable_ipv6"),
                "1",
            );
            set_up(handle, SWITCH_END).await
        }
        Err(no_veth) => {
            let dummy = LinkDummy::new(GUEST_END).address(mac.to_vec()).build();
            add(handle, dummy).await.map_err(|no_dummy| {
                interface("make a veth pair or a dummy interface")(format!(
                    "veth: {no_veth}; dummy: {no_dummy}"
                ))
            })
        }
    }
}

async fn add(handle: &Handle, link: LinkMessage) -> io::Result<()> {
    handle.link().add(link).execute().await.map_err(os_error)
}

async fn set_up(handle: &Handle, name: &str) -> Result<(), Failure> {
    let link = LinkUnspec::new_with_name(name).up().build();
    handle
        .link()
        .set(link)
        .execute()
        .await
        .map_err(os_error)
        .map_err(interface(&format!("bring {name} up")))
}

fn interface<E: std::fmt::Display>(step: &str) -> impl FnOnce(E) -> Failure {
    Failure::of(FailureKind::Interface, step)
}

fn os_error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}
