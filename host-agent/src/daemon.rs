//! The background daemon.

pub mod state;
