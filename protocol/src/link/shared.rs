//! What the handles and the driver of a link share, and the handles that are not streams.

use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::Instant,
};

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::watch;

use super::{Driver, LinkEnd, Stream};
use crate::{
    codec::{self, DecodeError, RawMessage},
    enrolment::Binding,
    error::{GoAwayCode, Refusal, RefusalCode, ResetCode},
    frame::StreamId,
    handshake::{Established, HandoverProofs},
    hello::{Hello, Role},
    identity::PublicKey,
    message::{AnyRequest, Request},
    session::{Event, Limits, OpenError, Session},
    version,
};

/// One end of an authenticated link. Clones are the same link.
#[derive(Debug, Clone)]
pub struct Link {
    shared: Arc<Shared>,
    peer: Arc<Hello>,
    peer_key: PublicKey,
    encrypted: bool,
    binding: Binding,
    handover: Option<HandoverProofs>,
    end: watch::Receiver<Option<LinkEnd>>,
}

/// Why a request got no answer.
#[derive(Debug, Error)]
pub enum RequestError {
    /// The other end refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The link is down.
    #[error("the link is down")]
    LinkDown,
    /// The other end allows no more streams at once.
    #[error("the link has as many streams open as the other end allows")]
    TooManyStreams,
    /// The answer is not what the request leads to.
    #[error("the answer cannot be read")]
    Answer(#[from] DecodeError),
}

impl Link {
    /// What the other end said about itself.
    #[must_use]
    pub fn peer(&self) -> &Hello {
        &self.peer
    }

    /// The key that the other end proved.
    #[must_use]
    pub const fn peer_key(&self) -> PublicKey {
        self.peer_key
    }

    /// Whether bytes stay encrypted after the handshake.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// What only the two ends of this link know, and no two links have in common.
    #[must_use]
    pub const fn binding(&self) -> &Binding {
        &self.binding
    }

    /// What the ends prove themselves with where sockets are handed over; none on a link that stays
    /// encrypted, or whose peer does not know of it.
    pub(crate) fn handover_proofs(&self) -> Option<HandoverProofs> {
        let known = self.peer.capability >= version::FORWARDS;
        self.handover.filter(|_| known)
    }

    /// Opens a stream and waits for the answer to its request. Dropping the future resets the stream.
    ///
    /// # Errors
    /// See [`RequestError`]. The answer's deadline is the caller's.
    pub async fn request<R: Request>(
        &self,
        request: &R,
    ) -> Result<(R::Answer, Stream), RequestError> {
        let id = self.shared.with(|inner| {
            inner.session.open(&codec::encode(request)).inspect(|&id| {
                inner.answers.insert(id, Answer::Pending(None));
            })
        });
        let id = id.map_err(|error| match error {
            OpenError::TooManyStreams => RequestError::TooManyStreams,
            OpenError::Closed => RequestError::LinkDown,
        })?;
        let stream = Stream::new(Arc::clone(&self.shared), id);
        let answer = poll_fn(|context| {
            let mut inner = self.shared.lock();
            match inner.answers.get_mut(&id) {
                Some(Answer::Pending(waker)) => {
                    *waker = Some(context.waker().clone());
                    Poll::Pending
                }
                _ => Poll::Ready(inner.answers.remove(&id)),
            }
        });
        match answer.await {
            Some(Answer::Accepted(bytes)) => Ok((codec::decode(&bytes)?, stream)),
            Some(Answer::Refused(refusal)) => Err(RequestError::Refused(refusal)),
            Some(Answer::Pending(_)) | None => Err(RequestError::LinkDown),
        }
    }

    /// Ends the link: the other end is told, the driver stops.
    pub fn close(&self) {
        self.shared
            .with(|inner| inner.session.close(GoAwayCode::Closing, ""));
    }

    /// Whether the link has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.lock().session.is_ended()
    }

    /// Waits for the link's end and says what it was.
    pub async fn closed(&self) -> LinkEnd {
        let mut end = self.end.clone();
        match end.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(LinkEnd::Abandoned),
            Err(_) => LinkEnd::Abandoned,
        }
    }

    /// Streams that are not over.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.shared.lock().session.stream_count()
    }
}

/// The requests of the other end, in the order of their coming.
#[derive(Debug)]
pub struct Incoming {
    shared: Arc<Shared>,
}

impl Incoming {
    /// The next request; none when the link has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<IncomingRequest> {
        poll_fn(|context| {
            let mut inner = self.shared.lock();
            if let Some((id, request)) = inner.incoming.pop_front() {
                let answered = Answered {
                    shared: Arc::clone(&self.shared),
                    id,
                    done: false,
                };
                return Poll::Ready(Some(IncomingRequest { request, answered }));
            }
            if inner.session.is_ended() {
                return Poll::Ready(None);
            }
            inner.incoming_waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

/// A request that waits for its answer. Dropped unanswered, it is refused as failed.
#[derive(Debug)]
pub struct IncomingRequest {
    request: AnyRequest,
    answered: Answered,
}

impl IncomingRequest {
    /// What is asked.
    #[must_use]
    pub const fn request(&self) -> &AnyRequest {
        &self.request
    }

    /// Accepts it, which opens the stream.
    #[must_use]
    pub fn accept<R: Request>(mut self, answer: &R::Answer) -> Stream {
        self.answered.done = true;
        let id = self.answered.id;
        self.answered
            .shared
            .with(|inner| inner.session.accept(id, &codec::encode(answer)));
        Stream::new(Arc::clone(&self.answered.shared), id)
    }

    /// Accepts it with an answer that is all there is to say.
    pub fn answer<R: Request>(self, answer: &R::Answer) {
        let stream = self.accept::<R>(answer);
        stream.finish_and_release();
    }

    /// Refuses it.
    pub fn refuse(mut self, refusal: &Refusal) {
        self.answered.refuse(refusal);
    }
}

#[derive(Debug)]
struct Answered {
    shared: Arc<Shared>,
    id: StreamId,
    done: bool,
}

impl Answered {
    fn refuse(&mut self, refusal: &Refusal) {
        if !std::mem::replace(&mut self.done, true) {
            self.shared
                .with(|inner| inner.session.refuse(self.id, refusal));
        }
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        self.refuse(&Refusal::new(
            RefusalCode::Failed,
            "the request was dropped unanswered",
        ));
    }
}

/// Makes the three parts of a link.
pub(super) fn link<C>(
    carrier: C,
    role: Role,
    limits: Limits,
    established: Established,
) -> (Link, Incoming, Driver<C>) {
    let Established {
        peer,
        peer_key,
        channel,
        leftover,
        clear,
        handover,
        binding,
    } = established;
    let session = Session::new(role, limits, &peer, Instant::now());
    let shared = Arc::new(Shared {
        inner: Mutex::new(Inner {
            session,
            answers: HashMap::new(),
            readers: HashMap::new(),
            writers: HashMap::new(),
            resets: HashMap::new(),
            incoming: VecDeque::new(),
            incoming_waker: None,
            driver_waker: None,
            goaway: None,
        }),
    });
    let (end_sender, end) = watch::channel(None);
    let encrypted = channel.is_encrypted();
    let link = Link {
        shared: Arc::clone(&shared),
        peer: Arc::new(peer),
        peer_key,
        encrypted,
        binding,
        handover,
        end,
    };
    let incoming = Incoming {
        shared: Arc::clone(&shared),
    };
    (
        link,
        incoming,
        Driver::new(carrier, channel, leftover, clear, shared, end_sender),
    )
}

#[derive(Debug)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) session: Session,
    answers: HashMap<StreamId, Answer>,
    pub(super) readers: HashMap<StreamId, Waker>,
    pub(super) writers: HashMap<StreamId, Waker>,
    /// Of those who wait for nothing but a reset.
    pub(super) resets: HashMap<StreamId, Waker>,
    incoming: VecDeque<(StreamId, AnyRequest)>,
    incoming_waker: Option<Waker>,
    /// The driver, while it waits for something to send.
    pub(super) driver_waker: Option<Waker>,
    pub(super) goaway: Option<(GoAwayCode, String)>,
}

#[derive(Debug)]
enum Answer {
    Pending(Option<Waker>),
    Accepted(Bytes),
    Refused(Refusal),
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the session from a handle's side and lets the driver see to it.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let result = change(&mut inner);
        let mut wakers = inner.dispatch_events();
        wakers.extend(inner.wanted_driver());
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
        result
    }
}

impl Inner {
    /// Turns the session's events into wakers to wake once the lock is released.
    pub(super) fn dispatch_events(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Opened { stream, request } => self.admit(stream, &request, &mut wakers),
                Event::Accepted { stream, answer } => {
                    wakers.extend(self.settle(stream, Answer::Accepted(answer)));
                }
                Event::Refused { stream, refusal } => {
                    wakers.extend(self.settle(stream, Answer::Refused(refusal)));
                }
                Event::Readable(stream) => {
                    wakers.extend(self.readers.remove(&stream));
                    let waits = self.resets.contains_key(&stream);
                    if waits && self.session.reset_of(stream).is_some() {
                        wakers.extend(self.resets.remove(&stream));
                    }
                }
                Event::Writable(stream) => wakers.extend(self.writers.remove(&stream)),
                Event::GoAway { code, text } => self.goaway = Some((code, text)),
            }
        }
        if self.session.is_ended() {
            self.wake_all(&mut wakers);
        }
        wakers
    }

    /// Who is to be woken because the session has something to send, or is over. Nobody while the
    /// driver waits for the carrier: it looks again when that takes more.
    pub(super) fn wanted_driver(&mut self) -> Option<Waker> {
        if self.session.wants_transmit() || self.session.is_ended() {
            self.driver_waker.take()
        } else {
            None
        }
    }

    /// Lets go of a stream's handle.
    pub(super) fn release(&mut self, id: StreamId) {
        self.readers.remove(&id);
        self.writers.remove(&id);
        self.resets.remove(&id);
        self.answers.remove(&id);
        self.session.release(id);
    }

    fn admit(&mut self, id: StreamId, request: &Bytes, wakers: &mut Vec<Waker>) {
        match RawMessage::parse(request).and_then(|raw| AnyRequest::decode(&raw)) {
            Ok(request) => {
                self.incoming.push_back((id, request));
                wakers.extend(self.incoming_waker.take());
            }
            Err(error) => {
                let code = match error {
                    DecodeError::Unknown(_) => RefusalCode::Unsupported,
                    _ => RefusalCode::Invalid,
                };
                self.session
                    .refuse(id, &Refusal::new(code, error.to_string()));
            }
        }
    }

    fn settle(&mut self, id: StreamId, answer: Answer) -> Option<Waker> {
        let slot = self.answers.get_mut(&id)?;
        match std::mem::replace(slot, answer) {
            Answer::Pending(waker) => waker,
            Answer::Accepted(_) | Answer::Refused(_) => None,
        }
    }

    fn wake_all(&mut self, wakers: &mut Vec<Waker>) {
        let unanswered: Vec<_> = self
            .answers
            .iter()
            .filter(|(_, answer)| matches!(answer, Answer::Pending(_)))
            .map(|(&id, _)| id)
            .collect();
        for id in unanswered {
            if let Some(Answer::Pending(Some(waker))) = self.answers.remove(&id) {
                wakers.push(waker);
            }
        }
        wakers.extend(self.readers.drain().map(|(_, waker)| waker));
        wakers.extend(self.writers.drain().map(|(_, waker)| waker));
        wakers.extend(self.resets.drain().map(|(_, waker)| waker));
        wakers.extend(self.incoming_waker.take());
    }
}

/// What a reset means to a reader.
pub(super) fn reset_is_link_loss(code: ResetCode) -> bool {
    code == ResetCode::LinkLost
}
