//! The two ends of what is measured: clients and a backend, on plain threads with blocking sockets.

mod backend;
mod behaviours;
mod bulk;
mod client;
mod connects;
mod idle;
mod pattern;
mod ping;
mod unread;

use std::net::SocketAddr;

pub(crate) use backend::Backend;
pub(crate) use behaviours::{Deadlines, Expected, compare};
pub(crate) use bulk::{Bulk, Direction};
pub(crate) use connects::connects_per_second;
pub(crate) use idle::Idle;
pub(crate) use pattern::check_integrity;
pub(crate) use ping::{ping, probe};
pub(crate) use unread::Unread;

/// Bytes written and read at once.
const BUFFER: usize = 256 * 1024;

/// Something that leads from `entry` to `backend`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) entry: SocketAddr,
    pub(crate) backend: &'a Backend,
}
