//! A guest with a clock of its own at the other end of a real link. No clock of this machine is set.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU32, Ordering},
};

use lkc_protocol::{
    error::{Refusal, RefusalCode},
    link::{Incoming, Pair, pair},
    message::{AnyRequest, Info, InfoAnswer},
};
use tokio::{sync::Notify, task::JoinSet};

use super::*;

/// Longest wait of a test for anything.
const LIMIT: Duration = Duration::from_secs(20);

const HOURS: i64 = 3_600_000;

/// A clock that forwards do not wait for.
pub(in super::super) fn right() -> ClockSlot {
    watch::channel(GuestClock::Settled(None)).1
}

#[test]
fn only_a_wrong_clock_is_set_and_only_by_an_agent_that_can() {
    for (off_ms, capability, expected) in [
        (0, version::CONDITION, Step::Leave),
        (2000, version::CONDITION, Step::Leave),
        (-2000, 1, Step::Leave),
        (2001, version::CONDITION, Step::Set),
        (i64::MIN, version::CONDITION + 1, Step::Set),
    ] {
        assert_eq!(judge(off_ms, capability), expected, "{off_ms} {capability}");
    }
    let Step::Tell(told) = judge(-8 * HOURS, version::NETWORK_TRIAL) else {
        panic!("it cannot be asked");
    };
    assert!(told.why_not.unwrap().contains("too old"));
}

#[test]
fn what_became_of_it_is_told() {
    let set = |changed| {
        Ok(TimeSet {
            before_unix_ms: 0,
            changed,
        })
    };
    let told = conclude(-5000, set(true)).unwrap().unwrap();
    assert_eq!((told.off_ms, told.why_not), (-5000, None));
    assert_eq!(conclude(-5000, set(false)), Ok(None));
    assert_eq!(conclude(-5000, Err(RequestError::LinkDown)), Err(Unknown));
    let refusal = Refusal::new(RefusalCode::Denied, "it keeps\u{7} its clock");
    let told = conclude(5000, Err(RequestError::Refused(refusal)));
    assert!(!told.unwrap().unwrap().why_not.unwrap().contains('\u{7}'));
}

/// A guest whose clock is as far ahead of this machine's as `off_ms` says.
struct Guest {
    off_ms: AtomicI64,
    is_allowed: bool,
    answers: bool,
    asked: AtomicU32,
}

impl Guest {
    fn off_by(off_ms: i64) -> Self {
        Self {
            off_ms: off_ms.into(),
            is_allowed: true,
            answers: true,
            asked: AtomicU32::new(0),
        }
    }

    /// Nothing may be forwarded while it is asked.
    async fn serve(self: Arc<Self>, mut incoming: Incoming, slot: ClockSlot) {
        let mut unanswered = Vec::new();
        while let Some(request) = incoming.next().await {
            self.asked.fetch_add(1, Ordering::Relaxed);
            assert_eq!(*slot.borrow(), GuestClock::Unsettled);
            let off_ms = self.off_ms.load(Ordering::Relaxed);
            let now = node_info::now_ms().checked_add_signed(off_ms).unwrap();
            match request.request() {
                _ if !self.answers => unanswered.push(request),
                AnyRequest::Info(_) => request.answer::<Info>(&InfoAnswer {
                    hostname: "lkc".to_owned(),
                    os: String::new(),
                    kernel: String::new(),
                    clock_unix_ms: now,
                    uptime_ms: 1,
                    interfaces: Vec::new(),
                }),
                AnyRequest::SetTime(_) if !self.is_allowed => {
                    request.refuse(&Refusal::new(
                        RefusalCode::Denied,
                        "the guest keeps its own",
                    ));
                }
                AnyRequest::SetTime(wanted) => {
                    let right = i64::try_from(wanted.clock_unix_ms).unwrap();
                    let ours = i64::try_from(node_info::now_ms()).unwrap();
                    self.off_ms.store(right - ours, Ordering::Relaxed);
                    request.answer::<SetTime>(&TimeSet {
                        before_unix_ms: now,
                        changed: true,
                    });
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// A link to a guest, whose clock is kept right.
struct Bench {
    guest: Arc<Guest>,
    slot: ClockSlot,
    slept: Arc<Notify>,
    _tasks: JoinSet<()>,
}

impl Bench {
    async fn new(guest: Guest) -> Self {
        let Pair {
            host: (link, _),
            guest: (_, incoming),
            drivers: mut tasks,
        } = pair().await.unwrap();
        let guest = Arc::new(guest);
        let (told, slot) = watch::channel(GuestClock::Unsettled);
        tasks.spawn(Arc::clone(&guest).serve(incoming, slot.clone()));
        let slept = Arc::new(Notify::new());
        let resumed = Arc::clone(&slept);
        tasks.spawn(async move {
            let never = keep_right(&link, &told, || resumed.notified()).await;
            match never {}
        });
        Self {
            guest,
            slot,
            slept,
            _tasks: tasks,
        }
    }

    async fn settled(&mut self) -> Option<ClockStatus> {
        let settled = self.slot.wait_for(GuestClock::is_settled);
        drop(timeout(LIMIT, settled).await.unwrap().unwrap());
        status(&self.slot)
    }

    fn off_ms(&self) -> i64 {
        self.guest.off_ms.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn it_is_right_before_anything_is_forwarded_and_after_a_sleep() {
    let mut bench = Bench::new(Guest::off_by(-8 * HOURS)).await;
    assert_eq!(*bench.slot.borrow(), GuestClock::Unsettled);
    let told = bench.settled().await.expect("it was wrong");
    assert!(
        told.off_ms.abs_diff(-8 * HOURS) < 60_000 && told.why_not.is_none(),
        "{told:?}"
    );
    assert!(bench.off_ms().abs() < 2000, "{}", bench.off_ms());

    // The guest slept too, and both wake.
    bench.guest.off_ms.store(-HOURS, Ordering::Relaxed);
    bench.slept.notify_one();
    let is_told = |clock: &GuestClock| match clock {
        GuestClock::Settled(Some(told)) => told.off_ms.abs_diff(-HOURS) < 60_000,
        _ => false,
    };
    let told = timeout(LIMIT, bench.slot.wait_for(is_told)).await;
    drop(told.expect("it was not looked at again").unwrap());
    assert!(bench.off_ms().abs() < 2000, "{}", bench.off_ms());
}

#[tokio::test]
async fn one_that_is_right_is_only_asked() {
    let mut bench = Bench::new(Guest::off_by(500)).await;
    assert_eq!(bench.settled().await, None);
    assert_eq!(
        (bench.off_ms(), bench.guest.asked.load(Ordering::Relaxed)),
        (500, 1)
    );
}

#[tokio::test]
async fn one_that_may_not_be_set_keeps_nobody_waiting() {
    let mut bench = Bench::new(Guest {
        is_allowed: false,
        ..Guest::off_by(5 * HOURS)
    })
    .await;
    let told = bench.settled().await.expect("it is wrong");
    assert_eq!(told.why_not.as_deref(), Some("the guest keeps its own"));
    assert_eq!(bench.off_ms(), 5 * HOURS);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_says_nothing_holds_forwards_up_for_two_seconds() {
    let since = tokio::time::Instant::now();
    let mut bench = Bench::new(Guest {
        answers: false,
        ..Guest::off_by(0)
    })
    .await;
    assert_eq!(bench.settled().await, None);
    let waited = since.elapsed();
    assert!(waited >= DEADLINE && waited < DEADLINE * 2, "{waited:?}");
}
