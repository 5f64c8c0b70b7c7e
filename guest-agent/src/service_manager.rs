//! What systemd hears from the agent. Without a service manager nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// Says that the agent listens: units ordered after it may start.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Says in a line what the agent is doing, for `systemctl status`.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// Says that the stop has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Feeds the watchdog.
fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// Feeds the watchdog from the loop that everything else runs on, until the token is cancelled.
pub async fn report_alive(cancel: CancellationToken) {
    let Some(period) = watchdog_interval() else {
        cancel.cancelled().await;
        return;
    };
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => alive(),
        }
    }
}

/// How often the watchdog wants to be fed: twice per its timeout. None without one.
fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|timeout| timeout / 2)
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}
