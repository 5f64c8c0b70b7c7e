//! What a host has confirmed, at every boot: before systemd-networkd starts, so that it comes up as
//! with files of an administrator.
//!
//! It is rendered into `/run/systemd/network` each time. `/etc/systemd/network` would save that on
//! most systems and is read-only on NixOS; one way for both is the one that is tested.

use std::path::Path;

use super::super::NetworkError;
use super::super::config::NetworkConfig;
use super::super::netlink::Netlink;
use super::super::networkd;
use super::super::plan::{Action, Means, plan};
use super::inherit::{self, inherit};
use super::record::Files;

/// Makes the directory, and renders what is confirmed, to an agent from before the steward too; names
/// the links and the host where they are there already.
///
/// # Errors
/// The configuration cannot be read, or the files cannot be written.
pub async fn restore(state: &Path, runtime: &Path) -> Result<(), NetworkError> {
    inherit(Path::new(inherit::FORMER), state);
    let files = Files::new(state, runtime);
    let directory = Path::new(networkd::DIRECTORY);
    let Some(confirmed) = files.confirmed()? else {
        networkd::replace(directory, &[])?;
        tracing::info!("no host has confirmed a network configuration yet");
        return Ok(());
    };
    let config = NetworkConfig::parse(&confirmed)?;
    let netlink = Netlink::open()?;
    let named = name(&netlink, &config).await;
    netlink.close().await;
    networkd::replace(directory, &named?)?;
    files.write_current(&confirmed)?;
    tracing::info!(
        interfaces = config.interfaces.len(),
        "the confirmed network configuration is restored"
    );
    Ok(())
}

/// The files; with the names set that a running system gives only here, where the links are there.
/// udev gives them to those that come later.
async fn name(
    netlink: &Netlink,
    config: &NetworkConfig,
) -> Result<Vec<networkd::File>, NetworkError> {
    let network = netlink.observe().await?;
    let planned = match plan(config, &network, Means::Networkd) {
        Ok(planned) => planned,
        Err(error) => {
            tracing::warn!(%error, "the links are not all there yet");
            return Ok(networkd::files(config, &[]));
        }
    };
    for action in &planned.actions {
        if let Action::SetDown { .. } | Action::Rename { .. } | Action::SetHostname { .. } = action
        {
            netlink.execute(action).await?;
        }
    }
    let links: Vec<_> = planned
        .links
        .iter()
        .filter_map(|&index| network.link(index))
        .collect();
    Ok(networkd::files(config, &links))
}
