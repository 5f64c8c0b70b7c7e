//! A network of a test's own: fresh network and host name namespaces, seen by one thread.

use std::thread;

use nix::sched::{CloneFlags, unshare};
use rtnetlink::{LinkUnspec, LinkVeth};

use super::super::observed::ObservedNetwork;
use super::{Netlink, NetlinkError};

/// Runs `test` in its own namespaces on its own thread and runtime; they go with the thread.
pub(super) fn run(test: impl AsyncFnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        skip("needs root to make a network namespace");
        return;
    }
    let body = move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS) {
            skip(&format!("cannot make a network namespace: {error}"));
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test());
    };
    if let Err(panic) = thread::spawn(body).join() {
        std::panic::resume_unwind(panic);
    }
}

fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

/// Makes a pair of links, both ends down, the first with the hardware address
/// `52:54:00:c8:32:<last>`; answers with the index of the first.
pub(super) async fn pair(name: &str, peer: &str, last: u8) -> u32 {
    let netlink = Netlink::open().unwrap();
    let mac = vec![0x52, 0x54, 0, 0xc8, 0x32, last];
    let message = LinkVeth::new(name, peer).address(mac).build();
    netlink.handle.link().add(message).execute().await.unwrap();
    let index = index_of(&observe().await, name);
    netlink.close().await;
    index
}

/// Brings a link up.
pub(super) async fn up(name: &str) {
    let netlink = Netlink::open().unwrap();
    let message = LinkUnspec::new_with_name(name).up().build();
    netlink
        .handle
        .link()
        .change(message)
        .execute()
        .await
        .unwrap();
    netlink.close().await;
}

/// Adds an address to a link.
pub(super) async fn give(name: &str, address: &str) {
    let netlink = Netlink::open().unwrap();
    let address: super::super::address::Cidr = address.parse().unwrap();
    let index = index_of(&observe().await, name);
    let add = netlink
        .handle
        .address()
        .add(index, address.ip(), address.prefix());
    add.execute().await.unwrap();
    netlink.close().await;
}

/// Reads the whole namespace.
pub(super) async fn observe() -> ObservedNetwork {
    let netlink = Netlink::open().unwrap();
    let observed: Result<ObservedNetwork, NetlinkError> = netlink.observe().await;
    netlink.close().await;
    observed.unwrap()
}

fn index_of(network: &ObservedNetwork, name: &str) -> u32 {
    network
        .links
        .iter()
        .find(|link| link.name == name)
        .unwrap()
        .index
}
