//! The task that changes the network, one change after the other: two at once would read each
//! other's half-done work.

use std::mem;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::change::{Keeper, News, Prober, Request};
use crate::k3s::{self, K3sPaths};
use crate::observe::describe;
use crate::readiness::{NetworkState, Observation};
use crate::service_manager;

/// Changes the network as it is asked, and tells how it stands.
pub struct Keeping {
    /// What is asked.
    pub requests: mpsc::Receiver<Request>,
    /// Who hears how it stands.
    pub observations: mpsc::Sender<Observation>,
    /// Ends it.
    pub cancel: CancellationToken,
    /// What outlives a boot.
    pub state_dir: PathBuf,
    /// What does not.
    pub runtime_dir: PathBuf,
    /// How long it waits for the first host before leases are asked for.
    pub wait_for_host: Duration,
    /// How it begins.
    pub start: Start,
    /// Whether nothing is under way, and nothing waits for a time to pass.
    pub idle: watch::Sender<bool>,
    /// Who answers probes.
    pub prober: Prober,
    /// Where k3s' configuration comes back with a confirmed network.
    pub k3s_paths: K3sPaths,
}

/// How the network stands when its keeping begins.
#[derive(Debug)]
pub enum Start {
    /// Nobody has kept it in this boot, or whoever did was killed.
    Anew,
    /// Who kept it before has ended for want of work, and has told this last.
    Resumed(Option<NetworkState>),
}

impl Keeping {
    /// Sets up what was confirmed if that is not done, tells the service manager that it is there, and
    /// goes on until the token is cancelled.
    pub async fn run(self) {
        let Self {
            mut requests,
            observations,
            cancel,
            state_dir,
            runtime_dir,
            wait_for_host,
            start,
            idle,
            prober,
            k3s_paths,
        } = self;
        let mut teller = Teller {
            observations,
            stands: false,
        };
        let mut keeper = Keeper::new(&state_dir, &runtime_dir, prober).await;
        let mut waits = match start {
            // What failed is tried once more.
            Start::Anew | Start::Resumed(Some(NetworkState::Failed { .. })) => {
                match keeper.begin().await {
                    Ok(Some(_)) => k3s::bring_back(&k3s_paths, &super::own_addresses().await),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(error = %describe(&error), "the confirmed network is not there");
                    }
                }
                teller.tell_news(&mut keeper).await;
                keeper.is_untouched()
            }
            Start::Resumed(told) => {
                // What it takes up has been told.
                drop(keeper.take_news());
                if let Some(state) = told {
                    teller.tell(state).await;
                }
                false
            }
        };
        // What is ordered behind it, k3s above all, finds the addresses that it was told.
        service_manager::ready();
        let mut fallback = pin!(tokio::time::sleep(wait_for_host));
        loop {
            let due = keeper.patience();
            let is_idle = due.is_none() && !waits;
            idle.send_if_modified(|idle| mem::replace(idle, is_idle) != is_idle);
            let elapsed = async {
                match due {
                    Some(left) => tokio::time::sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = cancel.cancelled() => return,
                request = requests.recv() => match request {
                    Some(request) => {
                        idle.send_replace(false);
                        teller.tell_begin(&request).await;
                        keeper.handle(request).await;
                        waits &= keeper.is_untouched();
                    }
                    None => return,
                },
                () = elapsed => keeper.tick().await,
                () = &mut fallback, if waits => {
                    waits = false;
                    teller.fall_back(&mut keeper, wait_for_host).await;
                }
            }
            teller.tell_news(&mut keeper).await;
        }
    }
}

struct Teller {
    observations: mpsc::Sender<Observation>,
    /// Whether the network is as a host asked.
    stands: bool,
}

impl Teller {
    async fn tell(&mut self, state: NetworkState) {
        self.stands = matches!(state, NetworkState::Applied { .. });
        let _ = self.observations.send(Observation::Network(state)).await;
    }

    async fn tell_begin(&mut self, request: &Request) {
        let changes = matches!(request, Request::Apply(..))
            || matches!(request, Request::Try(wanted, _) if !wanted.plan_only);
        // A host that comes back asks for what is there already; the ladder need not tremble.
        if changes && !self.stands {
            self.tell(NetworkState::Applying).await;
        }
    }

    async fn tell_news(&mut self, keeper: &mut Keeper) {
        for news in keeper.take_news() {
            let state = match news {
                News::Applied(summary) => {
                    tracing::info!(summary, "network applied");
                    NetworkState::Applied { summary }
                }
                News::Failed(error) => {
                    tracing::error!(error, "network not applied");
                    NetworkState::Failed { error }
                }
            };
            self.tell(state).await;
        }
    }

    async fn fall_back(&mut self, keeper: &mut Keeper, wait_for_host: Duration) {
        let seconds = wait_for_host.as_secs();
        match keeper.fall_back().await {
            Ok(true) => {
                let text = format!(
                    "no host has configured the network within {seconds} s: asking for leases by DHCP until one does"
                );
                tracing::warn!("{text}");
                service_manager::status(&text);
                self.tell(NetworkState::Fallback { detail: text }).await;
            }
            Ok(false) => tracing::info!("no host has configured the network yet"),
            Err(error) => {
                tracing::error!(error = %describe(&error), "no leases are asked for");
            }
        }
    }
}
