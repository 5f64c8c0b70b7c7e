//! GET: one object, a list, a watch.

use std::time::Duration;

use serde_json::json;

use super::{Answer, World, namespace_of};
use crate::clock::Moment;
use crate::request::{Form, Request, Target};
use crate::resources::Resource;
use crate::selector::Selector;
use crate::status::ApiError;
use crate::store::Key;
use crate::table;
use crate::watch::{Start, Watch};

/// How long a watch lasts whose reader does not say.
const WATCH_TIMEOUT: Duration = Duration::from_secs(30 * 60);
const WATCH_TIMEOUT_LIMIT: u64 = 24 * 3600;

pub(super) fn one(
    world: &World,
    resource: &Resource,
    target: &Target<'_>,
    name: &str,
    form: &Form,
    now: Moment,
) -> Result<Answer, ApiError> {
    let key = Key::new(&resource.id(), namespace_of(resource, target), name);
    let object = world
        .store
        .object(&key)
        .ok_or_else(|| ApiError::not_found(resource, name))?;
    Ok(Answer::ok(table::shown(resource, form, object, now)))
}

pub(super) fn list(
    world: &World,
    request: &Request,
    resource: &Resource,
    target: &Target<'_>,
    form: &Form,
    now: Moment,
) -> Result<Answer, ApiError> {
    let asked = asked_version(request)?;
    let current = world.store.version();
    if asked > current {
        return Err(ApiError::future_version(asked, current));
    }
    if request.parameter("resourceVersionMatch") == Some("Exact") && asked != current {
        return Err(ApiError::expired(asked, current));
    }
    let selector = selector(request)?;
    let id = resource.id();
    let objects = world
        .store
        .list(&id, target.namespace)
        .map(|(_, object)| object);
    let objects: Vec<_> = objects
        .filter(|object| selector.matches(object))
        .cloned()
        .collect();
    Ok(Answer::ok(table::list(
        resource,
        form,
        &objects,
        &current.to_string(),
        now,
    )))
}

pub(super) fn watch(
    world: &World,
    request: &Request,
    resource: &Resource,
    target: &Target<'_>,
    form: Form,
) -> Result<Answer, ApiError> {
    let mut selector = selector(request)?;
    if let Some(name) = target.name {
        selector = Selector::parse("", &format!("metadata.name={name}"))
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
    }
    let wants_bookmarks =
        request.flag("allowWatchBookmarks") && request.parameter("allowWatchBookmarks").is_some();
    let sends_initial = request.parameter("sendInitialEvents") == Some("true");
    if request.parameter("sendInitialEvents").is_some()
        && request.parameter("resourceVersionMatch") != Some("NotOlderThan")
    {
        return Err(ApiError::bad_request(
            "sendInitialEvents requires resourceVersionMatch=NotOlderThan",
        ));
    }
    let asked = asked_version(request)?;
    let current = world.store.version();
    if sends_initial && asked > current {
        return Err(ApiError::future_version(asked, current));
    }
    let from_state =
        sends_initial || (asked == 0 && request.parameter("sendInitialEvents").is_none());
    let start = from_state.then(|| {
        let id = resource.id();
        let objects = world
            .store
            .list(&id, target.namespace)
            .map(|(_, object)| object);
        Start {
            objects: objects
                .filter(|object| selector.matches(object))
                .cloned()
                .collect(),
            marks_end: sends_initial && wants_bookmarks,
        }
    });
    let timeout = match request.parameter("timeoutSeconds") {
        None => WATCH_TIMEOUT,
        Some(text) => {
            let seconds: u64 = text.parse().map_err(|_| {
                ApiError::bad_request(format!("timeoutSeconds {text:?} is no number"))
            })?;
            if seconds == 0 {
                WATCH_TIMEOUT
            } else {
                Duration::from_secs(seconds.min(WATCH_TIMEOUT_LIMIT))
            }
        }
    };
    Ok(Answer::Watch(Box::new(Watch {
        resource: resource.clone(),
        namespace: target.namespace.map(str::to_owned),
        selector,
        form,
        wants_bookmarks,
        timeout,
        seen: if from_state || asked == 0 {
            current
        } else {
            asked
        },
        start,
    })))
}

/// 0 when any version will do.
fn asked_version(request: &Request) -> Result<u64, ApiError> {
    match request.parameter("resourceVersion") {
        None | Some("") => Ok(0),
        Some(text) => text.parse().map_err(|_| {
            let error = json!({"resourceVersion": text}).to_string();
            ApiError::bad_request(format!("invalid resource version: {error}"))
        }),
    }
}

pub(super) fn selector(request: &Request) -> Result<Selector, ApiError> {
    let text = |name| request.parameter(name).unwrap_or_default();
    Selector::parse(text("labelSelector"), text("fieldSelector"))
        .map_err(|error| ApiError::bad_request(error.to_string()))
}
