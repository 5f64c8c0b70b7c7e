//! The sandbox on a system without Linux namespaces: it says so.

use std::convert::Infallible;
use std::ffi::OsString;
use std::future::{Ready, ready};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::{MachineError, MachineExit, MachineSpec};

/// How a sandbox is entered; on this system, not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxMode {}

/// There is none here.
#[derive(Debug)]
pub struct Sandbox(Infallible);

pub fn probe() -> Result<SandboxMode, MachineError> {
    Err(MachineError::NeedsLinux)
}

pub fn enter_main(_args: &[OsString]) -> ExitCode {
    ExitCode::FAILURE
}

pub fn init_main(_args: &[OsString]) -> ExitCode {
    ExitCode::FAILURE
}

pub(super) fn start(_spec: &MachineSpec) -> Ready<Result<Sandbox, MachineError>> {
    ready(Err(MachineError::NeedsLinux))
}

pub(super) fn find(_spec: &MachineSpec) -> Ready<Result<Option<Sandbox>, MachineError>> {
    ready(Ok(None))
}

pub(super) fn delete(_spec: &MachineSpec) -> Ready<Result<(), MachineError>> {
    ready(Ok(()))
}

impl Sandbox {
    pub(super) fn agent_socket(&self) -> &Path {
        match self.0 {}
    }

    pub(super) fn description(&self) -> String {
        match self.0 {}
    }

    pub(super) fn pid(&self) -> i32 {
        match self.0 {}
    }

    pub(super) fn log_path(&self) -> &Path {
        match self.0 {}
    }

    pub(super) fn is_outdated(&self) -> bool {
        match self.0 {}
    }

    pub(super) fn exited(&self) -> Ready<Result<MachineExit, MachineError>> {
        match self.0 {}
    }

    pub(super) fn stop(&self, _grace: Duration) -> Ready<Result<(), MachineError>> {
        match self.0 {}
    }
}
