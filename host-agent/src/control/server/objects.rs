//! Waiting for objects of the cluster: asked of the guest, and asked again after a link was lost.

use std::time::Duration;

use lkc_protocol::{
    error::RefusalCode,
    link::{Link, RequestError},
    message::{ObjectStatus, Rung, RungState, WatchObject},
};
use tokio::{sync::mpsc, time::sleep};

use crate::{
    config::ClusterName,
    control::{Failure, ObjectGoal},
    daemon::{Handle, state::View},
    error::Kind,
};

/// Pause before the guest is asked again after it could not yet say anything.
const RETRY: Duration = Duration::from_millis(250);

/// What one watch says.
#[derive(Debug)]
pub(super) struct News {
    /// Place of the goal in the list.
    pub(super) goal: usize,
    /// Where it stands, or why it never can.
    pub(super) status: Result<ObjectStatus, Failure>,
}

/// Watches until the receiver is dropped or the guest says that it makes no sense.
pub(super) async fn watch(
    handle: Handle,
    cluster: ClusterName,
    place: usize,
    goal: ObjectGoal,
    news: mpsc::Sender<News>,
) {
    let request = goal.to_request();
    loop {
        if !until_api(&handle, &cluster).await {
            return;
        }
        let link = handle
            .links(&cluster)
            .and_then(|links| links.borrow().clone());
        let why = match link {
            Some(active) => watch_on(&active.link, &request, place, &news).await,
            None => Stop::Again("the link is down".to_owned()),
        };
        let status = match why {
            Stop::Dropped => return,
            Stop::Refused(failure) => {
                let status = Err(failure);
                let _ = news
                    .send(News {
                        goal: place,
                        status,
                    })
                    .await;
                return;
            }
            Stop::Again(detail) => Ok(ObjectStatus {
                satisfied: false,
                detail,
            }),
        };
        if news
            .send(News {
                goal: place,
                status,
            })
            .await
            .is_err()
        {
            return;
        }
        sleep(RETRY).await;
    }
}

enum Stop {
    /// Nobody waits any more.
    Dropped,
    /// It never can.
    Refused(Failure),
    /// Not now.
    Again(String),
}

async fn watch_on(
    link: &Link,
    request: &WatchObject,
    goal: usize,
    news: &mpsc::Sender<News>,
) -> Stop {
    let mut stream = match link.request(request).await {
        Ok((_, stream)) => stream,
        Err(RequestError::Refused(refusal))
            if matches!(
                refusal.code,
                RefusalCode::Invalid | RefusalCode::Denied | RefusalCode::Unsupported
            ) =>
        {
            return Stop::Refused(Failure {
                kind: match refusal.code {
                    RefusalCode::Unsupported => Kind::Version,
                    _ => Kind::BadInput,
                },
                message: format!(
                    "{} cannot be waited for: {}",
                    request.resource,
                    crate::sanitize::line(&refusal.to_string())
                ),
                hints: Vec::new(),
                tail: Vec::new(),
            });
        }
        Err(error) => return Stop::Again(crate::sanitize::line(&error.to_string())),
    };
    loop {
        match stream.receive::<ObjectStatus>().await {
            Ok(Some(status)) => {
                let status = ObjectStatus {
                    detail: crate::sanitize::line(&status.detail),
                    ..status
                };
                if news
                    .send(News {
                        goal,
                        status: Ok(status),
                    })
                    .await
                    .is_err()
                {
                    return Stop::Dropped;
                }
            }
            Ok(None) => return Stop::Again("the guest ended the watch".to_owned()),
            Err(error) => return Stop::Again(error.to_string()),
        }
    }
}

/// Waits until the API answers; false when the daemon ends.
async fn until_api(handle: &Handle, cluster: &ClusterName) -> bool {
    let has_api = |view: &View| {
        let step = view.status.rung(Rung::Api);
        step.is_some_and(|step| step.state == RungState::Ready)
    };
    let mut views = handle.views();
    let arrived = views.wait_for(|views| views.get(cluster).is_some_and(|view| has_api(view)));
    arrived.await.is_ok()
}
