//! What comes in: frames are taken apart, checked against the rules, and turned into events.

use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};

use super::{
    Event, Session, limits,
    stream::{Phase, Stream},
};
use crate::{
    error::{GoAwayCode, ProtocolError, Refusal, RefusalCode, ResetCode},
    frame::{self, HEADER_LENGTH, Header, Kind, StreamId},
};

impl Session {
    /// Takes every complete frame, and data as far as it has come, off the front of `input`.
    ///
    /// # Errors
    /// The rule that the peer broke; a GoAway is queued and the session is over.
    pub fn handle_bytes(
        &mut self,
        input: &mut BytesMut,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        if !input.is_empty() {
            self.last_heard = now;
            self.pinged = None;
        }
        while !self.ended && !input.is_empty() {
            match self.handle_next(input, now) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return Err(self.fail(error)),
            }
        }
        Ok(())
    }

    fn handle_next(&mut self, input: &mut BytesMut, now: Instant) -> Result<bool, ProtocolError> {
        if let Some((id, left)) = self.partial.take() {
            let count = left.min(input.len());
            let rest = left - count;
            self.partial = (rest > 0).then_some((id, rest));
            self.deliver(id, input.split_to(count).freeze());
            return Ok(true);
        }
        let Some(bytes) = input.first_chunk::<HEADER_LENGTH>() else {
            return Ok(false);
        };
        let header = Header::decode(bytes, self.limits.max_frame)?;
        if header.kind == Kind::Data {
            self.admit_data(header)?;
            input.advance(HEADER_LENGTH);
            self.partial = (header.length > 0).then_some((header.stream, header.length));
            return Ok(true);
        }
        if input.len() < HEADER_LENGTH + header.length {
            return Ok(false);
        }
        input.advance(HEADER_LENGTH);
        let payload = input.split_to(header.length).freeze();
        self.handle_control(header, payload, now)?;
        Ok(true)
    }

    fn handle_control(
        &mut self,
        header: Header,
        mut payload: Bytes,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        let id = header.stream;
        match header.kind {
            Kind::Open => self.handle_open(id, payload, now),
            Kind::Ping => {
                self.pings
                    .take(now)
                    .map_err(|()| broken(GoAwayCode::TooManyPings, id))?;
                self.pong = payload.first_chunk::<8>().copied();
                Ok(())
            }
            Kind::Pong => Ok(()),
            Kind::GoAway => {
                let (code, text) = reason(payload);
                self.end();
                let code = GoAwayCode::from_number(code);
                self.events.push_back(Event::GoAway { code, text });
                Ok(())
            }
            Kind::Accept | Kind::Refuse | Kind::Credit | Kind::Finish | Kind::Reset => {
                if header.kind == Kind::Reset {
                    self.resets
                        .take(now)
                        .map_err(|()| broken(GoAwayCode::TooManyResets, id))?;
                }
                self.check_known(id)?;
                let Some(stream) = self.streams.get_mut(&id) else {
                    return Ok(());
                };
                match header.kind {
                    Kind::Accept => {
                        let window = payload.get_u32() as usize;
                        stream.accepted(window).map_err(|code| broken(code, id))?;
                        self.events.push_back(Event::Accepted {
                            stream: id,
                            answer: payload,
                        });
                        self.make_ready(id);
                    }
                    Kind::Refuse => {
                        if stream.phase != Phase::Opening {
                            return Err(broken(GoAwayCode::WrongState, id));
                        }
                        self.forget(id);
                        let (code, text) = reason(payload);
                        let refusal = Refusal {
                            code: RefusalCode::from_number(code),
                            text,
                        };
                        self.events.push_back(Event::Refused {
                            stream: id,
                            refusal,
                        });
                    }
                    Kind::Credit => {
                        let count = payload.get_u32() as usize;
                        stream.add_credit(count).map_err(|code| broken(code, id))?;
                        self.make_ready(id);
                    }
                    Kind::Finish => {
                        stream.finish_from_peer().map_err(|code| broken(code, id))?;
                        let over = stream.is_over();
                        self.events.push_back(Event::Readable(id));
                        if over {
                            self.forget(id);
                        }
                    }
                    _ => self.handle_reset(id, ResetCode::from_number(payload.get_u16())),
                }
                Ok(())
            }
            Kind::Data => Ok(()),
        }
    }

    fn handle_reset(&mut self, id: StreamId, code: ResetCode) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.reset_from_peer(code);
        match stream.phase {
            Phase::Opening => {
                self.forget(id);
                let refusal = Refusal::new(
                    RefusalCode::Failed,
                    "the stream was reset before its request was answered",
                );
                self.events.push_back(Event::Refused {
                    stream: id,
                    refusal,
                });
            }
            // It counts until somebody has looked at its request, or opening and resetting would
            // heap up requests.
            Phase::Unanswered => {}
            Phase::Open if stream.is_detached() => self.forget(id),
            Phase::Open => {
                self.events.push_back(Event::Readable(id));
                self.events.push_back(Event::Writable(id));
            }
        }
    }

    fn handle_open(
        &mut self,
        id: StreamId,
        mut payload: Bytes,
        now: Instant,
    ) -> Result<(), ProtocolError> {
        if self.is_ours(id) || id.0 <= self.last_peer_id {
            return Err(broken(GoAwayCode::BadStreamId, id));
        }
        self.opens
            .take(now)
            .map_err(|()| broken(GoAwayCode::TooManyOpens, id))?;
        self.last_peer_id = id.0;
        let window = payload.get_u32() as usize;
        if window > limits::MAX_WINDOW {
            return Err(broken(GoAwayCode::CreditOverflow, id));
        }
        if self.answer_bytes > self.limits.max_pending_control {
            // It asks and does not read the answers.
            return Err(broken(GoAwayCode::TooManyOpens, id));
        }
        if self.is_busy(payload.len()) {
            let text = "as many streams as this end allows are open or waiting";
            let code = RefusalCode::Busy.number();
            self.push_control(frame::encode_reason(Kind::Refuse, id, code, text));
            return Ok(());
        }
        self.unanswered += 1;
        self.unanswered_bytes += payload.len();
        self.streams
            .insert(id, Stream::unanswered(window, payload.len()));
        self.events.push_back(Event::Opened {
            stream: id,
            request: payload,
        });
        Ok(())
    }

    /// Whether another stream with a request of `length` bytes is too much.
    fn is_busy(&self, length: usize) -> bool {
        let limits = &self.limits;
        self.streams.len() - self.opened_by_us >= limits.max_streams
            || self.unanswered >= limits.max_unanswered
            || self.unanswered_bytes + length > limits.max_unanswered_bytes
            || self.answer_bytes > limits.max_pending_control / 2
    }

    /// Checks a data frame against the stream's credit before any of it is taken.
    fn admit_data(&mut self, header: Header) -> Result<(), ProtocolError> {
        self.check_known(header.stream)?;
        match self.streams.get_mut(&header.stream) {
            Some(stream) => stream
                .admit(header.length)
                .map_err(|code| broken(code, header.stream)),
            None => Ok(()),
        }
    }

    fn deliver(&mut self, id: StreamId, bytes: Bytes) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if stream.deliver(bytes) {
            self.events.push_back(Event::Readable(id));
        } else if stream.is_detached() {
            self.give_credit(id);
        }
    }

    /// A frame for a stream that is gone is fine; one for a stream that never was is not.
    fn check_known(&self, id: StreamId) -> Result<(), ProtocolError> {
        let known = if self.is_ours(id) {
            self.next_id.is_none_or(|next| id.0 < next)
        } else {
            id.0 <= self.last_peer_id
        };
        if known {
            Ok(())
        } else {
            Err(broken(GoAwayCode::BadStreamId, id))
        }
    }
}

fn broken(code: GoAwayCode, id: StreamId) -> ProtocolError {
    ProtocolError::new(code, format!("stream {id}"))
}

fn reason(mut payload: Bytes) -> (u16, String) {
    let code = payload.get_u16();
    (code, String::from_utf8_lossy(&payload).into_owned())
}
