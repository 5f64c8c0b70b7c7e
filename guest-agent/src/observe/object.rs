//! Waits for objects of any kind: that they exist, and that they are what their kind calls ready.
//!
//! Nothing needs to exist when the wait begins: not the API, not the kind, not the object.

mod condition;
mod request;
mod resource;

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures::{FutureExt as _, Stream, StreamExt as _, stream};
use kube::core::DynamicObject;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use lkc_protocol::message::{ObjectStatus, WatchObject};
use tokio::sync::{mpsc, watch};

use super::api::{ClientState, WATCH_SECONDS, request_problem, watch_problem};
use super::backoff::Backoff;
use condition::Verdict;
use request::Request;
use resource::Resource;

pub use request::WatchObjectError;

/// Statuses that wait for a slow reader.
const QUEUE: usize = 8;

/// Names that a detail lists of those that are waited for.
const MAX_NAMES: usize = 3;

/// How long one request for the kinds of a group may take.
const DISCOVERY_DEADLINE: Duration = Duration::from_secs(5);

/// Where the objects stand, now and with every change, until the stream is dropped. While the API
/// is away the status says so and is not satisfied.
///
/// # Errors
/// A request that no API could answer ends the stream.
pub fn watch_object(
    clients: watch::Receiver<ClientState>,
    request: WatchObject,
) -> impl Stream<Item = Result<ObjectStatus, WatchObjectError>> + Send {
    let (statuses, receiver) = mpsc::channel(QUEUE);
    let driver = async move {
        let request = Request::new(request)?;
        Err(Driver {
            request,
            clients,
            statuses: Statuses {
                sender: statuses,
                last: None,
            },
        }
        .run()
        .await)
    };
    let received = stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|status| (Ok(status), receiver))
    });
    let failed = driver
        .into_stream()
        .map(|result: Result<(), WatchObjectError>| result.err());
    let failed = failed.filter_map(|error| async { error.map(Err) });
    stream::select(received, failed)
}

struct Driver {
    request: Request,
    clients: watch::Receiver<ClientState>,
    statuses: Statuses,
}

/// Passes statuses on that differ from the last.
struct Statuses {
    sender: mpsc::Sender<ObjectStatus>,
    last: Option<ObjectStatus>,
}

impl Statuses {
    async fn tell(&mut self, satisfied: bool, detail: &str) {
        let detail = crate::readiness::one_line(detail);
        let status = ObjectStatus { satisfied, detail };
        if self.last.as_ref() != Some(&status) {
            self.last = Some(status.clone());
            let _ = self.sender.send(status).await;
        }
    }
}

/// Why a watch is to be begun again.
enum Broken {
    /// The kind is gone; it may come back.
    NoKind,
    /// The API did not answer as it should.
    Api(String),
    /// The API says that nobody can have what was asked for.
    Refused(WatchObjectError),
}

impl Driver {
    async fn run(mut self) -> WatchObjectError {
        loop {
            let client = self.clients.borrow_and_update().clone();
            let mut clients = self.clients.clone();
            tokio::select! {
                changed = clients.changed() => if changed.is_err() {
                    return WatchObjectError::Stopping;
                },
                error = self.follow(client) => return error,
            }
        }
    }

    /// Follows the objects with one client, until something is wrong for good.
    async fn follow(&mut self, client: ClientState) -> WatchObjectError {
        let Some(client) = client else {
            self.statuses.tell(false, "the API is not ready").await;
            return std::future::pending().await;
        };
        let mut pause = Backoff::new();
        loop {
            // A kind appears in discovery some time after its definition is established, and
            // discovery has no watch: it is asked again, at most once a second.
            let broken = match resource::resolve(&client, &self.request).await {
                Ok(Some(resource)) => {
                    pause.reset();
                    self.watch(&client, &resource).await
                }
                Ok(None) => Broken::NoKind,
                Err(error) => Broken::Api(request_problem(&error)),
            };
            match broken {
                Broken::NoKind => {
                    let detail = format!("no kind {} yet", self.request.resource);
                    self.statuses.tell(false, &detail).await;
                }
                Broken::Api(problem) => self.statuses.tell(false, &problem).await,
                Broken::Refused(error) => return error,
            }
            tokio::time::sleep(pause.next()).await;
        }
    }

    async fn watch(&mut self, client: &Client, resource: &Resource) -> Broken {
        let api = self.api(client, resource);
        let mut config = watcher::Config::default().timeout(WATCH_SECONDS);
        if let Some(name) = &self.request.name {
            config = config.fields(&format!("metadata.name={name}"));
        }
        if let Some(selector) = &self.request.selector {
            config = config.labels(selector);
        }
        let mut events = pin!(watcher(api, config));
        let mut objects: BTreeMap<String, Verdict> = BTreeMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => {
                    objects.clear();
                    continue;
                }
                Ok(Event::InitApply(object)) => {
                    objects.insert(object_name(&object), self.judge(resource, &object));
                    continue;
                }
                Ok(Event::InitDone) => {}
                Ok(Event::Apply(object)) => {
                    objects.insert(object_name(&object), self.judge(resource, &object));
                }
                Ok(Event::Delete(object)) => _ = objects.remove(&object_name(&object)),
                Err(error) => match broken(&error) {
                    Some(broken) => return broken,
                    None => continue,
                },
            }
            let (satisfied, detail) = summarize(&self.request, resource, &objects);
            self.statuses.tell(satisfied, &detail).await;
        }
        Broken::Api("the watch ended".to_owned())
    }

    fn api(&self, client: &Client, resource: &Resource) -> Api<DynamicObject> {
        if resource.namespaced {
            Api::namespaced_with(client.clone(), self.request.namespace(), &resource.kind)
        } else {
            Api::all_with(client.clone(), &resource.kind)
        }
    }

    fn judge(&self, resource: &Resource, object: &DynamicObject) -> Verdict {
        condition::judge(&resource.kind, object, self.request.condition.as_deref())
    }
}

/// None when the watcher goes on by itself.
fn broken(error: &watcher::Error) -> Option<Broken> {
    let problem = watch_problem(error);
    let code = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status)) => status.code,
        watcher::Error::WatchError(status) => status.code,
        _ => 0,
    };
    Some(match code {
        404 => Broken::NoKind,
        410 => return None,
        400 | 403 | 405 | 422 => Broken::Refused(WatchObjectError::Refused { problem }),
        _ => Broken::Api(problem),
    })
}

fn object_name(object: &DynamicObject) -> String {
    match object.namespace() {
        Some(namespace) => format!("{namespace}/{}", object.name_any()),
        None => object.name_any(),
    }
}

/// Whether all objects are what was asked for, and a line about them.
fn summarize(
    request: &Request,
    resource: &Resource,
    objects: &BTreeMap<String, Verdict>,
) -> (bool, String) {
    let kind = &resource.singular;
    let waiting: Vec<_> = objects.iter().filter(|(_, verdict)| !verdict.met).collect();
    match (objects.len(), waiting.as_slice()) {
        (0, _) => (false, format!("no {} yet", request.what(resource))),
        (1, _) => {
            let lines = objects
                .iter()
                .map(|(name, verdict)| format!("{kind} {name}: {}", verdict.detail));
            (waiting.is_empty(), lines.collect())
        }
        (all, []) => (true, format!("{}: {all} of {all}", request.what(resource))),
        (all, waiting) => {
            let met = all - waiting.len();
            let shown = waiting
                .iter()
                .take(MAX_NAMES)
                .map(|(name, verdict)| format!("{name} ({})", verdict.detail));
            let shown = shown.collect::<Vec<_>>().join(", ");
            let more = match waiting.len().saturating_sub(MAX_NAMES) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            (
                false,
                format!(
                    "{}: {met} of {all}, waiting for {shown}{more}",
                    request.what(resource)
                ),
            )
        }
    }
}
