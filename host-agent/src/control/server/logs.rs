//! A log of the guest's, told to a client: a part of its past, or on and on over one link after the
//! other, each line once.

use std::{sync::Arc, time::Duration};

use lkc_protocol::{
    link::{Link, Stream},
    message::{FollowLog, FollowingLog, LogEntry, LogLine, LogSource, Logs, Request},
    version,
};
use tokio::time::timeout;

use super::conversation::{BEGIN_DEADLINE, Gone, Teller};
use crate::{
    config::ClusterName,
    control::{Failure, Reply},
    daemon::{
        ActiveLink, Handle, LinkSlot,
        state::{View, unknown_cluster},
    },
    error::Kind,
};

/// Longest time between the end of a stream and that of its link, where that is why.
const END_DEADLINE: Duration = Duration::from_secs(2);

/// What somebody wants to see.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) cluster: ClusterName,
    pub(super) source: LogSource,
    pub(super) tail: u32,
    pub(super) follow: bool,
}

/// Tells it, to its end if it has one.
pub(super) async fn tell(
    teller: &mut Teller,
    handle: &Handle,
    wanted: &Wanted,
) -> Result<Result<(), Failure>, Gone> {
    if !handle.views().borrow().contains_key(&wanted.cluster) {
        return Ok(Err(unknown_cluster(&wanted.cluster)));
    }
    let links = handle.links(&wanted.cluster);
    let active = links.as_ref().and_then(|links| links.borrow().clone());
    let (Some(links), Some(active)) = (links, active) else {
        return Ok(Err(no_link(&wanted.cluster, wanted.source)));
    };
    if wanted.follow && active.link.peer().capability >= version::LOG_PLACE {
        return tell_on(teller, handle, wanted, links, active).await;
    }
    let logs = Logs {
        source: wanted.source,
        tail: wanted.tail,
        follow: wanted.follow,
    };
    let mut stream = match begin(&active.link, &logs).await {
        Ok((_, stream)) => stream,
        Err(why) => return Ok(Err(ended(&wanted.cluster, &why))),
    };
    loop {
        match stream.receive::<LogLine>().await {
            Ok(Some(line)) => teller.tell(&Reply::Log { text: line.text }).await?,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(ended(&wanted.cluster, &error.to_string()))),
        }
    }
}

/// Tells it for as long as the cluster is wanted.
async fn tell_on(
    teller: &mut Teller,
    handle: &Handle,
    wanted: &Wanted,
    mut links: LinkSlot,
    mut active: ActiveLink,
) -> Result<Result<(), Failure>, Gone> {
    let mut seen = Seen::default();
    loop {
        let asked = seen.request(wanted.source, wanted.tail);
        let why = match begin(&active.link, &asked).await {
            Ok((answer, stream)) => {
                let boot = active.link.peer().boot_id;
                if let Some(note) = seen.begin(&wanted.cluster, boot, answer) {
                    teller.tell(&Reply::Note { text: note }).await?;
                }
                tell_entries(teller, stream, &mut seen).await?
            }
            Err(why) => why,
        };
        if seen.has_no_places || !has_gone(&active.link).await {
            return Ok(Err(ended(&wanted.cluster, &why)));
        }
        match next_link(handle, &wanted.cluster, &mut links).await {
            Some(next) => active = next,
            None => return Ok(Err(ended(&wanted.cluster, "the cluster is going down"))),
        }
    }
}

/// Tells what comes on a stream until it ends, and says why it did.
async fn tell_entries(
    teller: &mut Teller,
    mut stream: Stream,
    seen: &mut Seen,
) -> Result<String, Gone> {
    loop {
        match stream.receive::<LogEntry>().await {
            Ok(Some(entry)) => {
                for line in entry.text.split('\n') {
                    let text = line.to_owned();
                    teller.tell(&Reply::Log { text }).await?;
                }
                seen.entry(entry.place);
            }
            Ok(None) => return Ok("the guest tells no more of it".to_owned()),
            Err(error) => return Ok(error.to_string()),
        }
    }
}

/// Whether it ended because the link does, whose streams may end a little before it. A guest whose link
/// stands has a reason of its own, and would give it again.
async fn has_gone(link: &Link) -> bool {
    timeout(END_DEADLINE, link.closed()).await.is_ok()
}

/// The link that comes after one that was lost; none when none is wanted any more.
async fn next_link(
    handle: &Handle,
    cluster: &ClusterName,
    links: &mut LinkSlot,
) -> Option<ActiveLink> {
    let stands = |slot: &Option<ActiveLink>| {
        let active = slot.as_ref()?;
        (!active.link.is_closed()).then(|| active.clone())
    };
    let mut views = handle.views();
    let is_unwanted = |view: Option<&Arc<View>>| view.is_none_or(|view| !view.wanted);
    let unwanted = async {
        // The daemon's end is an end, too.
        let _ = views
            .wait_for(|views| is_unwanted(views.get(cluster)))
            .await;
    };
    let arrival = async {
        let slot = links.wait_for(|slot| stands(slot).is_some()).await.ok()?;
        stands(&slot)
    };
    tokio::select! {
        active = arrival => active,
        () = unwanted => None,
    }
}

/// What of a log was told already.
#[derive(Debug, Default)]
struct Seen {
    /// The place of the last entry that was.
    place: Option<String>,
    /// The guest's boot at that time; none before the first link.
    boot: Option<[u8; 16]>,
    /// Whether its entries have none: nobody could tell which were told.
    has_no_places: bool,
}

impl Seen {
    /// What to ask of the next link.
    fn request(&self, source: LogSource, tail: u32) -> FollowLog {
        // After a link on which the log was empty, all of it is new.
        let is_first = self.boot.is_none();
        FollowLog {
            source,
            tail: if is_first { tail } else { u32::MAX },
            after: self.place.clone(),
        }
    }

    /// Takes the answer, and says what whoever reads the log has to know.
    fn begin(
        &mut self,
        cluster: &ClusterName,
        boot: [u8; 16],
        answer: FollowingLog,
    ) -> Option<String> {
        let has_rebooted = self.boot.replace(boot).is_some_and(|before| before != boot);
        match answer.after {
            Some(after) if after.is_empty() => self.has_no_places = true,
            Some(after) => self.place = Some(after),
            None => {}
        }
        match (has_rebooted, answer.complete) {
            (false, true) => None,
            (true, true) => Some(format!("{cluster} has rebooted; its log goes on")),
            (false, false) => Some(format!(
                "the log of {cluster} no longer has the last line shown: it goes on with what is left of it, and lines \
                 may be missing between"
            )),
            (true, false) => Some(format!(
                "{cluster} has rebooted and its log no longer has the last line shown: it goes on \
                 with this boot, and lines may be missing between"
            )),
        }
    }

    fn entry(&mut self, place: String) {
        self.place = Some(place);
    }
}

async fn begin<R: Request>(link: &Link, request: &R) -> Result<(R::Answer, Stream), String> {
    match timeout(BEGIN_DEADLINE, link.request(request)).await {
        Ok(begun) => begun.map_err(|error| error.to_string()),
        Err(_) => Err("the guest does not answer".to_owned()),
    }
}

fn no_link(cluster: &ClusterName, source: LogSource) -> Failure {
    Failure {
        kind: Kind::Unreachable,
        message: format!("no link to {cluster}: the log of {source} is in its machine"),
        hints: vec![
            format!("`lkc-host status {cluster}` says why"),
            format!("`lkc-host logs {cluster} --source machine` needs no link"),
        ],
        tail: Vec::new(),
    }
}

fn ended(cluster: &ClusterName, why: &str) -> Failure {
    Failure {
        kind: Kind::Unreachable,
        message: format!("the log of {cluster} ended: {}", crate::sanitize::line(why)),
        hints: Vec::new(),
        tail: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(after: Option<&str>, complete: bool) -> FollowingLog {
        FollowingLog {
            after: after.map(str::to_owned),
            complete,
        }
    }

    fn begin(seen: &mut Seen, boot: u8, answer: FollowingLog) -> Option<String> {
        seen.begin(&"k3s-dev".parse().unwrap(), [boot; 16], answer)
    }

    #[test]
    fn it_goes_on_behind_the_last_entry_that_was_told() {
        let mut seen = Seen::default();
        let asked = seen.request(LogSource::K3s, 5);
        assert_eq!((asked.tail, asked.after), (5, None));
        assert_eq!(begin(&mut seen, 1, answered(None, true)), None);
        seen.entry("a".to_owned());
        seen.entry("b".to_owned());
        let asked = seen.request(LogSource::K3s, 5);
        assert_eq!(asked.after.as_deref(), Some("b"));
        assert_eq!(begin(&mut seen, 1, answered(Some("b"), true)), None);
        // Nothing was told on that link.
        assert_eq!(seen.request(LogSource::K3s, 5).after.as_deref(), Some("b"));
        assert!(!seen.has_no_places);
    }

    #[test]
    fn what_comes_before_anything_was_told_is_not_missed() {
        let mut seen = Seen::default();
        // Nothing of the past is wanted: the guest says where it ends.
        assert_eq!(begin(&mut seen, 1, answered(Some("a"), true)), None);
        assert_eq!(seen.request(LogSource::K3s, 0).after.as_deref(), Some("a"));

        // There was none.
        let mut seen = Seen::default();
        assert_eq!(begin(&mut seen, 1, answered(None, true)), None);
        let asked = seen.request(LogSource::Agent, 0);
        assert_eq!((asked.tail, asked.after), (u32::MAX, None));
    }

    #[test]
    fn a_reboot_and_a_gap_are_said() {
        let notes: Vec<_> = [(1, true), (2, true), (2, false), (3, false)]
            .into_iter()
            .scan(Seen::default(), |seen, (boot, complete)| {
                Some(begin(seen, boot, answered(None, complete)).unwrap_or_default())
            })
            .collect();
        insta::assert_snapshot!(notes.join("\n"), @"

        k3s-dev has rebooted; its log goes on
        the log of k3s-dev no longer has the last line shown: it goes on with what is left of it, and lines may be missing between
        k3s-dev has rebooted and its log no longer has the last line shown: it goes on with this boot, and lines may be missing between
        ");
    }

    #[test]
    fn a_log_without_places_is_told_over_one_link() {
        let mut seen = Seen::default();
        assert_eq!(begin(&mut seen, 1, answered(Some(""), true)), None);
        assert!(seen.has_no_places);
    }
}
