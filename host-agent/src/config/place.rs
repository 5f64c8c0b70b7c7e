//! Where a value was said, so that an error can point at it.

use std::ops::Range;

/// Where a value was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// In the file, at these bytes.
    File(Range<usize>),
    /// By this flag: `--address`.
    Flag(&'static str),
    /// Nowhere: it is a default.
    Default,
}

/// A value and where it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl<T> Placed<T> {
    pub(super) const fn new(value: T, place: Place) -> Self {
        Self { value, place }
    }

    pub(super) fn map<U>(self, convert: impl FnOnce(T) -> U) -> Placed<U> {
        Placed {
            value: convert(self.value),
            place: self.place,
        }
    }
}

/// The place of the first that was said, else of `fallback`.
pub(super) fn place_of<T>(said: Option<&Placed<T>>, fallback: &Place) -> Place {
    said.map_or(fallback, |placed| &placed.place).clone()
}
