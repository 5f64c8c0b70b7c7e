//! Follows the cluster's credentials and keeps its kubeconfig.

use std::{sync::Arc, time::SystemTime};

use lkc_protocol::{
    link::{RequestError, StreamError},
    message::{Kubeconfig, KubeconfigValues},
};
use tokio::time::timeout;

use super::{
    guest_link::LinkSlot,
    guest_tasks::{self, BEGIN_DEADLINE},
    machine_tasks::chain,
    reporter::Reporter,
    state::Report,
};
use crate::{config::ClusterSpec, kubeconfig::Entry, paths::Paths};

/// Writes the kubeconfig whenever the credentials come or change, to the end of the link.
pub(super) async fn follow(
    paths: Paths,
    links: LinkSlot,
    link: u64,
    spec: Arc<ClusterSpec>,
    reporter: Reporter,
) {
    let Some(current) = guest_tasks::current(&links, link) else {
        return;
    };
    let why = match timeout(BEGIN_DEADLINE, current.request(&Kubeconfig {})).await {
        Ok(Ok((_, mut stream))) => loop {
            match stream.receive::<KubeconfigValues>().await {
                Ok(Some(values)) => reporter.send(keep(&paths, &spec, &values)).await,
                Ok(None) => break "the guest sends no more credentials".to_owned(),
                Err(StreamError::LinkDown) => return,
                Err(error) => break format!("the guest's credentials cannot be read: {error}"),
            }
        },
        Ok(Err(RequestError::LinkDown)) => return,
        Ok(Err(error)) => format!("the guest gives no credentials: {error}"),
        Err(_) => "the guest does not answer the request for credentials".to_owned(),
    };
    reporter.send(Report::KubeconfigFailed(why)).await;
}

fn keep(paths: &Paths, spec: &ClusterSpec, values: &KubeconfigValues) -> Report {
    let Some(port) = spec.api_port() else {
        let why = "no forward named api leads to the cluster's API";
        return Report::KubeconfigFailed(why.to_owned());
    };
    let entry = match Entry::build(&spec.name, port, values, SystemTime::now()) {
        Ok(entry) => entry,
        Err(error) => return Report::KubeconfigFailed(chain(&error)),
    };
    for warning in entry.warnings() {
        tracing::warn!(cluster = %spec.name, "kubeconfig: {warning}");
    }
    let path = paths.cluster(&spec.name).kubeconfig();
    match entry.write(&path) {
        Ok(written) => {
            tracing::info!(cluster = %spec.name, written, "kubeconfig is current");
            let identity = Arc::new(entry.identity().clone());
            Report::KubeconfigWritten { path, identity }
        }
        Err(error) => Report::KubeconfigFailed(chain(&error)),
    }
}
