//! `k3s-simulator`: started as k3s is, answers as k3s does where lkc touches it, runs no containers.
//!
//! The core is pure: [`store`] keeps objects and their history, [`api`] turns requests into answers,
//! [`lifecycle`] lives the cluster's life from the time it is given. [`server`] and [`http`] are the
//! edge with sockets, signals and files. What is not simulated says so: logs, exec, joining nodes.

mod admission;
mod api;
mod certificates;
mod clock;
mod command;
mod config;
mod discovery;
mod files;
mod flags;
mod http;
mod ids;
mod kubeconfig;
#[cfg(test)]
mod kubectl;
mod lifecycle;
mod log;
mod machine;
mod notify;
mod object;
mod openapi;
mod options;
mod patch;
mod persistence;
mod protobuf;
mod request;
mod resources;
mod script;
mod selector;
mod server;
mod status;
mod store;
mod table;
mod token;
mod version;
mod watch;

fn main() -> std::process::ExitCode {
    command::run(std::env::args())
}
