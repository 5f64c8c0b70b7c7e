//! What both ends see of connections through a tunnel, beside what they see of direct ones.

use std::{net::SocketAddr, time::Duration};

use lkc_tests::behaviours::{Behaviour, Difference, Record, all, play};
use tokio::{net::TcpListener, runtime::Builder};

use super::Target;
use crate::{Failure, interrupt::Interrupt};

/// How long an end waits for the other one before it is told that nothing comes.
const PATIENCE: Duration = Duration::from_secs(5);

/// The same where our tunnel is known to keep it waiting.
const LITTLE_PATIENCE: Duration = Duration::from_secs(1);

/// One that an end can tell.
pub(crate) struct Told {
    pub(crate) name: String,
    /// What both ends saw of a direct connection and of this one.
    pub(crate) records: [Record; 2],
    /// Whether our tunnel is known not to get it right yet.
    pub(crate) known: bool,
}

/// The behaviours beside direct ones.
pub(crate) struct Compared {
    /// Those that an end can tell.
    pub(crate) told: Vec<Told>,
    /// Refusals that come after the connect, which no listener can avoid.
    pub(crate) unavoidable: u32,
    /// All of them.
    pub(crate) count: u32,
}

/// Plays every behaviour directly and through a tunnel. The backend is gone afterwards.
///
/// # Errors
/// When there is no listener, or `Interrupted`.
pub(crate) fn compare(target: Target<'_>, interrupt: &Interrupt) -> Result<Compared, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::to("start the runtime"))?;
    let listener = target.backend.retire();
    let listener = listener.ok_or_else(|| {
        Failure::Candidate("the backend's listener was given away before".to_owned())
    })?;
    runtime.block_on(async {
        let what = || Failure::to("listen");
        listener.set_nonblocking(true).map_err(what())?;
        let listener = TcpListener::from_std(listener).map_err(what())?;
        let direct = TcpListener::bind("127.0.0.1:0").await.map_err(what())?;
        let beside = direct.local_addr().map_err(what())?;
        let mut compared = Compared {
            told: Vec::new(),
            unavoidable: 0,
            count: 0,
        };
        let (refused, answered): (Vec<_>, Vec<_>) = all()
            .into_iter()
            .partition(|behaviour| behaviour.is_refused());
        for behaviour in &answered {
            interrupt.check()?;
            let patience = if behaviour.is_told_yet() {
                LITTLE_PATIENCE
            } else {
                PATIENCE
            };
            let expected = play(behaviour, beside, &direct, patience).await;
            let seen = play(behaviour, target.entry, &listener, patience).await;
            compared.note(behaviour, expected, seen);
        }
        // Now nobody listens there any more.
        drop(listener);
        let nowhere = nowhere().await?;
        for behaviour in &refused {
            let expected = play(behaviour, nowhere, &direct, PATIENCE).await;
            let seen = play(behaviour, target.entry, &direct, PATIENCE).await;
            compared.note(behaviour, expected, seen);
        }
        Ok(compared)
    })
}

impl Compared {
    fn note(&mut self, behaviour: &Behaviour, direct: Record, seen: Record) {
        self.count += 1;
        match seen.differs_from(&direct) {
            Difference::None => {}
            Difference::Unavoidable => self.unavoidable += 1,
            Difference::Told => self.told.push(Told {
                name: behaviour.name().to_owned(),
                records: [direct, seen],
                known: behaviour.is_told_yet(),
            }),
        }
    }
}

async fn nowhere() -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await;
    let address = listener.and_then(|listener| listener.local_addr());
    address.map_err(Failure::to("find a free port"))
}
