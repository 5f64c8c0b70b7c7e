//! The API server without its sockets: a request and the world in, an answer out.

use serde_json::{Value, json};

use crate::clock::Moment;
use crate::discovery;
use crate::ids::Ids;
use crate::openapi;
use crate::request::{Form, Request, Target};
use crate::resources::{self, Resource};
use crate::status::ApiError;
use crate::store::Store;
use crate::version;
use crate::watch::Watch;

mod read;
mod write;

/// What requests act on.
pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) ids: Ids,
    /// Whether `/readyz` says ok.
    pub(crate) is_ready: bool,
    /// `10.43.0.0/16` has the prefix `10.43`: where service addresses are taken from.
    pub(crate) service_prefix: String,
}

pub(crate) enum Answer {
    Json {
        code: u16,
        body: Value,
    },
    Raw {
        code: u16,
        content_type: &'static str,
        body: Vec<u8>,
    },
    Watch(Box<Watch>),
}

impl Answer {
    fn ok(body: Value) -> Self {
        Self::Json { code: 200, body }
    }

    fn text(code: u16, body: impl Into<String>) -> Self {
        Self::Raw {
            code,
            content_type: "text/plain; charset=utf-8",
            body: body.into().into_bytes(),
        }
    }
}

impl From<ApiError> for Answer {
    fn from(error: ApiError) -> Self {
        Self::Json {
            code: error.code,
            body: error.body(),
        }
    }
}

/// Answers an authenticated request.
pub(crate) fn handle(world: &mut World, request: &Request, now: Moment) -> Answer {
    route(world, request, now).unwrap_or_else(Answer::from)
}

fn route(world: &mut World, request: &Request, now: Moment) -> Result<Answer, ApiError> {
    let path = request.path.trim_end_matches('/');
    if let Some(answer) = well_known(world, request, path) {
        return Ok(answer);
    }
    let target = Target::parse(path).ok_or_else(ApiError::no_such_path)?;
    if let Some(answer) = review(request, &target)? {
        return Ok(answer);
    }
    let resource = resources::find(&world.store, target.group, target.version, target.plural)
        .filter(|resource| resource.namespaced || target.namespace.is_none())
        .ok_or_else(ApiError::no_such_path)?;
    if let Some(subresource) = target.subresource {
        if !resource.has(subresource) {
            return Err(ApiError::no_such_path());
        }
        return write::subresource(world, request, &resource, &target, subresource, now);
    }
    match (request.method.as_str(), target.name) {
        ("GET", name) => {
            let form = Form::of(request)?;
            let is_watch = request.parameter("watch").is_some() && request.flag("watch");
            match name {
                _ if is_watch => read::watch(world, request, &resource, &target, form),
                Some(name) => read::one(world, &resource, &target, name, &form, now),
                None => read::list(world, request, &resource, &target, &form, now),
            }
        }
        ("POST", None) => write::create(world, request, &resource, &target, now),
        ("PUT", Some(name)) => write::replace(world, request, &resource, &target, name, now),
        ("PATCH", Some(name)) => write::patch(world, request, &resource, &target, name, now),
        ("DELETE", Some(name)) => write::delete(world, request, &resource, &target, name, now),
        ("DELETE", None) => write::delete_collection(world, request, &resource, &target, now),
        _ => Err(ApiError::method_not_allowed()),
    }
}

fn well_known(world: &World, request: &Request, path: &str) -> Option<Answer> {
    let resources = || resources::all(&world.store);
    let answer = match path {
        "/readyz" | "/healthz" | "/livez" => health(
            world.is_ready || path == "/livez",
            path,
            request.parameter("verbose").is_some(),
        ),
        "/version" => Answer::ok(version::info()),
        "" => Answer::ok(
            json!({"paths": ["/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]}),
        ),
        "/api" | "/apis" => match discovery::aggregated_version(&request.accept) {
            Some(version) => Answer::Raw {
                code: 200,
                content_type: discovery::content_type(version),
                body: discovery::aggregated(&resources(), path == "/api", version)
                    .to_string()
                    .into_bytes(),
            },
            None if path == "/api" => Answer::ok(discovery::core_versions()),
            None => Answer::ok(discovery::groups(&resources())),
        },
        "/openapi/v2" => {
            let (content_type, body) = openapi::v2(&request.accept);
            Answer::Raw {
                code: 200,
                content_type,
                body,
            }
        }
        "/openapi/v3" => Answer::ok(openapi::v3_index(&resources())),
        _ => {
            if let Some(group_version) = path.strip_prefix("/openapi/v3/") {
                return openapi::v3(&resources(), group_version).map(Answer::ok);
            }
            let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
            let document = match parts.as_slice() {
                ["api", version] => discovery::resource_list(&resources(), "", version),
                ["apis", group] => discovery::group(&resources(), group),
                ["apis", group, version] => discovery::resource_list(&resources(), group, version),
                _ => return None,
            };
            return Some(document.map_or_else(|| ApiError::no_such_path().into(), Answer::ok));
        }
    };
    Some(answer)
}

fn health(is_ok: bool, path: &str, verbose: bool) -> Answer {
    let name = path.trim_start_matches('/');
    let mut checks = String::from("[+]ping ok\n[+]log ok\n[+]etcd ok\n");
    checks.push_str(if is_ok {
        "[+]informer-sync ok\n"
    } else {
        "[-]informer-sync failed: reason withheld\n"
    });
    checks.push_str("[+]poststarthook/start-apiextensions-controllers ok\n[+]poststarthook/rbac/bootstrap-roles ok\n");
    match (is_ok, verbose) {
        (true, false) => Answer::text(200, "ok"),
        (true, true) => Answer::text(200, format!("{checks}{name} check passed\n")),
        (false, _) => Answer::text(500, format!("{checks}{name} check failed\n")),
    }
}

/// Access reviews: whoever is authenticated here is the admin.
fn review(request: &Request, target: &Target<'_>) -> Result<Option<Answer>, ApiError> {
    if target.group != "authorization.k8s.io" || target.version != "v1" {
        return Ok(None);
    }
    if request.method != "POST" {
        return Err(ApiError::method_not_allowed());
    }
    let mut body = write::body(request)?;
    crate::object::set(&mut body, &["status"], json!({"allowed": true}));
    Ok(Some(Answer::Json { code: 201, body }))
}

/// The namespace that objects of this request are kept under.
fn namespace_of<'a>(resource: &Resource, target: &Target<'a>) -> &'a str {
    if resource.namespaced {
        target.namespace.unwrap_or("")
    } else {
        ""
    }
}

#[cfg(test)]
mod tests;
