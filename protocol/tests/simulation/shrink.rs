//! A failure made short: operations are left out as long as the run still fails.

use std::time::{Duration, Instant};

use crate::{
    campaign::{Failure, outcome},
    scenario::Scenario,
};

/// How long a shorter list is looked for.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn shrink(scenario: &Scenario) -> (Scenario, Option<Failure>) {
    let mut shortest = scenario.clone();
    let mut failure = None;
    let started = Instant::now();
    let patient = || started.elapsed() < PATIENCE;
    let mut chunk = shortest.operations.len().div_ceil(2);
    while chunk > 0 && patient() {
        let mut at = 0;
        let mut shorter_by_this = false;
        while at < shortest.operations.len() && patient() {
            let mut shorter = shortest.clone();
            let end = (at + chunk).min(shorter.operations.len());
            shorter.operations.drain(at..end);
            match outcome(&shorter, false) {
                Err(same) => {
                    (shortest, failure) = (shorter, Some(same));
                    shorter_by_this = true;
                }
                Ok(_) => at += chunk,
            }
        }
        if !shorter_by_this || chunk > 1 {
            chunk /= 2;
        }
    }
    (shortest, failure)
}
