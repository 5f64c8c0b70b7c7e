//! What the probes of the API's forward have found, and what that means.

use std::sync::Arc;

use super::{ApiCheck, Probed};
use crate::{control::ProbeStatus, error::Kind, kubeconfig::ServerIdentity};

/// Probes in a row that have to find something else than the cluster before that is believed: while
/// k3s takes new certificates, one may see the old and the new mixed.
const BELIEVED_AFTER: u32 = 2;

/// The probing of a cluster's API, or that there is none.
#[derive(Debug, Default)]
pub(super) struct Probes {
    /// Probings begun; the number of the current one.
    number: u64,
    /// What has to answer, once known.
    identity: Option<Arc<ServerIdentity>>,
    verified: bool,
    /// Failures since the last success.
    in_a_row: u32,
    last: Option<Probed>,
}

impl Probes {
    /// What is recognised from now on.
    pub(super) fn recognise(&mut self, identity: Arc<ServerIdentity>) {
        self.identity = Some(identity);
    }

    /// Begins a new probing, if it is known what has to answer. What was found before is shown
    /// until the first probe, but counts no longer.
    pub(super) fn begin(&mut self) -> Option<(u64, Arc<ServerIdentity>)> {
        let identity = Arc::clone(self.identity.as_ref()?);
        self.number += 1;
        self.verified = false;
        self.in_a_row = 0;
        Some((self.number, identity))
    }

    /// Knows no longer what has to answer. Whether it did.
    pub(super) fn forget(&mut self) -> bool {
        self.number += 1;
        self.verified = false;
        self.in_a_row = 0;
        self.identity.take().is_some()
    }

    pub(super) fn note(&mut self, number: u64, probed: Probed) {
        if number != self.number {
            return;
        }
        if probed.status.ok {
            self.verified = true;
            self.in_a_row = 0;
        } else {
            self.in_a_row = self.in_a_row.saturating_add(1);
        }
        self.last = Some(probed);
    }

    /// Whether the last probe failed.
    pub(super) const fn is_failing(&self) -> bool {
        self.in_a_row > 0
    }

    /// Somebody wants to know anew: what was found to be something else has to be found again.
    /// Whether the last probe failed.
    pub(super) fn doubt(&mut self) -> bool {
        if matches!(self.check(), ApiCheck::Failed(_)) {
            self.verified = false;
        }
        std::mem::take(&mut self.in_a_row) > 0
    }

    pub(super) fn status(&self) -> Option<&ProbeStatus> {
        self.last.as_ref().map(|probed| &probed.status)
    }

    /// What a forward that listens means, with credentials that have or have not come.
    pub(super) fn check(&self) -> ApiCheck {
        let failure = self.last.as_ref().and_then(|last| last.failure.as_ref());
        match failure {
            Some(failure)
                if self.in_a_row >= BELIEVED_AFTER
                    && matches!(failure.kind, Kind::Conflict | Kind::Authentication) =>
            {
                ApiCheck::Failed(failure.clone())
            }
            _ if self.verified => ApiCheck::Verified,
            _ if self.in_a_row > 0 => {
                ApiCheck::Awaited(self.status().map(|status| status.detail.clone()))
            }
            _ => ApiCheck::Awaited(None),
        }
    }
}
