//! `lkc.toml`: where it is found, what it may say, and the cluster specifications it leads to.

pub mod cluster;

pub use cluster::{ClusterName, ClusterSpec, Driver, Encrypt, ForwardSpec, K3sSpec, MacAddress};
