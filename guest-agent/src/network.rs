//! The guest's network: what the host asks for, checked, planned and brought about.

pub mod address;
pub mod config;
pub mod name;
pub mod observed;
pub mod plan;
