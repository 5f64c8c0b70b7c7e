//! What an end sends must be what was asked of it, in the right order and within the credit.

use lkc_protocol::frame::{Kind, StreamId};

use crate::{
    check::{Verdict, check},
    content,
    model::{Model, Phase},
    wire::{Seen, code, number},
};

/// Data frames that another stream may send while one waits for its turn.
const TURNS: u64 = 1;

impl Model {
    /// Judges a batch; `full` says that it ends for want of room and not of frames.
    pub(crate) fn sent(&mut self, batch: &[Seen], full: bool) -> Verdict {
        let mut data = false;
        for seen in batch {
            match seen {
                Seen::Control(Kind::Finish, id, _) => self.sent_finish(*id)?,
                Seen::Control(kind, id, payload) => {
                    check!(!data, "{kind:?} on stream {id} behind data");
                    self.sent_control(*kind, *id, payload)?;
                }
                Seen::Data(id, length) => {
                    data = true;
                    self.sent_data(*id, *length)?;
                }
                Seen::Payload(id, bytes) => self.sent_payload(*id, bytes)?,
            }
        }
        self.check_promises()?;
        if full { Ok(()) } else { self.nothing_is_left() }
    }

    fn sent_control(&mut self, kind: Kind, id: StreamId, payload: &[u8]) -> Verdict {
        match kind {
            Kind::Pong => {
                let expected = self.pong.take();
                check!(
                    expected.as_deref() == Some(payload),
                    "pong {payload:?} to {expected:?}"
                );
                return Ok(());
            }
            Kind::Credit => return self.sent_credit(id, number(payload)),
            _ => {}
        }
        let Some((expected_kind, expected_id, expected)) = self.control.pop_front() else {
            return Err(format!("{kind:?} on stream {id} out of nothing"));
        };
        check!(
            (kind, id) == (expected_kind, expected_id),
            "{kind:?} on stream {id} instead of {expected_kind:?} on {expected_id}"
        );
        let said = match kind {
            Kind::Open | Kind::Accept => {
                let window = number(payload);
                if let Some(side) = self.live(id) {
                    side.promised += window;
                }
                &payload[4..]
            }
            // The words of a refusal are the session's own when it is too busy to ask anybody.
            Kind::Refuse if expected.len() == 2 => &payload[..2],
            _ => payload,
        };
        check!(
            said == expected,
            "{kind:?} on stream {id} says {said:?} instead of {expected:?} (code {})",
            code(said)
        );
        Ok(())
    }

    fn sent_credit(&mut self, id: StreamId, count: usize) -> Verdict {
        check!(count > 0, "credit of nothing");
        // Credit may be on its way when a stream ends.
        let Some(side) = self.live(id) else {
            return Ok(());
        };
        side.promised += count;
        if side.detached {
            return Ok(());
        }
        // What was read is given back to the byte: after some read the peer had a whole window.
        while let Some((read, window)) = side.reads.pop_front() {
            if read + window == side.promised {
                return Ok(());
            }
        }
        Err(format!("stream {id}: {count} bytes of credit for nothing"))
    }

    fn sent_data(&mut self, id: StreamId, length: usize) -> Verdict {
        let longest = self.longest_data;
        let Some(side) = self.sides.get(&id) else {
            return Err(format!("data on stream {id}, which was never opened"));
        };
        check!(
            side.phase == Phase::Open && side.reset.is_none() && !side.finish_sent,
            "data on stream {id}, which is not open: {side:?}"
        );
        check!(length > 0, "empty data on stream {id}");
        check!(
            length <= longest,
            "{length} bytes in a frame, at most {longest} are allowed"
        );
        check!(
            side.sent + length <= side.credit,
            "stream {id}: {} bytes over the credit",
            side.sent + length - side.credit
        );
        check!(
            side.sent + length <= side.written,
            "stream {id}: {length} bytes sent that were never written"
        );
        self.sent_in_turn(id)
    }

    /// No stream gets more turns than it may while another one waits.
    fn sent_in_turn(&mut self, id: StreamId) -> Verdict {
        self.data_frames += 1;
        let now = self.data_frames;
        let last = self.sides.get(&id).and_then(|side| side.last_turn);
        if let Some(last) = last {
            for (&other, side) in &self.sides {
                let waited = other != id
                    && side.has_data_to_send()
                    && side.waits_since.is_some_and(|since| since + TURNS <= last);
                check!(
                    !waited,
                    "stream {id} sends again while {other} waits since frame {:?} (now {now})",
                    side.waits_since
                );
            }
        }
        if let Some(side) = self.live(id) {
            side.last_turn = Some(now);
            side.waits_since = Some(now);
        }
        Ok(())
    }

    fn sent_payload(&mut self, id: StreamId, bytes: &[u8]) -> Verdict {
        let from = self.end;
        if let Some(side) = self.live(id) {
            check!(
                content::is(id, from, side.sent, bytes),
                "stream {id}: other bytes sent than were written, at {}",
                side.sent
            );
            side.sent += bytes.len();
            let sent = side.sent;
            while side.unsent.front().is_some_and(|&end| end <= sent) {
                side.unsent.pop_front();
            }
            self.look(id);
        }
        Ok(())
    }

    fn sent_finish(&mut self, id: StreamId) -> Verdict {
        let Some(side) = self.live(id) else {
            return Err(format!("finish of stream {id}, which is gone"));
        };
        check!(
            side.has_finish_to_send(),
            "finish of stream {id} in the wrong moment: {side:?}"
        );
        side.finish_sent = true;
        side.forget_if_over();
        Ok(())
    }

    /// Whatever can be sent is sent.
    fn nothing_is_left(&self) -> Verdict {
        check!(self.pong.is_none(), "a pong is not sent");
        check!(self.control.is_empty(), "not sent: {:?}", self.control);
        if self.ended {
            return Ok(());
        }
        for (id, side) in &self.sides {
            check!(
                !side.has_data_to_send() && !side.has_finish_to_send(),
                "stream {id} has something to send and does not: {side:?}"
            );
        }
        Ok(())
    }

    /// What the peer may have in our memory is bounded, for each stream and in all.
    fn check_promises(&self) -> Verdict {
        let (mut sum, mut count) = (0, 0);
        for (id, side) in &self.sides {
            if side.phase != Phase::Gone {
                let outstanding = side.outstanding();
                check!(
                    outstanding <= self.limits.window,
                    "stream {id}: {outstanding} bytes promised at once"
                );
                sum += outstanding;
                count += 1;
            }
        }
        let most = self.limits.window_budget + count * self.limits.min_window;
        check!(sum <= most, "{sum} bytes promised on {count} streams");
        Ok(())
    }
}
