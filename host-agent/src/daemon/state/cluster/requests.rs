//! What clients ask of a cluster. Asking twice joins what has begun.

use std::{sync::Arc, time::Instant};

use super::{
    super::{
        Begun, BindPurpose, ClusterRequest, Steps, Task, Ticket,
        change::{self, Difference},
        ladder::Picture,
    },
    After, Cluster, Forward, Stage,
};
use crate::{
    config::{ClusterSpec, ForwardSpec},
    control::{Failure, ForwardState},
    error::Kind,
    sanitize,
};

/// Forwards of one cluster, those of the specification and those that were added.
const MAX_FORWARDS: usize = 256;

impl Cluster {
    pub(in super::super) fn handle_request(
        &mut self,
        ticket: Ticket,
        request: ClusterRequest,
        now: Instant,
        steps: &mut Steps,
    ) {
        match request {
            ClusterRequest::Up(spec) => self.handle_up(ticket, *spec, now, steps),
            ClusterRequest::Down(_) => self.handle_stop(ticket, After::Stay, steps),
            ClusterRequest::Delete(_) => self.handle_stop(ticket, After::Remove, steps),
            ClusterRequest::Restart(_) => self.handle_restart(ticket, now, steps),
            ClusterRequest::AddForward(_, forward) => self.add_forward(ticket, *forward, steps),
            ClusterRequest::RemoveForward(_, key) => self.remove_forward(ticket, &key, steps),
        }
    }

    fn handle_up(&mut self, ticket: Ticket, spec: ClusterSpec, now: Instant, steps: &mut Steps) {
        match &mut self.stage {
            Stage::Down | Stage::Failed => {
                self.spec = Arc::new(spec);
                self.start(now, steps);
                self.answer(ticket, true, steps);
            }
            Stage::Persisting | Stage::Binding | Stage::StartingMachine if *self.spec == spec => {
                self.answer(ticket, true, steps);
            }
            Stage::Persisting | Stage::Binding | Stage::StartingMachine => {
                let message = format!(
                    "cluster {} is coming up with another specification",
                    self.spec.name
                );
                let hint = "wait until it is up, then run this again";
                steps.answer(ticket, Err(conflict(message, hint)));
            }
            Stage::Running => self.handle_up_while_running(ticket, spec, now, steps),
            Stage::Stopping {
                after: After::Remove,
                ..
            }
            | Stage::Removing
            | Stage::Removed => self.refuse_while_deleted(ticket, steps),
            Stage::Stopping { after, .. } => {
                *after = After::Start(Arc::new(spec));
                self.answer_for_next_run(ticket, steps);
            }
        }
    }

    fn handle_up_while_running(
        &mut self,
        ticket: Ticket,
        spec: ClusterSpec,
        now: Instant,
        steps: &mut Steps,
    ) {
        match change::difference(&self.spec, &spec) {
            Difference::None => {
                let retried = self.retry(steps);
                if retried {
                    self.since = now;
                }
                self.answer(ticket, retried || !self.settled, steps);
            }
            Difference::Live => {
                let missing = |forward: &&ForwardSpec| !self.forwards().any(|one| one == *forward);
                let added = spec.forwards.iter().filter(missing).cloned().collect();
                self.since = now;
                let purpose = BindPurpose::Change(ticket, Arc::new(spec));
                self.bind(purpose, added, steps);
            }
            Difference::NeedsRestart { fields } => {
                let name = &self.spec.name;
                let message = format!(
                    "cluster {name} is up with another {}, which cannot change while it runs",
                    fields.join(", ")
                );
                let hint = format!(
                    "run `lkc-host down {name}`, then `lkc-host up {name}`: its data stays"
                );
                steps.answer(ticket, Err(conflict(message, hint)));
            }
        }
    }

    /// Tries again what failed and does not mend by itself. Whether there was anything.
    fn retry(&mut self, steps: &mut Steps) -> bool {
        let unbound: Vec<_> = self
            .forwards
            .iter()
            .filter(|forward| forward.state == ForwardState::Failed)
            .map(|forward| forward.spec.clone())
            .collect();
        if self.probes.doubt() {
            self.perform(Task::ProbeNow, steps);
        }
        let told_failed = self.picture.as_ref().is_some_and(Picture::has_failed);
        let failed = self.failure.take().is_some() || told_failed;
        let unheard = self.reverse.iter();
        let unheard = { unheard }.any(|reverse| reverse.state == ForwardState::Failed);
        let retried = failed || unheard || !unbound.is_empty();
        if unheard {
            self.listen_in_guest(steps);
        }
        if !unbound.is_empty() {
            self.bind(BindPurpose::Restore, unbound, steps);
        }
        if failed {
            if self.link.up {
                self.settled = false;
                self.set_up(steps);
            } else {
                self.perform(Task::ConnectNow, steps);
            }
        }
        retried
    }

    fn handle_stop(&mut self, ticket: Ticket, wanted: After, steps: &mut Steps) {
        let removes = wanted == After::Remove;
        let changed = removes || self.stage != Stage::Down;
        match &mut self.stage {
            Stage::Down | Stage::Failed if self.machine.is_none() => {
                self.rest_or_remove(removes, steps);
            }
            Stage::Persisting | Stage::Binding => {
                self.unbind_all(steps);
                self.rest_or_remove(removes, steps);
            }
            Stage::StartingMachine => {
                let (after, starting) = (wanted, true);
                self.stage = Stage::Stopping { after, starting };
                self.unbind_all(steps);
            }
            Stage::Running | Stage::Failed | Stage::Down => self.stop(wanted, steps),
            Stage::Stopping { after, .. } => {
                if *after != After::Remove {
                    *after = wanted;
                }
                self.unbind_all(steps);
            }
            Stage::Removing | Stage::Removed => {}
        }
        self.answer(ticket, changed, steps);
    }

    fn rest_or_remove(&mut self, removes: bool, steps: &mut Steps) {
        if removes {
            self.remove(steps);
        } else {
            self.rest();
        }
    }

    fn handle_restart(&mut self, ticket: Ticket, now: Instant, steps: &mut Steps) {
        let again = After::Start(Arc::clone(&self.spec));
        match &mut self.stage {
            Stage::Down | Stage::Failed if self.machine.is_none() => {
                self.start(now, steps);
                self.answer(ticket, true, steps);
            }
            Stage::Persisting | Stage::Binding => self.answer(ticket, true, steps),
            Stage::StartingMachine => {
                let (after, starting) = (again, true);
                self.stage = Stage::Stopping { after, starting };
                self.answer_for_next_run(ticket, steps);
            }
            Stage::Running | Stage::Failed | Stage::Down => {
                self.stop(again, steps);
                self.answer_for_next_run(ticket, steps);
            }
            Stage::Stopping {
                after: After::Remove,
                ..
            }
            | Stage::Removing
            | Stage::Removed => self.refuse_while_deleted(ticket, steps),
            Stage::Stopping { after, .. } => {
                if *after == After::Stay {
                    *after = again;
                }
                self.answer_for_next_run(ticket, steps);
            }
        }
    }

    fn add_forward(&mut self, ticket: Ticket, forward: ForwardSpec, steps: &mut Steps) {
        let answer = if self.stage != Stage::Running {
            Err(self.not_up())
        } else if self.forwards().any(|known| *known == forward) {
            return self.answer(ticket, false, steps);
        } else if self.forwards.len() >= MAX_FORWARDS {
            let name = &self.spec.name;
            let message = format!("cluster {name} has {MAX_FORWARDS} forwards already");
            let hint = format!("remove one: `lkc-host forward {name} --remove NAME`");
            Err(conflict(message, hint))
        } else {
            let name = &self.spec.name;
            let collision = |known: &ForwardSpec| change::forward_collision(&forward, name, known);
            self.forwards().find_map(collision).map_or(Ok(()), Err)
        };
        match answer {
            Ok(()) => {
                let purpose = BindPurpose::Add(ticket, Box::new(forward.clone()));
                self.bind(purpose, vec![forward], steps);
            }
            Err(failure) => steps.answer(ticket, Err(failure)),
        }
    }

    fn remove_forward(&mut self, ticket: Ticket, key: &str, steps: &mut Steps) {
        let is_meant = |forward: &Forward| forward.spec.is_meant_by(key);
        let named = |forward: &Forward| forward.spec.name == key;
        let found = self.forwards.iter().position(named);
        let found = found.or_else(|| self.forwards.iter().position(is_meant));
        match found {
            Some(index) => {
                let forward = self.forwards.remove(index);
                self.perform(Task::UnbindForwards(vec![forward.spec]), steps);
                self.answer(ticket, true, steps);
            }
            None => {
                let (name, key) = (&self.spec.name, sanitize::line(key));
                let message = format!("cluster {name} has no forward {key}");
                let leads_back = self.reverse.iter().any(|reverse| reverse.spec.name == key);
                let hint = if leads_back {
                    format!(
                        "{key} is a reverse forward: take it out of lkc.toml and run `lkc-host up {name}`"
                    )
                } else {
                    "`lkc-host status` lists the forwards".to_owned()
                };
                let failure = Failure {
                    kind: Kind::NotFound,
                    message,
                    hints: vec![hint],
                    tail: Vec::new(),
                };
                steps.answer(ticket, Err(failure));
            }
        }
    }
}

/// Answers.
impl Cluster {
    pub(super) fn answer(&self, ticket: Ticket, changed: bool, steps: &mut Steps) {
        let run = self.run;
        steps.answer(ticket, Ok(Begun { run, changed }));
    }

    /// The run that is asked for begins once this one is over.
    fn answer_for_next_run(&self, ticket: Ticket, steps: &mut Steps) {
        let (run, changed) = (self.run + 1, true);
        steps.answer(ticket, Ok(Begun { run, changed }));
    }

    fn refuse_while_deleted(&self, ticket: Ticket, steps: &mut Steps) {
        let message = format!("cluster {} is being deleted", self.spec.name);
        let hint = "run this again once it is gone";
        steps.answer(ticket, Err(conflict(message, hint)));
    }

    pub(super) fn not_up(&self) -> Failure {
        let name = &self.spec.name;
        Failure {
            kind: Kind::NotFound,
            message: format!("cluster {name} is not up"),
            hints: vec![format!("run `lkc-host up {name}`")],
            tail: Vec::new(),
        }
    }
}

fn conflict(message: String, hint: impl Into<String>) -> Failure {
    Failure {
        kind: Kind::Conflict,
        message,
        hints: vec![hint.into()],
        tail: Vec::new(),
    }
}
