//! What the agent watches for a steward that rests: that something has happened which only root can
//! look into.

use std::{io, path::PathBuf};

use crate::{k3s::Pidfd, observe::FileWatch, readiness::K3sState};

/// Rings when k3s' process ends or its kubeconfig is written.
pub(super) struct Alarm {
    kubeconfig: FileWatch,
    k3s: Option<Pidfd>,
    is_broken: bool,
}

impl Alarm {
    /// Watches a kubeconfig that it need not be able to read.
    ///
    /// # Errors
    /// When the system gives no watch, as in a directory that only root may list.
    pub(super) fn new(kubeconfig: PathBuf) -> io::Result<Self> {
        Ok(Self {
            kubeconfig: FileWatch::new(kubeconfig)?,
            k3s: None,
            is_broken: false,
        })
    }

    /// Watches the process of a k3s that stands so now.
    pub(super) fn follow(&mut self, state: &K3sState) {
        self.k3s = match state {
            K3sState::Running { pid, .. } => Pidfd::open(*pid).ok().flatten(),
            _ => None,
        };
    }

    /// Whether it would ring, whatever happens. A k3s that does not run may start any time, and only
    /// systemd can tell.
    pub(super) const fn is_set(&self) -> bool {
        self.k3s.is_some() && !self.is_broken
    }

    /// Waits until something has happened since the last call. There are false alarms. Cancel safe.
    pub(super) async fn rings(&mut self) {
        let ended = async {
            match &self.k3s {
                Some(process) => process.ended().await,
                None => std::future::pending().await,
            }
        };
        let changed = async {
            if self.is_broken {
                std::future::pending().await
            } else {
                self.kubeconfig.changed().await
            }
        };
        tokio::select! {
            _ = ended => self.k3s = None,
            changed = changed => if let Err(error) = changed {
                tracing::debug!(%error, "the kubeconfig of k3s is not watched any more");
                self.is_broken = true;
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Command, Stdio},
        time::Duration,
    };

    use tokio::time::timeout;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    fn running(pid: u32) -> K3sState {
        K3sState::Running {
            pid,
            version: String::new(),
            simulated: false,
            restarts: 0,
        }
    }

    #[tokio::test]
    async fn it_rings_for_an_end_once_and_for_every_change() {
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = directory.path().join("rancher/k3s.yaml");
        let mut alarm = Alarm::new(kubeconfig.clone()).unwrap();
        // The watch's own, of its beginning.
        timeout(DEADLINE, alarm.rings()).await.unwrap();
        assert!(!alarm.is_set());

        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        alarm.follow(&running(child.id()));
        assert!(alarm.is_set());
        let quiet = timeout(Duration::ZERO, alarm.rings()).await;
        assert!(quiet.is_err());
        child.kill().unwrap();
        child.wait().unwrap();
        timeout(DEADLINE, alarm.rings()).await.unwrap();
        assert!(!alarm.is_set());
        let quiet = timeout(Duration::ZERO, alarm.rings()).await;
        assert!(quiet.is_err(), "it has rung for that");
        alarm.follow(&running(child.id()));
        assert!(!alarm.is_set(), "nobody has that pid");

        std::fs::create_dir(kubeconfig.parent().unwrap()).unwrap();
        timeout(DEADLINE, alarm.rings()).await.unwrap();
        std::fs::write(&kubeconfig, "").unwrap();
        timeout(DEADLINE, alarm.rings()).await.unwrap();
    }
}
