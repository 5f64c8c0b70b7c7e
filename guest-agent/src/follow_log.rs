//! A log that a host follows from a place on, so that it can go on there over the next link.
//!
//! A journal has a place for each entry. A file that the agent writes has none, and whoever follows it
//! begins anew with each link.

use std::{
    fs,
    path::{Path, PathBuf},
};

use futures::{StreamExt as _, stream::BoxStream};
use lkc_protocol::{
    error::{Refusal, RefusalCode, ResetCode},
    link::IncomingRequest,
    message::{FollowLog, FollowingLog, LogEntry, LogLine, LogSource},
};

use crate::{
    k3s::unit::{Begin, Cursor, Unit},
    logs,
    observe::{Observer, describe},
};

type Entries = BoxStream<'static, std::io::Result<LogEntry>>;

/// What the agent itself says: in its file, or as systemd has it.
pub(crate) fn agent_log(
    file: Option<&Path>,
    tail: usize,
    follow: bool,
) -> BoxStream<'static, std::io::Result<LogLine>> {
    match file {
        Some(path) => logs::lines(path.to_owned(), tail, follow).boxed(),
        None => Unit::of_the_agent().log(tail, follow).boxed(),
    }
}

/// Tells a host the entries that it asks for and those that come, until it lets go.
pub(crate) async fn serve(
    request: IncomingRequest,
    wanted: FollowLog,
    observer: &Observer,
    agent_file: Option<&Path>,
) {
    let source = match (wanted.source, observer.k3s_unit(), agent_file) {
        (LogSource::K3s, Some(unit), _) => Source::Journal(unit.clone()),
        (LogSource::K3s, None, _) => Source::File(observer.k3s_log_path()),
        (LogSource::Agent, _, None) => Source::Journal(Unit::of_the_agent()),
        (LogSource::Agent, _, Some(path)) => Source::File(path.to_owned()),
    };
    let (following, mut entries) = match source.begin(&wanted).await {
        Ok(begun) => begun,
        Err(refusal) => return request.refuse(&refusal),
    };
    let mut stream = request.accept::<FollowLog>(&following);
    while let Some(entry) = entries.next().await {
        let sent = match entry {
            Ok(entry) => stream.send(&entry).await,
            Err(error) => {
                tracing::warn!(%error, "cannot read a log");
                return stream.reset(ResetCode::Failed);
            }
        };
        if sent.is_err() {
            return;
        }
    }
    // It was to go on for ever.
    stream.reset(ResetCode::Failed);
}

enum Source {
    Journal(Unit),
    File(PathBuf),
}

impl Source {
    async fn begin(self, wanted: &FollowLog) -> Result<(FollowingLog, Entries), Refusal> {
        let tail = usize::try_from(wanted.tail).unwrap_or(usize::MAX);
        let unit = match self {
            Self::Journal(unit) => unit,
            Self::File(path) => {
                let begun = FollowingLog {
                    after: Some(String::new()),
                    complete: wanted.after.is_none(),
                };
                let place = |line: LogLine| LogEntry {
                    place: String::new(),
                    text: line.text,
                };
                let lines = logs::lines(path, tail, true);
                return Ok((begun, lines.map(move |line| line.map(place)).boxed()));
            }
        };
        let (begin, complete) = match &wanted.after {
            Some(after) => {
                let after: Cursor = after
                    .parse()
                    .map_err(|error| Refusal::new(RefusalCode::Invalid, describe(&error)))?;
                unit.behind(after, &boot_id()).await
            }
            // So that what comes before anything is told is not missed by the next link.
            None if tail == 0 => match unit.last_entry().await? {
                Some(last) => (Begin::Behind(last), true),
                None => (Begin::Boot, true),
            },
            None => (Begin::Tail(tail), true),
        };
        let after = match &begin {
            Begin::Behind(entry) => Some(entry.to_string()),
            Begin::Tail(_) | Begin::Boot => None,
        };
        let entries = unit.entries(begin, true).boxed();
        Ok((FollowingLog { after, complete }, entries))
    }
}

/// The id of this boot, as the kernel writes it; no boot has an empty one.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}
