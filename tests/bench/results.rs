//! What was measured.

use serde::Serialize;

use crate::{machine::Machine, measurement::Figures, statistics::Spread};

/// A whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    pub(crate) quick: bool,
    pub(crate) seed: u64,
    pub(crate) rounds: u32,
    pub(crate) candidates: Vec<Measured>,
}

/// A candidate's figures, those of each round apart.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Why there are no figures.
    pub(crate) not_measured: Option<String>,
    pub(crate) rounds: Vec<Figures>,
    /// What went wrong in which round.
    pub(crate) failures: Vec<String>,
    /// The TCP behaviours that an end can tell from those of a direct connection.
    pub(crate) told: Vec<String>,
}

impl Results {
    /// A figure over the rounds.
    pub(crate) fn spread(&self, name: &str, figure: &str) -> Option<Spread> {
        self.spread_of(name, |figures| figures.get(figure).copied())
    }

    /// A value made of a round's figures, over the rounds.
    pub(crate) fn spread_of(
        &self,
        name: &str,
        value: impl Fn(&Figures) -> Option<f64>,
    ) -> Option<Spread> {
        let rounds = self.rounds_of(name)?;
        Spread::of(&rounds.iter().filter_map(value).collect::<Vec<_>>())
    }

    /// A value against the same of `reference` in the same round, over the rounds.
    pub(crate) fn ratio(
        &self,
        name: &str,
        reference: &str,
        value: impl Fn(&Figures) -> Option<f64>,
    ) -> Option<Spread> {
        let pairs = self.rounds_of(name)?.iter().zip(self.rounds_of(reference)?);
        let ratios = pairs.filter_map(|(ours, theirs)| Some(value(ours)? / value(theirs)?));
        Spread::of(&ratios.filter(|ratio| ratio.is_finite()).collect::<Vec<_>>())
    }

    fn rounds_of(&self, name: &str) -> Option<&[Figures]> {
        let measured = self
            .candidates
            .iter()
            .find(|measured| measured.name == name);
        measured.map(|measured| measured.rounds.as_slice())
    }
}

/// The sum of some figures of a round; none if one is missing.
pub(crate) fn sum(figures: &Figures, names: &[&str]) -> Option<f64> {
    names.iter().map(|&name| figures.get(name).copied()).sum()
}
