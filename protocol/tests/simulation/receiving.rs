//! What comes in changes the account, and tells which events the session owes.

use std::time::Duration;

use bytes::Bytes;
use lkc_protocol::{
    error::{GoAwayCode, Refusal, RefusalCode, ResetCode},
    frame::{Kind, StreamId},
    session::Event,
};

use crate::{
    content,
    model::{Model, Phase, Side},
    wire::{Seen, code, number},
};

impl Model {
    /// Takes in what the session is about to see.
    pub(crate) fn received(&mut self, seen: Vec<Seen>, now: Duration) {
        if self.ended {
            return;
        }
        self.last_heard = now;
        self.pinged = None;
        for seen in seen {
            match seen {
                Seen::Data(..) => {}
                Seen::Payload(id, bytes) => {
                    if let Some(side) = self.live(id) {
                        side.received += bytes.len();
                        if side.detached {
                            side.read = side.received;
                        }
                    }
                }
                Seen::Control(kind, id, payload) => self.received_control(kind, id, payload),
            }
            if self.ended {
                return;
            }
        }
    }

    fn received_control(&mut self, kind: Kind, id: StreamId, payload: Vec<u8>) {
        match kind {
            Kind::Open => self.received_open(id, &payload),
            Kind::Ping => self.pong = Some(payload),
            Kind::GoAway => {
                self.end();
                self.events.push_back(Event::GoAway {
                    code: GoAwayCode::from_number(code(&payload)),
                    text: text(&payload),
                });
            }
            Kind::Accept => {
                if let Some(side) = self.live(id) {
                    side.phase = Phase::Open;
                    side.credit += number(&payload);
                    self.events.push_back(Event::Accepted {
                        stream: id,
                        answer: Bytes::copy_from_slice(&payload[4..]),
                    });
                    self.look(id);
                }
            }
            Kind::Refuse => {
                let refusal = Refusal {
                    code: RefusalCode::from_number(code(&payload)),
                    text: text(&payload),
                };
                self.received_refusal(id, refusal);
            }
            Kind::Credit => {
                if let Some(side) = self.live(id) {
                    side.credit += number(&payload);
                    self.look(id);
                }
            }
            Kind::Finish => {
                if let Some(side) = self.live(id) {
                    side.finished = true;
                    side.forget_if_over();
                }
            }
            Kind::Reset => self.received_reset(id, ResetCode::from_number(code(&payload))),
            Kind::Data | Kind::Pong => {}
        }
    }

    fn received_open(&mut self, id: StreamId, payload: &[u8]) {
        let unanswered = |side: &&Side| side.phase == Phase::Unanswered;
        let waiting = self.sides.values().filter(unanswered).count();
        let requests = self.sides.iter().filter(|(_, side)| unanswered(side));
        let bytes: usize = requests.map(|(&id, _)| content::request(id).len()).sum();
        if self.count(false) >= self.limits.max_streams
            || waiting >= self.limits.max_unanswered
            || bytes + payload.len() - 4 > self.limits.max_unanswered_bytes
        {
            self.sides.insert(id, Side::new(Phase::Gone, 0));
            let code = RefusalCode::Busy.number().to_be_bytes().to_vec();
            return self.must_send(Kind::Refuse, id, code);
        }
        let side = Side::new(Phase::Unanswered, number(payload));
        self.sides.insert(id, side);
        self.events.push_back(Event::Opened {
            stream: id,
            request: Bytes::copy_from_slice(&payload[4..]),
        });
    }

    fn received_refusal(&mut self, id: StreamId, refusal: Refusal) {
        if let Some(side) = self.live(id) {
            side.phase = Phase::Gone;
            self.events.push_back(Event::Refused {
                stream: id,
                refusal,
            });
        }
    }

    fn received_reset(&mut self, id: StreamId, code: ResetCode) {
        let Some(side) = self.live(id) else { return };
        side.reset.get_or_insert(code);
        match side.phase {
            Phase::Opening => {
                let words = "the stream was reset before its request was answered";
                self.received_refusal(id, Refusal::new(RefusalCode::Failed, words));
            }
            Phase::Unanswered | Phase::Open | Phase::Gone => side.forget_if_over(),
        }
    }
}

fn text(payload: &[u8]) -> String {
    String::from_utf8_lossy(&payload[2..]).into_owned()
}
