//! `lkc-guest`: applies the guest's network, runs or finds k3s, reports the readiness ladder, hands
//! out the cluster's credentials and ends the tunnel.
//!
//! Start at [`agent`], which owns every task; [`host_link`] is one connected host. What decides is
//! pure: [`network::plan`], [`readiness`], [`dial`]'s policy. What touches the system is at the edge:
//! [`network::netlink`], [`k3s`], [`observe`], [`listen`].

pub mod agent;
pub mod config;
pub mod dial;
pub mod host_link;
pub mod k3s;
pub mod listen;
pub mod logs;
pub mod network;
pub mod observe;
pub mod readiness;
pub mod service_manager;

/// Runs the program.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
