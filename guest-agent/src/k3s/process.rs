//! The k3s process, where no service manager runs it.
//!
//! It lives in a process group of its own, writes to a log file of its own, and survives the agent:
//! the next agent finds it by the pid file and adopts it. The pid file holds the start time too, so
//! that a pid that was given to somebody else is never touched.

mod child;
mod pid_file;
mod policy;
mod supervisor;
mod version;

pub(crate) use policy::STABLE_AFTER;
pub use policy::{Exit, RestartPolicy};
pub(super) use supervisor::supervise;
pub use version::{Version, VersionError, probe_version};
