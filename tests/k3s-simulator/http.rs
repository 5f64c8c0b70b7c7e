//! The HTTPS listener: TLS with optional client certificates, authentication, bodies in and out.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName};
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::api::{self, Answer, World};
use crate::clock::Moment;
use crate::request::{Request, parse_query, unescape};
use crate::status::ApiError;
use crate::watch::Watch;

pub(crate) mod tls;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// What the real API server takes at most.
const BODY_BYTES_LIMIT: usize = 3 * 1024 * 1024;
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What every connection shares.
pub(crate) struct Shared {
    world: Mutex<World>,
    /// The store's version, for whoever waits for a change.
    version: watch::Sender<u64>,
    /// True when the server is going away.
    pub(crate) is_stopping: watch::Sender<bool>,
    started: Instant,
    server_ca_pem: String,
}

impl Shared {
    pub(crate) fn new(world: World, started: Instant, server_ca_pem: String) -> Self {
        let (version, _) = watch::channel(world.store.version());
        let (is_stopping, _) = watch::channel(false);
        Self {
            world: Mutex::new(world),
            version,
            is_stopping,
            started,
            server_ca_pem,
        }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment {
            uptime: self.started.elapsed(),
            wall: SystemTime::now(),
        }
    }

    /// Lets `act` change the world, and wakes the watchers if it did.
    pub(crate) fn with_world<T>(&self, act: impl FnOnce(&mut World, Moment) -> T) -> T {
        let now = self.now();
        let (result, version) = {
            let mut world = self.lock();
            let result = act(&mut world, now);
            (result, world.store.version())
        };
        self.version
            .send_if_modified(|known| std::mem::replace(known, version) != version);
        result
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    acceptor: TlsAcceptor,
    clients: Arc<tls::Clients>,
    stream: TcpStream,
) {
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await
    else {
        return;
    };
    let is_admin = clients.is_trusted(stream.get_ref().1.peer_certificates());
    let service = service_fn(|request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(answer(shared, request, is_admin).await) }
    });
    // Errors here are the client's: it went away or did not speak HTTP.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    shared: Arc<Shared>,
    request: hyper::Request<Incoming>,
    is_admin: bool,
) -> Response<Body> {
    match request.uri().path() {
        "/ping" => return raw(200, "text/plain", Bytes::from_static(b"pong")),
        "/cacerts" => return raw(200, "text/plain", Bytes::from(shared.server_ca_pem.clone())),
        _ => {}
    }
    if !is_admin {
        return respond(&shared, ApiError::unauthorized().into());
    }
    match read(request).await {
        Ok(request) => {
            let answer = shared.with_world(|world, now| api::handle(world, &request, now));
            respond(&shared, answer)
        }
        Err(error) => respond(&shared, error.into()),
    }
}

async fn read(request: hyper::Request<Incoming>) -> Result<Request, ApiError> {
    let (parts, body) = request.into_parts();
    let header = |name: &HeaderName| {
        let values = parts
            .headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok());
        values.collect::<Vec<_>>().join(",")
    };
    let collected = Limited::new(body, BODY_BYTES_LIMIT).collect().await;
    let body = collected.map_err(|error| {
        if error.is::<http_body_util::LengthLimitError>() {
            ApiError::body_too_large()
        } else {
            ApiError::bad_request("the body of the request broke off")
        }
    })?;
    Ok(Request {
        method: parts.method.as_str().to_owned(),
        path: unescape(parts.uri.path(), false),
        query: parse_query(parts.uri.query().unwrap_or_default()),
        accept: header(&ACCEPT),
        content_type: header(&CONTENT_TYPE),
        body: body.to_bytes().to_vec(),
    })
}

fn respond(shared: &Arc<Shared>, answer: Answer) -> Response<Body> {
    match answer {
        Answer::Json { code, body } => {
            let mut bytes = body.to_string().into_bytes();
            bytes.push(b'\n');
            raw(code, "application/json", bytes.into())
        }
        Answer::Raw {
            code,
            content_type,
            body,
        } => raw(code, content_type, body.into()),
        Answer::Watch(watch) => {
            let content_type = "application/json";
            with_headers(
                200,
                content_type,
                StreamBody::new(event_stream(shared.clone(), *watch)).boxed_unsync(),
            )
        }
    }
}

fn raw(code: u16, content_type: &'static str, body: Bytes) -> Response<Body> {
    with_headers(code, content_type, Full::new(body).boxed_unsync())
}

fn with_headers(code: u16, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static(content_type),
    );
    headers.insert(
        "cache-control",
        hyper::header::HeaderValue::from_static("no-cache, private"),
    );
    response
}

struct Stream {
    shared: Arc<Shared>,
    watch: Watch,
    changes: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    deadline: tokio::time::Instant,
    bookmark_at: tokio::time::Instant,
    is_over: bool,
}

/// The events of a watch as they happen. The reader's own pace is the only buffer.
fn event_stream(
    shared: Arc<Shared>,
    watch: Watch,
) -> impl futures::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
    let now = tokio::time::Instant::now();
    let stream = Stream {
        changes: shared.changes(),
        stopping: shared.is_stopping.subscribe(),
        deadline: now + watch.timeout,
        bookmark_at: now + BOOKMARK_INTERVAL,
        is_over: false,
        shared,
        watch,
    };
    futures::stream::unfold(stream, |mut stream| async move {
        let bytes = stream.next().await?;
        Some((Ok(Frame::data(Bytes::from(bytes))), stream))
    })
}

impl Stream {
    async fn next(&mut self) -> Option<Vec<u8>> {
        while !self.is_over {
            self.changes.borrow_and_update();
            let now = self.shared.now();
            let events = self.watch.poll(&self.shared.lock().store, now);
            self.is_over = events.ends;
            if !events.lines.is_empty() {
                return Some(events.lines);
            }
            tokio::select! {
                changed = self.changes.changed() => self.is_over |= changed.is_err(),
                _ = self.stopping.wait_for(|stopping| *stopping) => self.is_over = true,
                () = tokio::time::sleep_until(self.deadline) => {
                    self.is_over = true;
                    return Some(self.watch.bookmark()).filter(|line| !line.is_empty());
                }
                () = tokio::time::sleep_until(self.bookmark_at) => {
                    self.bookmark_at += BOOKMARK_INTERVAL;
                    let line = self.watch.bookmark();
                    if !line.is_empty() {
                        return Some(line);
                    }
                }
            }
        }
        None
    }
}
