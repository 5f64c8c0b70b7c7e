//! What a machine was at a moment, memory included, inside its own disk.
//!
//! A vsock device that is a process of its own has state that nobody can save, so it is unplugged
//! before a snapshot is made or restored and plugged in afterwards: links over it end and come back.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::arguments::{DISK, VSOCK_DEVICE, VSOCK_PORT};
use super::channel::{Channel, Sockets};
use super::driver::{self, LOOK, Status};
use super::error::QemuError;
use super::qmp::{Qmp, QmpError};
use crate::machine::{Snapshot, SnapshotOrder};

/// How long a guest may take to let a device go; an idle one takes 0.1 s, emulated 1 s.
const UNPLUG_DEADLINE: Duration = Duration::from_secs(20);

/// How long a guest may take to make use of a device that is plugged in.
const PLUG_DEADLINE: Duration = Duration::from_secs(20);

/// How long a snapshot may take: as long as the memory takes to be written.
const JOB_DEADLINE: Duration = Duration::from_secs(300);

/// Name of the monitor's job; there is one at a time.
const JOB: &str = "snapshot";

/// Longest name.
const MAX_NAME: usize = 40;

/// Does what is asked; `sockets` are the machine's.
pub(super) async fn perform(
    order: &SnapshotOrder,
    channel: &Channel,
    sockets: &Sockets,
) -> Result<Vec<Snapshot>, QemuError> {
    let mut monitor = Qmp::connect(&sockets.monitor)
        .await
        .map_err(monitor("answer"))?;
    let before = list(&mut monitor).await?;
    let exists = |name: &str| before.iter().any(|one| one.name == name);
    match order {
        SnapshotOrder::List => return Ok(before),
        SnapshotOrder::Save(name) => {
            check_name(name)?;
            if exists(name) {
                return Err(QemuError::SnapshotExists(name.clone()));
            }
            Device::unplugged(&mut monitor, channel, sockets, async |monitor| {
                job(monitor, "snapshot-save", name, true).await
            })
            .await?;
        }
        SnapshotOrder::Restore(name) => {
            if !exists(name) {
                return Err(QemuError::NoSnapshot(name.clone()));
            }
            Device::unplugged(&mut monitor, channel, sockets, async |monitor| {
                job(monitor, "snapshot-load", name, true).await?;
                go_on(monitor).await
            })
            .await?;
        }
        SnapshotOrder::Delete(name) => {
            if !exists(name) {
                return Err(QemuError::NoSnapshot(name.clone()));
            }
            job(&mut monitor, "snapshot-delete", name, false).await?;
        }
    }
    list(&mut monitor).await
}

fn check_name(name: &str) -> Result<(), QemuError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let legal = name.bytes().next().is_some_and(plain)
        && name.len() <= MAX_NAME
        && name
            .bytes()
            .all(|byte| plain(byte) || b"-_.".contains(&byte));
    if legal {
        Ok(())
    } else {
        Err(QemuError::SnapshotName(name.to_owned()))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Node {
    node_name: Option<String>,
    image: Image,
}

#[derive(Debug, Deserialize)]
struct Image {
    #[serde(default)]
    snapshots: Vec<Kept>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kept {
    name: String,
    vm_state_size: u64,
    date_sec: u64,
}

/// The snapshots of the machine's disk, the oldest first.
async fn list(qemu: &mut Qmp) -> Result<Vec<Snapshot>, QemuError> {
    let nodes: Vec<Node> = qemu
        .execute("query-named-block-nodes", &json!({"flat": true}))
        .await
        .map_err(monitor("list its snapshots"))?;
    let mut found: Vec<_> = nodes
        .into_iter()
        .filter(|node| node.node_name.as_deref() == Some(DISK))
        .flat_map(|node| node.image.snapshots)
        .map(|kept| Snapshot {
            name: kept.name,
            created_at: kept.date_sec,
            memory_bytes: kept.vm_state_size,
        })
        .collect();
    found.sort_by(|one, other| (one.created_at, &one.name).cmp(&(other.created_at, &other.name)));
    Ok(found)
}

#[derive(Debug, Deserialize)]
struct Job {
    id: String,
    status: String,
    #[serde(default)]
    error: Option<String>,
}

/// Runs a job to its end.
async fn job(
    qemu: &mut Qmp,
    command: &'static str,
    name: &str,
    with_memory: bool,
) -> Result<(), QemuError> {
    let mut arguments = json!({"job-id": JOB, "tag": name, "devices": [DISK]});
    if with_memory {
        arguments["vmstate"] = DISK.into();
    }
    let failed = |why: String| QemuError::Snapshot {
        name: name.to_owned(),
        why,
    };
    qemu.order(command, &arguments)
        .await
        .map_err(monitor("begin with the snapshot"))?;
    let concluded = qemu.event(|event| {
        event.name == "JOB_STATUS_CHANGE"
            && event.data["id"] == JOB
            && event.data["status"] == "concluded"
    });
    timeout(JOB_DEADLINE, concluded)
        .await
        .map_err(|_| failed("it does not end".to_owned()))?
        .map_err(monitor("finish the snapshot"))?;
    let jobs: Vec<Job> = qemu
        .execute("query-jobs", &json!({}))
        .await
        .map_err(monitor("say how the snapshot ended"))?;
    qemu.order("job-dismiss", &json!({"id": JOB}))
        .await
        .map_err(monitor("forget the snapshot's job"))?;
    let ended = jobs.into_iter().find(|job| job.id == JOB);
    match ended.and_then(|job| {
        job.error
            .or((job.status != "concluded").then_some(job.status))
    }) {
        Some(why) => Err(failed(crate::sanitize::line(&why))),
        None => Ok(()),
    }
}

/// A machine that was restored stands still if it did when it was saved, or when the load failed.
async fn go_on(qemu: &mut Qmp) -> Result<(), QemuError> {
    qemu.order("cont", &json!({}))
        .await
        .map_err(monitor("go on"))
}

/// The vsock device while it is out.
struct Device;

impl Device {
    /// Does `work` without the vsock device, where that has to be, and plugs it in again however the
    /// work ended.
    async fn unplugged(
        qemu: &mut Qmp,
        channel: &Channel,
        sockets: &Sockets,
        work: impl AsyncFnOnce(&mut Qmp) -> Result<(), QemuError>,
    ) -> Result<(), QemuError> {
        if !matches!(channel, Channel::User { .. }) {
            return work(qemu).await;
        }
        let name = |from: &Path, to: &Path| {
            if let Err(error) = driver::rename(from, to) {
                tracing::warn!(from = %from.display(), to = %to.display(), %error, "cannot rename");
            }
        };
        name(&sockets.vsock, &sockets.hidden);
        let done = Self::without(qemu, sockets, work).await;
        name(&sockets.hidden, &sockets.vsock);
        done
    }

    async fn without(
        qemu: &mut Qmp,
        sockets: &Sockets,
        work: impl AsyncFnOnce(&mut Qmp) -> Result<(), QemuError>,
    ) -> Result<(), QemuError> {
        Self::unplug(qemu).await?;
        let worked = work(qemu).await;
        let plugged = Self::plug(qemu, sockets).await;
        worked.and(plugged)?;
        Self::driven(qemu).await;
        Ok(())
    }

    /// Waits until the guest's driver runs. A QEMU that cannot tell is not waited for, nor a guest
    /// that takes long.
    async fn driven(qemu: &mut Qmp) {
        let running = async {
            while let Ok(Status { runs: false }) =
                qemu.execute(driver::STATUS, &driver::of_vsock()).await
            {
                sleep(LOOK).await;
            }
        };
        let _ = timeout(PLUG_DEADLINE, running).await;
    }

    async fn unplug(qemu: &mut Qmp) -> Result<(), QemuError> {
        match qemu.order("device_del", &json!({"id": VSOCK_DEVICE})).await {
            // A former try plugged it out and got no further.
            Err(QmpError::Refused { description, .. }) if description.contains("not found") => {
                return Ok(());
            }
            ordered => ordered.map_err(monitor("unplug the vsock device"))?,
        }
        let deleted = qemu
            .event(|event| event.name == "DEVICE_DELETED" && event.data["device"] == VSOCK_DEVICE);
        timeout(UNPLUG_DEADLINE, deleted)
            .await
            .map_err(|_| QemuError::DeviceKept(UNPLUG_DEADLINE))?
            .map_err(monitor("unplug the vsock device"))?;
        for id in Self::channels(qemu).await? {
            qemu.order("chardev-remove", &json!({"id": id}))
                .await
                .map_err(monitor("forget the vsock device's socket"))?;
        }
        Ok(())
    }

    async fn plug(qemu: &mut Qmp, sockets: &Sockets) -> Result<(), QemuError> {
        let used = Self::channels(qemu).await?;
        let id = (0..)
            .map(|number| format!("{VSOCK_DEVICE}-{number}"))
            .find(|id| !used.contains(id))
            .unwrap_or_default();
        let address = json!({"type": "unix", "data": {"path": sockets.device}});
        let backend = json!({"type": "socket", "data": {"addr": address, "server": false}});
        qemu.order("chardev-add", &json!({"id": id, "backend": backend}))
            .await
            .map_err(monitor("reach the vsock device's process"))?;
        let device = json!({
            "driver": "vhost-user-vsock-pci",
            "id": VSOCK_DEVICE,
            "chardev": id,
            "bus": VSOCK_PORT,
        });
        qemu.order("device_add", &device)
            .await
            .map_err(monitor("plug the vsock device in"))
    }

    /// Sockets to the device's process that QEMU knows.
    async fn channels(qemu: &mut Qmp) -> Result<Vec<String>, QemuError> {
        let found: Vec<Value> = qemu
            .execute("query-chardev", &json!({}))
            .await
            .map_err(monitor("list its sockets"))?;
        let prefix = format!("{VSOCK_DEVICE}-");
        Ok(found
            .iter()
            .filter_map(|one| one["label"].as_str())
            .filter(|label| label.starts_with(&prefix))
            .map(str::to_owned)
            .collect())
    }
}

fn monitor(what: &'static str) -> impl FnOnce(QmpError) -> QemuError {
    move |source| QemuError::Monitor { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_snapshots() {
        let longest = "a".repeat(MAX_NAME);
        for name in ["before-upgrade", "0", "v1.33_k3s", &longest] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        let too_long = "a".repeat(MAX_NAME + 1);
        for name in ["", "-x", ".", "a b", "a,b", "Ä", "a/b", &too_long] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
