//! Ctrl-C, noticed at every pause, so that everything started is ended in the ordinary way.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{SignalKind, signal},
};

use crate::Failure;

/// Watches for SIGINT and SIGTERM. All measuring pauses here.
pub(crate) struct Interrupt {
    came: Arc<(Mutex<bool>, Condvar)>,
    runtime: Option<Runtime>,
}

impl Interrupt {
    /// Begins to watch.
    ///
    /// # Errors
    /// When the system gives no thread or no signal handler.
    pub(crate) fn watch() -> Result<Self, Failure> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(Failure::to("watch for signals"))?;
        let came = Arc::new((Mutex::new(false), Condvar::new()));
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let _inside = runtime.enter();
            let mut arrival = signal(kind).map_err(Failure::to("watch for signals"))?;
            let came = Arc::clone(&came);
            // Ended with the runtime, which this struct owns.
            runtime.spawn(async move {
                while arrival.recv().await.is_some() {
                    *came.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
                    came.1.notify_all();
                }
            });
        }
        Ok(Self {
            came,
            runtime: Some(runtime),
        })
    }

    /// Lets `duration` pass.
    ///
    /// # Errors
    /// `Interrupted` as soon as a signal came.
    pub(crate) fn pause(&self, duration: Duration) -> Result<(), Failure> {
        let (flag, changed) = &*self.came;
        let end = Instant::now() + duration;
        let mut came = flag.lock().unwrap_or_else(PoisonError::into_inner);
        while !*came {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            came = changed
                .wait_timeout(came, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        Err(Failure::Interrupted)
    }

    /// # Errors
    /// `Interrupted` once a signal came.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.pause(Duration::ZERO)
    }

    /// Looks again and again until `look` sees something; for what other programs do unannounced.
    ///
    /// # Errors
    /// `Interrupted`, or `Candidate` when the deadline is over.
    pub(crate) fn until<T>(
        &self,
        what: &str,
        deadline: Duration,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T, Failure> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(seen) = look() {
                return Ok(seen);
            }
            if Instant::now() >= end {
                return Err(Failure::Candidate(format!(
                    "waited {deadline:?} in vain until {what}"
                )));
            }
            self.pause(Duration::from_millis(10))?;
        }
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
