//! Requests about the condition of the guest's machine: its clock, memory, disks and load.

use bincode::{Decode, Encode};

/// Asks the guest to set its clock to the host's.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct SetTime {
    /// Wall clock of the host, milliseconds since 1970.
    pub clock_unix_ms: u64,
    /// A clock that is off by no more than this is left alone, in milliseconds.
    pub bound_ms: u32,
}

/// The clock is within the bound.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct TimeSet {
    /// What the clock said before, milliseconds since 1970.
    pub before_unix_ms: u64,
    /// Whether it was set.
    pub changed: bool,
}

/// Asks what of the machine is in use.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Usage {}

/// What of the machine is in use. Zero where the machine does not say.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct UsageAnswer {
    /// Memory in KiB.
    pub memory_kib: u64,
    /// Memory that a program could still get without swapping, in KiB.
    pub memory_available_kib: u64,
    /// Processors.
    pub processors: u32,
    /// Runnable programs on average over 1, 5 and 15 minutes, in hundredths.
    pub load_percent: Vec<u32>,
    /// File systems that k3s and the system are on.
    pub disks: Vec<DiskUsage>,
}

/// A file system.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct DiskUsage {
    /// Where it is looked at, `/var/lib/rancher/k3s`.
    pub path: String,
    /// Its size in KiB.
    pub size_kib: u64,
    /// What k3s can still use of it, in KiB.
    pub available_kib: u64,
}
