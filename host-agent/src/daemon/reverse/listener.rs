//! One listener in the guest, on one link.

use std::{sync::Arc, time::Duration};

use lkc_protocol::{
    error::RefusalCode,
    hello::Hello,
    link::{Link, RequestError, Stream},
    message::Listen,
    version,
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    super::{guest_link::ActiveLink, reporter::Reporter, state::Report},
    Reverse,
};
use crate::sanitize;

/// How long the guest may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// First and longest pause before an address that somebody has in the guest is asked for again.
/// Nothing tells when it is free; on a new link it may be our own of the last one, which the guest
/// gives up within ten seconds.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));

/// Has the guest listen until the link ends or the token is cancelled; the token is cancelled too
/// when there is no more to be done on this link.
pub(in super::super) async fn keep(
    reverse: Arc<Reverse>,
    active: ActiveLink,
    token: CancellationToken,
    reporter: Reporter,
) {
    let _ended = token.clone().drop_guard();
    let keeping = keep_until_hopeless(&reverse, &active, &reporter);
    token.run_until_cancelled(keeping).await;
}

async fn keep_until_hopeless(reverse: &Arc<Reverse>, active: &ActiveLink, reporter: &Reporter) {
    let spec = &reverse.spec;
    let report = async |error: Option<String>| {
        if let Some(error) = &error {
            tracing::warn!(cluster = %reporter.cluster, reverse = %spec.name, "the guest does not listen: {error}");
        }
        let report = Report::ReverseForward {
            link: active.number,
            spec: spec.clone(),
            error,
        };
        reporter.send(report).await;
    };
    let (mut pause, longest) = PAUSES;
    loop {
        // The number first: a connection may arrive right behind the answer.
        let number = active.arrivals.number(reverse);
        match ask(reverse, &active.link, number.id()).await {
            Ok(stream) => {
                pause = PAUSES.0;
                report(None).await;
                until_let_go(stream).await;
                if active.link.is_closed() {
                    return;
                }
                report(Some("agent: the guest listens no more".to_owned())).await;
            }
            Err(Failed::LinkDown) => return,
            Err(Failed::InUse(why)) => {
                let hint = "end what listens there, or give the reverse forward another port";
                report(Some(format!("agent: {why}; {hint}"))).await;
            }
            Err(Failed::ForGood(why)) => return report(Some(why)).await,
        }
        drop(number);
        sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

/// Why the guest does not listen.
enum Failed {
    LinkDown,
    InUse(String),
    ForGood(String),
}

async fn ask(reverse: &Reverse, link: &Link, id: u32) -> Result<Stream, Failed> {
    if let Some(why) = too_old(link.peer()) {
        return Err(Failed::ForGood(why));
    }
    let wanted = Listen {
        id,
        address: reverse.spec.bind.to_string(),
        port: reverse.spec.guest_port,
    };
    match timeout(ANSWER_DEADLINE, link.request(&wanted)).await {
        Ok(Ok((_, stream))) => Ok(stream),
        Ok(Err(RequestError::LinkDown)) => Err(Failed::LinkDown),
        Ok(Err(RequestError::Refused(refusal))) => {
            let why = sanitize::line(&refusal.to_string());
            Err(match refusal.code {
                RefusalCode::InUse => Failed::InUse(why),
                _ => Failed::ForGood(format!("agent: {why}")),
            })
        }
        Ok(Err(error)) => Err(Failed::ForGood(format!("agent: {error}"))),
        Err(_) => Err(Failed::ForGood(format!(
            "agent: no answer within {} s",
            ANSWER_DEADLINE.as_secs()
        ))),
    }
}

/// What to do about a guest that does not know the request.
pub(super) fn too_old(peer: &Hello) -> Option<String> {
    let theirs = sanitize::line(&peer.version);
    (peer.capability < version::FORWARDS).then(|| {
        format!(
            "agent: lkc-guest {theirs} knows no reverse forwards: bring it up to the version of lkc-host, {}",
            env!("CARGO_PKG_VERSION")
        )
    })
}

/// The guest says nothing on the stream of a listener but its end.
async fn until_let_go(mut stream: Stream) {
    while let Ok(Some(_)) = stream.receive_raw().await {}
}
