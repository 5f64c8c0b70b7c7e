//! Dials the carriers of a cluster, some beside each other: the first that becomes a link wins.

use std::{future::pending, pin::Pin, time::Instant};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::sleep_until;

use super::turns::{Next, Turns};

/// What becomes of one carrier.
pub(in super::super) type Dialled<'a, L, E> = Boxed<'a, Result<L, E>>;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A carrier with what became of it.
type Ended<K, L, E> = (K, Result<L, E>);

/// Carriers that are being dialled. A slow one stays here from one round to the next.
pub(in super::super) struct Dialling<'a, K, L, E> {
    turns: Turns<K>,
    attempts: FuturesUnordered<Boxed<'a, Ended<K, L, E>>>,
    /// One that ended between two rounds.
    ended: Option<Ended<K, L, E>>,
}

impl<'a, K, L, E> Dialling<'a, K, L, E>
where
    K: Clone + PartialEq + Send + 'a,
    L: 'a,
    E: 'a,
{
    pub(in super::super) fn new() -> Self {
        Self {
            turns: Turns::new(),
            attempts: FuturesUnordered::new(),
            ended: None,
        }
    }

    /// Gives each of `carriers` its turn by `dial`, which bounds its own time.
    ///
    /// # Errors
    /// What failed in this round, in the order in which it did.
    pub(in super::super) async fn round(
        &mut self,
        carriers: &[K],
        dial: impl Fn(K) -> Dialled<'a, L, E>,
    ) -> Result<L, Vec<(K, E)>> {
        self.turns.begin(carriers, now());
        let mut failures = Vec::new();
        loop {
            let ended = match self.ended.take() {
                Some(ended) => ended,
                None => match self.turns.next(now()) {
                    Next::Over => return Err(failures),
                    Next::Dial(carrier) => {
                        let attempt = dial(carrier.clone());
                        self.attempts
                            .push(Box::pin(async move { (carrier, attempt.await) }));
                        continue;
                    }
                    Next::Wait(until) => tokio::select! {
                        Some(ended) = self.attempts.next() => ended,
                        () = reached(until) => continue,
                    },
                },
            };
            match ended {
                (carrier, Ok(link)) => {
                    self.turns.won(&carrier);
                    self.attempts.clear();
                    return Ok(link);
                }
                (carrier, Err(error)) => {
                    self.turns.failed(&carrier);
                    failures.push((carrier, error));
                }
            }
        }
    }

    /// Between two rounds: returns when the next one should come because a slow carrier has ended.
    pub(super) async fn early(&mut self) {
        if self.ended.is_none() {
            self.ended = match self.attempts.next().await {
                Some(ended) => Some(ended),
                None => pending().await,
            };
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn reached(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until.into()).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::sleep;

    use super::{
        super::turns::{HEAD_START, SLOW_FOR},
        *,
    };

    type Bench = Dialling<'static, &'static str, &'static str, &'static str>;

    /// How long each carrier takes, and whether it is a link then.
    type Script = &'static [(&'static str, Duration, bool)];

    fn dial(
        script: Script,
    ) -> impl Fn(&'static str) -> Dialled<'static, &'static str, &'static str> {
        move |carrier| {
            let (name, time, is_link) = *script.iter().find(|one| one.0 == carrier).unwrap();
            Box::pin(async move {
                sleep(time).await;
                if is_link { Ok(name) } else { Err("no") }
            })
        }
    }

    /// A round: what came of it and how long it took, to the millisecond of the clock.
    async fn round(bench: &mut Bench, script: Script) -> (Result<&'static str, usize>, Duration) {
        let carriers: Vec<_> = script.iter().map(|one| one.0).collect();
        let start = now();
        let result = bench.round(&carriers, dial(script)).await;
        (result.map_err(|failures| failures.len()), now() - start)
    }

    const NEVER: Duration = Duration::from_secs(12);
    const AT_ONCE: Duration = Duration::ZERO;

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_does_not_keep_the_next_one_and_works_again_later() {
        let mut bench = Bench::new();
        let hanging: Script = &[("a", NEVER, false), ("b", AT_ONCE, true)];
        let (link, time) = round(&mut bench, hanging).await;
        assert_eq!(link, Ok("b"));
        assert!(time >= HEAD_START && time < HEAD_START + Duration::from_millis(50));
        let (link, time) = round(&mut bench, hanging).await;
        assert!(
            link == Ok("b") && time < Duration::from_millis(50),
            "{time:?}"
        );
        sleep(SLOW_FOR).await;
        let well: Script = &[("a", AT_ONCE, true), ("b", AT_ONCE, true)];
        assert_eq!(round(&mut bench, well).await.0, Ok("a"));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_slow_wins_if_the_others_fail_and_is_not_dialled_twice() {
        let mut bench = Bench::new();
        const SLOW: Script = &[("a", Duration::from_secs(5), true), ("b", AT_ONCE, false)];
        // It goes on while the other one is dialled again and again.
        let start = now();
        let mut rounds = 0;
        let link = loop {
            match round(&mut bench, SLOW).await.0 {
                Ok(link) => break link,
                Err(failures) => assert_eq!(failures, 1),
            }
            rounds += 1;
            tokio::select! {
                () = sleep(Duration::from_secs(1)) => {}
                () = bench.early() => {}
            }
        };
        assert!(link == "a" && rounds >= 3, "{link} after {rounds}");
        let took = now() - start;
        assert!(took < Duration::from_millis(5100), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_is_told_and_nothing_runs_on_without_a_pause() {
        let mut bench = Bench::new();
        let dead: Script = &[
            ("a", NEVER, false),
            ("b", AT_ONCE, false),
            ("c", AT_ONCE, false),
        ];
        assert_eq!(round(&mut bench, dead).await, (Err(2), HEAD_START));
        bench.early().await;
        assert_eq!(
            round(&mut bench, dead).await.0,
            Err(3),
            "the first and both others again"
        );
    }
}
