//! What the two accounts of a stream mean together.

use std::time::{Duration, Instant};

use super::{
    ends::{Account, EndOf},
    plan::{Disturbance, Kind, Plan},
};

/// A time in which the link was broken on purpose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Breach {
    pub(crate) from: Instant,
    pub(crate) until: Instant,
    /// Whether connections that were there before live on.
    pub(crate) spares: bool,
}

impl Breach {
    /// Whether a stream may have been taken by it.
    pub(crate) fn touches(&self, account: &Account) -> bool {
        let was_there = account.began + DIALLING < self.from;
        account.began <= self.until && account.ended >= self.from && !(self.spares && was_there)
    }
}

/// Longest time until a new connection needs the link no more.
const DIALLING: Duration = Duration::from_secs(1);

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Everything arrived, and both ends know.
    Whole,
    /// It ended early as planned, and the other end had an error.
    Aborted,
    /// A broken link took it, which each end that did not have everything knows.
    Broken,
}

/// A stream's verdict, and the planned disturbance that showed in it.
///
/// # Errors
/// What must not be, in words.
pub(crate) fn judge(
    plan: &Plan,
    client: &Account,
    server: Option<&Account>,
    breaches: &[Breach],
) -> Result<(Verdict, Option<Kind>), String> {
    for (name, account, expected) in [
        ("client", Some(client), plan.down.bytes),
        ("server", server, plan.up.bytes),
    ] {
        let Some(account) = account else { continue };
        let Account { received, end, .. } = *account;
        if let Some(offset) = account.wrong_at {
            return Err(format!(
                "the {name} got another byte than was sent, from {offset} on"
            ));
        }
        if received > expected {
            return Err(format!("the {name} got {received} bytes of {expected}"));
        }
        if end == EndOf::Never {
            return Err(format!(
                "the {name} waits for ever, with {received} of {expected} bytes"
            ));
        }
        if end == EndOf::Clean && received != expected {
            let text = "took a broken stream for a whole one";
            return Err(format!(
                "the {name} {text}, with {received} of {expected} bytes"
            ));
        }
    }
    let accounts = [Some(client), server];
    let touched = breaches.iter().any(|breach| {
        accounts
            .iter()
            .flatten()
            .any(|account| breach.touches(account))
    });
    let server_end = server.map(|server| server.end);
    let stalled = accounts.iter().flatten().any(|account| account.stalled);
    let fired = plan.disturbance.kind();
    match (plan.disturbance, client.end, server_end) {
        (Disturbance::ClientResets(_), EndOf::Reset, Some(EndOf::Failed(_)))
        | (Disturbance::ServerResets(_), EndOf::Failed(_), Some(EndOf::Reset)) => {
            Ok((Verdict::Aborted, fired))
        }
        // The reset came before the server could hear which stream it was.
        (Disturbance::ClientResets(_), EndOf::Reset, None) => Ok((Verdict::Aborted, None)),
        (Disturbance::None, EndOf::Clean, Some(EndOf::Clean)) => Ok((Verdict::Whole, None)),
        (
            Disturbance::ClientStalls(_) | Disturbance::ServerStalls(_),
            EndOf::Clean,
            Some(EndOf::Clean),
        ) => Ok((Verdict::Whole, fired.filter(|_| stalled))),
        _ if touched => Ok((Verdict::Broken, None)),
        (_, client_end, server_end) => {
            let text = "without a reason";
            Err(format!(
                "ended {text}: client {client_end:?}, server {server_end:?}"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    fn account(received: u64, end: EndOf) -> Account {
        let now = Instant::now();
        Account {
            began: now,
            ended: now,
            sent: 0,
            received,
            wrong_at: None,
            end,
            stalled: false,
        }
    }

    /// A plan with this disturbance, which may be any of its kind.
    fn plan(wanted: Option<Kind>) -> Plan {
        let mut plans = (0..).map(|number| Plan::of(1, number));
        let plan = plans.find(|plan| plan.disturbance.kind() == wanted);
        plan.unwrap()
    }

    const RESET: EndOf = EndOf::Failed(ErrorKind::ConnectionReset);

    #[test]
    fn a_whole_stream_is_whole_at_both_ends() {
        let plan = plan(None);
        let client = account(plan.down.bytes, EndOf::Clean);
        let server = account(plan.up.bytes, EndOf::Clean);
        let judged = judge(&plan, &client, Some(&server), &[]);
        assert_eq!(judged, Ok((Verdict::Whole, None)));
        let less = account(plan.up.bytes - 1, EndOf::Clean);
        assert!(judge(&plan, &client, Some(&less), &[]).is_err());
        let more = account(plan.up.bytes + 1, EndOf::Clean);
        assert!(judge(&plan, &client, Some(&more), &[]).is_err());
        let wrong = Account {
            wrong_at: Some(3),
            ..server
        };
        assert!(judge(&plan, &client, Some(&wrong), &[]).is_err());
        assert!(judge(&plan, &client, None, &[]).is_err());
        assert!(judge(&plan, &account(0, EndOf::Never), None, &[]).is_err());
    }

    #[test]
    fn an_error_needs_a_reason_and_a_broken_link_is_one() {
        let plan = plan(None);
        let (client, server) = (account(0, RESET), account(0, RESET));
        assert!(judge(&plan, &client, Some(&server), &[]).is_err());
        let breach = Breach {
            from: client.began,
            until: client.began,
            spares: false,
        };
        let judged = judge(&plan, &client, Some(&server), &[breach]);
        assert_eq!(judged, Ok((Verdict::Broken, None)));
        let before = client.began - Duration::from_secs(1);
        let earlier = Breach {
            from: before,
            until: before,
            spares: false,
        };
        assert!(judge(&plan, &client, Some(&server), &[earlier]).is_err());
        // Not even a broken link excuses a clean end of a part.
        let part = account(0, EndOf::Clean);
        assert!(judge(&plan, &client, Some(&part), &[breach]).is_err());
    }

    #[test]
    fn a_reset_must_reach_the_other_end_as_an_error() {
        let plan = plan(Some(Kind::ClientReset));
        let client = account(0, EndOf::Reset);
        let judged = judge(&plan, &client, Some(&account(9, RESET)), &[]);
        assert_eq!(judged, Ok((Verdict::Aborted, Some(Kind::ClientReset))));
        assert!(judge(&plan, &client, Some(&account(9, EndOf::Clean)), &[]).is_err());
        let judged = judge(&plan, &client, None, &[]);
        assert_eq!(judged, Ok((Verdict::Aborted, None)));
    }

    #[test]
    fn a_stall_counts_only_if_it_held_somebody_up() {
        let plan = plan(Some(Kind::ServerStall));
        let client = account(plan.down.bytes, EndOf::Clean);
        let server = account(plan.up.bytes, EndOf::Clean);
        let judged = judge(&plan, &client, Some(&server), &[]);
        assert_eq!(judged, Ok((Verdict::Whole, None)));
        let stalled = Account {
            stalled: true,
            ..server
        };
        let judged = judge(&plan, &client, Some(&stalled), &[]);
        assert_eq!(judged, Ok((Verdict::Whole, Some(Kind::ServerStall))));
    }
}
