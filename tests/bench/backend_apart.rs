//! A backend in a process of its own, for more connections than one process has descriptors for.

use tokio::runtime::Builder;

use crate::{
    Failure,
    load::Backend,
    tunnel::{answer, order, until_ended},
};

/// Answers with its address.
///
/// # Errors
/// When it cannot listen.
pub(crate) fn run() -> Result<(), Failure> {
    let ((), ended) = order()?;
    let backend = Backend::start()?;
    answer(&backend.address().to_string())?;
    // It serves on its own threads until its starter is gone.
    until_ended(Builder::new_current_thread(), ended, std::future::pending())
}
