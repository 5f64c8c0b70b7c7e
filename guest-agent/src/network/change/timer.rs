//! The timer that takes a change back when the agent cannot: systemd's, so that it runs whatever
//! becomes of the agent.

use std::fs;
use std::time::Duration;

use super::super::networkd::{Bus, BusError};
use super::ChangeId;
use super::record::Files;

/// How much later than the deadline it fires: the agent takes the change back itself if it can.
const GRACE: Duration = Duration::from_secs(1);

/// Has systemd start the timer for a change. Tells whether there is a systemd to have one.
pub(super) async fn arm(id: ChangeId, left: Duration, files: &Files) -> Result<bool, BusError> {
    let Some(bus) = service_manager().await? else {
        return Ok(false);
    };
    let program = std::env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
    let program = program.to_string_lossy().into_owned();
    let (id_text, [state, runtime]) = (id.to_string(), files.arguments());
    let arguments = ["network", "rollback", &id_text, &state, &runtime];
    let armed = bus
        .start_timer(&unit(id), left + GRACE, &program, &arguments)
        .await;
    bus.close().await;
    armed.map(|()| true)
}

/// Stops it.
pub(super) async fn disarm(id: ChangeId) -> Result<(), BusError> {
    let Some(bus) = service_manager().await? else {
        return Ok(());
    };
    let stopped = bus.stop_unit(&format!("{}.timer", unit(id))).await;
    bus.close().await;
    stopped
}

fn unit(id: ChangeId) -> String {
    format!("lkc-rollback-{id}")
}

/// The bus of the systemd that runs this machine. In a container that shares its host's files there
/// may be one that is not.
async fn service_manager() -> Result<Option<Bus>, BusError> {
    let first = fs::read_to_string("/proc/1/comm").unwrap_or_default();
    if first.trim() != "systemd" {
        return Ok(None);
    }
    Bus::connect().await
}
