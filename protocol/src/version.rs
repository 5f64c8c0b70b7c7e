//! What this build speaks. A change on the wire adds a constant here, a row in `PROTOCOL.md §3`,
//! a golden vector and a line in the changelog; nothing is ever removed from the list.

/// Capability version of this build: one integer, raised by every change of behaviour on the wire.
pub const CAPABILITY: u32 = LOG_PLACE;

/// Oldest capability version that this build still works with.
pub const OLDEST_CAPABILITY: u32 = FIRST;

/// 2026-11-21: requests Info to WatchObject, the plain continuation on local carriers.
pub const FIRST: u32 = 1;

/// 2026-11-21: UDP targets, reverse forwards, connections that are handed over.
pub const FORWARDS: u32 = 2;

/// 2026-11-21: enrolment by a token.
pub const ENROLMENT: u32 = 3;

/// 2026-11-21: programs that run in the guest.
pub const EXEC: u32 = 4;

/// 2026-11-21: changes of the network that are taken back unless a host confirms them.
pub const NETWORK_TRIAL: u32 = 5;

/// 2026-11-22: the guest's clock can be set, and its memory, disks and load be asked for.
pub const CONDITION: u32 = 6;

/// 2026-11-22: a log is followed on from the last line that was seen.
pub const LOG_PLACE: u32 = 7;

/// Newest version of the preface-to-hello sequence that this build speaks.
pub const HANDSHAKE: u16 = 1;

/// Oldest version of that sequence that this build speaks.
pub const OLDEST_HANDSHAKE: u16 = 1;
