//! Following a cluster to where the client wants it: told on every change, ended by the event.

use std::{sync::Arc, time::Duration};

use lkc_protocol::message::Rung;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::sleep,
};

use super::{
    conversation::{Gone, Teller},
    judge::{Aim, Verdict, seconds},
    objects::{self, News},
};
use crate::{
    config::ClusterName,
    control::{Failure, Goal, ObjectGoal, Phase, Reply},
    daemon::{
        Handle, Views,
        state::{Begun, View, unknown_cluster},
    },
    error::Kind,
};

/// News of objects that may wait for the client.
const NEWS: usize = 16;

/// Follows what `up` or `restart` began.
pub(super) async fn begun(
    teller: &mut Teller,
    handle: &Handle,
    cluster: ClusterName,
    asked: Result<Begun, Failure>,
    goals: Vec<Goal>,
    timeout_ms: u64,
) -> Result<(), Gone> {
    let begun = match asked {
        Ok(begun) => begun,
        Err(failure) => return teller.end(Err(failure)).await,
    };
    let mut follower = Follower::new(teller, handle, cluster);
    let end = if goals.is_empty() {
        follower.tell().await?;
        Ok(())
    } else {
        follower.until(begun.run, goals, timeout_ms, true).await?
    };
    teller.end(end.map(|()| begun.changed)).await
}

/// Waits for goals of a cluster that is up or coming up.
pub(super) async fn wait(
    teller: &mut Teller,
    handle: &Handle,
    cluster: ClusterName,
    goals: Vec<Goal>,
    timeout_ms: u64,
) -> Result<(), Gone> {
    let mut follower = Follower::new(teller, handle, cluster);
    let end = follower.until(0, goals, timeout_ms, false).await?;
    teller.end(end.map(|()| false)).await
}

/// Follows a cluster until its machine has stopped.
pub(super) async fn stopped(
    teller: &mut Teller,
    handle: &Handle,
    cluster: ClusterName,
    asked: Result<Begun, Failure>,
) -> Result<(), Gone> {
    let begun = match asked {
        Ok(begun) => begun,
        Err(failure) => return teller.end(Err(failure)).await,
    };
    let is_stopped = |view: Option<&View>| match view {
        None => Some(Ok(())),
        Some(view) if view.run > begun.run || view.status.phase == Phase::Down => Some(Ok(())),
        Some(view) => view.failure.clone().map(Err),
    };
    let end = Follower::new(teller, handle, cluster)
        .until_end(is_stopped)
        .await?;
    teller.end(end.map(|()| begun.changed)).await
}

/// Follows a cluster until it is gone.
pub(super) async fn deleted(
    teller: &mut Teller,
    handle: &Handle,
    cluster: ClusterName,
    asked: Result<Begun, Failure>,
) -> Result<(), Gone> {
    if let Err(failure) = asked {
        return teller.end(Err(failure)).await;
    }
    let is_gone = |view: Option<&View>| match view {
        None => Some(Ok(())),
        Some(view) => view.failure.clone().map(Err),
    };
    let end = Follower::new(teller, handle, cluster)
        .until_end(is_gone)
        .await?;
    teller.end(end.map(|()| true)).await
}

/// Tells how one cluster or every one stands, and goes on with every change.
pub(super) async fn status(
    teller: &mut Teller,
    handle: &Handle,
    cluster: Option<ClusterName>,
    follow: bool,
    with_node: bool,
) -> Result<(), Gone> {
    let mut views = handle.views();
    let mut told = Views::new();
    loop {
        let now = views.borrow_and_update().clone();
        if let Some(name) = &cluster
            && !now.contains_key(name)
        {
            return teller.end(Err(unknown_cluster(name))).await;
        }
        let wanted = |view: &&Arc<View>| {
            cluster
                .as_ref()
                .is_none_or(|name| *name == view.status.name)
        };
        for view in now.values().filter(wanted) {
            if told.get(&view.status.name) != Some(view) {
                let shown = if with_node {
                    handle.shown_with_node(view).await
                } else {
                    handle.shown(view)
                };
                let cluster = Box::new(shown);
                teller.tell(&Reply::Status { cluster }).await?;
            }
        }
        told = now;
        if !follow || views.changed().await.is_err() {
            return teller.end(Ok(false)).await;
        }
    }
}

/// Tells a client about one cluster.
struct Follower<'a> {
    teller: &'a mut Teller,
    handle: &'a Handle,
    cluster: ClusterName,
    views: watch::Receiver<Views>,
    told: Option<Arc<View>>,
}

/// A goal on objects, with what was last said of it.
struct Watched {
    goal: ObjectGoal,
    satisfied: bool,
    detail: String,
}

impl<'a> Follower<'a> {
    fn new(teller: &'a mut Teller, handle: &'a Handle, cluster: ClusterName) -> Self {
        Self {
            teller,
            handle,
            cluster,
            views: handle.views(),
            told: None,
        }
    }

    /// Tells how the cluster stands, unless that was the last thing told.
    async fn tell(&mut self) -> Result<Option<Arc<View>>, Gone> {
        let view = self.views.borrow_and_update().get(&self.cluster).cloned();
        if let Some(view) = &view
            && self.told.as_ref() != Some(view)
        {
            let cluster = Box::new(self.handle.shown(view));
            self.teller.tell(&Reply::Status { cluster }).await?;
        }
        self.told.clone_from(&view);
        Ok(view)
    }

    /// Follows until `ended` says so.
    async fn until_end(
        &mut self,
        ended: impl Fn(Option<&View>) -> Option<Result<(), Failure>>,
    ) -> Result<Result<(), Failure>, Gone> {
        loop {
            let view = self.tell().await?;
            if let Some(end) = ended(view.as_deref()) {
                return Ok(end);
            }
            if self.views.changed().await.is_err() {
                return Ok(Err(daemon_ends()));
            }
        }
    }

    /// Follows until every goal holds, one cannot, or the time is up.
    async fn until(
        &mut self,
        run: u64,
        goals: Vec<Goal>,
        timeout_ms: u64,
        kubeconfig: bool,
    ) -> Result<Result<(), Failure>, Gone> {
        let left = Duration::from_millis(timeout_ms).saturating_sub(self.teller.since.elapsed());
        let mut deadline = std::pin::pin!(sleep(left));
        let (aim, mut watched) = self.split(run, &goals, kubeconfig);
        // They end with this function, whichever way it ends.
        let mut watches = JoinSet::new();
        let (sender, mut news) = mpsc::channel(NEWS);
        for (place, watched) in watched.iter().enumerate() {
            let (handle, cluster) = (self.handle.clone(), self.cluster.clone());
            let goal = watched.goal.clone();
            watches.spawn(objects::watch(handle, cluster, place, goal, sender.clone()));
        }
        loop {
            let view = self.tell().await?;
            let rungs = aim.judge(view.as_deref());
            match rungs {
                Verdict::Failed(failure) => return Ok(Err(failure)),
                Verdict::Reached if watched.iter().all(|watched| watched.satisfied) => {
                    return Ok(Ok(()));
                }
                Verdict::Reached | Verdict::Waiting => {}
            }
            tokio::select! {
                changed = self.views.changed() => {
                    if changed.is_err() {
                        return Ok(Err(daemon_ends()));
                    }
                }
                Some(News { goal, status }) = news.recv() => match status {
                    Ok(status) => {
                        let watched = &mut watched[goal];
                        if (watched.satisfied, &watched.detail) != (status.satisfied, &status.detail) {
                            (watched.satisfied, watched.detail) = (status.satisfied, status.detail);
                            self.teller.tell(&watched.reply()).await?;
                        }
                    }
                    Err(failure) => return Ok(Err(failure)),
                },
                () = &mut deadline => {
                    let missing = watched.iter().find(|watched| !watched.satisfied);
                    return Ok(Err(match (aim.judge(view.as_deref()), missing) {
                        (Verdict::Reached, Some(watched)) => watched.timed_out(&self.cluster, timeout_ms),
                        _ => aim.timed_out(view.as_deref(), timeout_ms),
                    }));
                }
            }
        }
    }

    /// The highest rung among the goals, and the goals on objects, which need the API.
    fn split(&self, run: u64, goals: &[Goal], kubeconfig: bool) -> (Aim, Vec<Watched>) {
        let mut rung = Rung::Agent;
        let mut watched = Vec::new();
        for goal in goals {
            match goal {
                Goal::Rung(wanted) => rung = rung.max(*wanted),
                Goal::Object(goal) => {
                    rung = rung.max(Rung::Api);
                    let (satisfied, detail) = (false, String::new());
                    watched.push(Watched {
                        goal: goal.clone(),
                        satisfied,
                        detail,
                    });
                }
            }
        }
        let cluster = self.cluster.clone();
        let aim = Aim {
            cluster,
            run,
            rung,
            kubeconfig,
        };
        (aim, watched)
    }
}

impl Watched {
    fn reply(&self) -> Reply {
        Reply::Goal {
            goal: self.goal.to_string(),
            satisfied: self.satisfied,
            detail: self.detail.clone(),
        }
    }

    fn timed_out(&self, cluster: &ClusterName, after_ms: u64) -> Failure {
        let goal = &self.goal;
        let detail = if self.detail.is_empty() {
            "nothing is known of it"
        } else {
            self.detail.as_str()
        };
        Failure {
            kind: Kind::Timeout,
            message: format!(
                "{goal} was not ready within {}: {detail}",
                seconds(after_ms)
            ),
            hints: vec![format!(
                "`lkc-host wait {cluster} --for {goal}` goes on waiting: the cluster does not stop"
            )],
            tail: Vec::new(),
        }
    }
}

fn daemon_ends() -> Failure {
    Failure {
        kind: Kind::Unreachable,
        message: "the daemon is ending".to_owned(),
        hints: vec!["run this again: the daemon starts when it is needed".to_owned()],
        tail: Vec::new(),
    }
}
