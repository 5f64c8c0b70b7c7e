//! What of the agent's work needs root, in a process of its own that no byte of a host reaches.
//!
//! The agent, which reads frames, ends TLS and makes connections, has no privileges where systemd
//! runs it. What it needs root for it asks of the steward over a unix socket: typed [`message`]s of
//! the link's own codec, one connection for each request, so that a request ends with its
//! connection and none waits for another. [`Steward`] is the agent's side, [`serve`] root's. What a
//! steward does is what an agent that has root does in its own process: `network::Keeping`,
//! [`K3s`](crate::k3s::K3s) and the kubeconfig's watch.
//!
//! What is told without being asked, as that the network stands or k3s has ended, comes on one
//! connection: [`follow`]. The agent lets go of it once nothing happens any more, and a steward
//! without connections ends: [`rest`]. What the agent can see of k3s itself, [`alarm`], has it ask for
//! the next one, and so does whatever a host asks for.
//!
//! Programs that a host executes are started by neither: systemd starts a process of root's for each
//! connection to a second socket, see [`crate::exec`].

mod alarm;
mod client;
mod follow;
mod message;
mod rest;
mod server;
mod wire;

pub use client::Steward;
pub(crate) use client::{control_k3s, keep_network};
pub(crate) use follow::Told;
pub(crate) use message::{Over, Refused, Signalled, Started};
pub use server::{StewardArgs, StewardError, serve};
pub(crate) use wire::{read, send, socket_of_stdin};
