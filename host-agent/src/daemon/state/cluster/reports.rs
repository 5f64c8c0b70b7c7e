//! What the tasks of a cluster report, and what follows from it.

use std::{sync::Arc, time::Instant};

use lkc_protocol::message::Rung;

use super::{
    super::{
        BindPurpose, MachineInfo, Report, Steps, Task, change,
        ladder::{Culprit, Picture},
    },
    After, Cluster, Forward, Setup, Stage, at_rung, bounded, unasked,
};
use crate::{
    carrier::Route,
    config::{ClusterSpec, ForwardSpec, ReverseSpec},
    control::{Failure, ForwardState},
    error::Kind,
    sanitize,
};

impl Cluster {
    pub(in super::super) fn handle_report(
        &mut self,
        run: u64,
        report: Report,
        now: Instant,
        steps: &mut Steps,
    ) {
        match report {
            Report::ForwardsBound { purpose, forwards } => {
                self.handle_bound(run, purpose, &forwards, steps);
            }
            Report::BindFailed {
                purpose,
                forward,
                failure,
            } => self.handle_bind_failed(run, &purpose, &forward, failure, steps),
            _ if run != self.run => {}
            Report::SpecPersisted if self.stage == Stage::Persisting => {
                self.stage = Stage::Binding;
                self.bind(BindPurpose::Up, self.spec.forwards.clone(), steps);
            }
            Report::PersistFailed(failure) if self.stage == Stage::Persisting => {
                self.fail(failure, steps);
            }
            Report::MachineStarted(machine) => self.handle_started(machine, steps),
            Report::MachineFailed(failure) => self.handle_start_failed(failure, now, steps),
            Report::MachineExited { how, tail } if self.stage == Stage::Running => {
                self.machine = None;
                self.fail(ended(&how, tail), steps);
            }
            Report::MachineStopped => self.handle_stopped(now, steps),
            Report::StopFailed(failure) => self.handle_stop_failed(failure, steps),
            Report::FilesRemoved if self.stage == Stage::Removing => self.stage = Stage::Removed,
            Report::RemoveFailed(failure) if self.stage == Stage::Removing => {
                self.stage = Stage::Failed;
                self.failure = Some((Culprit::Machine, bounded(failure)));
            }
            of_the_guest if self.stage == Stage::Running => {
                self.handle_guest_report(of_the_guest, steps);
            }
            _ => {}
        }
    }

    fn handle_bound(
        &mut self,
        run: u64,
        purpose: BindPurpose,
        bound: &[ForwardSpec],
        steps: &mut Steps,
    ) {
        let running = run == self.run && self.stage == Stage::Running;
        match purpose {
            BindPurpose::Up if run == self.run && self.stage == Stage::Binding => {
                self.mark_listening(bound);
                self.stage = Stage::StartingMachine;
                self.perform(Task::StartMachine(Arc::clone(&self.spec)), steps);
            }
            BindPurpose::Restore if running => {
                self.mark_listening(bound);
                if bound.iter().any(|forward| forward.name == ForwardSpec::API) {
                    self.probe(steps);
                }
            }
            BindPurpose::Up | BindPurpose::Restore => {}
            BindPurpose::Add(ticket, forward) if running => {
                self.forwards.push(listening(*forward));
                self.answer(ticket, true, steps);
            }
            BindPurpose::Add(ticket, _) => {
                self.unbind_stray(bound, steps);
                steps.answer(ticket, Err(self.not_up()));
            }
            BindPurpose::Change(ticket, spec) if running => {
                self.change_spec(spec, bound, steps);
                self.answer(ticket, true, steps);
            }
            BindPurpose::Change(ticket, _) => {
                self.unbind_stray(bound, steps);
                steps.answer(ticket, Err(self.not_up()));
            }
        }
    }

    fn handle_bind_failed(
        &mut self,
        run: u64,
        purpose: &BindPurpose,
        forward: &str,
        failure: Failure,
        steps: &mut Steps,
    ) {
        match purpose {
            BindPurpose::Add(ticket, _) | BindPurpose::Change(ticket, _) => {
                steps.answer(*ticket, Err(failure));
            }
            BindPurpose::Up if run == self.run && self.stage == Stage::Binding => {
                self.mark_failed(forward, &failure);
                self.fail(failure, steps);
            }
            BindPurpose::Restore if run == self.run && self.stage == Stage::Running => {
                if !self.mark_failed(forward, &failure) {
                    return;
                }
                let others: Vec<_> = self
                    .forwards
                    .iter()
                    .filter(|other| other.state == ForwardState::Closed)
                    .map(|other| other.spec.clone())
                    .collect();
                if !others.is_empty() {
                    self.bind(BindPurpose::Restore, others, steps);
                }
            }
            BindPurpose::Up | BindPurpose::Restore => {}
        }
    }

    /// Takes over a specification whose new forwards listen already.
    fn change_spec(&mut self, spec: Arc<ClusterSpec>, bound: &[ForwardSpec], steps: &mut Steps) {
        let (gone, _) = change::forward_changes(&self.spec.forwards, &spec.forwards);
        self.forwards
            .retain(|forward| !gone.contains(&forward.spec));
        for forward in bound {
            if !self.forwards().any(|known| known == forward) {
                self.forwards.push(listening(forward.clone()));
            }
        }
        let reconfigures = change::reconfigures(&self.spec, &spec);
        let listens_elsewhere = self.spec.reverse != spec.reverse;
        let api_moves = self.spec.api_port() != spec.api_port();
        self.spec = spec;
        if !gone.is_empty() {
            self.perform(Task::UnbindForwards(gone), steps);
        }
        self.perform(Task::PersistSpec(Arc::clone(&self.spec)), steps);
        if reconfigures && self.link.up {
            self.settled = false;
            match self.setup {
                Setup::Network | Setup::K3s { .. } if self.failure.is_none() => self.reapply = true,
                _ => self.set_up(steps),
            }
        } else if api_moves && self.link.up && matches!(self.setup, Setup::Done { .. }) {
            // The kubeconfig has the port in it.
            self.probes.forget();
            let (link, spec) = (self.link.number, Arc::clone(&self.spec));
            self.perform(Task::FollowKubeconfig { link, spec }, steps);
        }
        if listens_elsewhere {
            let before = std::mem::replace(&mut self.reverse, unasked(&self.spec.reverse));
            for reverse in &mut self.reverse {
                let same = before.iter().find(|known| known.spec == reverse.spec);
                if let Some(known) = same {
                    reverse.state = known.state;
                    reverse.error.clone_from(&known.error);
                }
            }
            self.listen_in_guest(steps);
        }
    }

    /// Stops listening on what was bound for a run that is over, unless this one has it too.
    fn unbind_stray(&self, bound: &[ForwardSpec], steps: &mut Steps) {
        let in_use = |forward: &ForwardSpec| {
            self.forwards
                .iter()
                .any(|known| known.spec == *forward && known.state == ForwardState::Listening)
        };
        let stray: Vec<_> = bound.iter().filter(|one| !in_use(one)).cloned().collect();
        if !stray.is_empty() {
            self.perform(Task::UnbindForwards(stray), steps);
        }
    }

    fn mark_listening(&mut self, bound: &[ForwardSpec]) {
        for forward in &mut self.forwards {
            if bound.contains(&forward.spec) {
                forward.state = ForwardState::Listening;
                forward.error = None;
            }
        }
    }

    /// Whether there is a forward of this name that had not failed before.
    fn mark_failed(&mut self, name: &str, failure: &Failure) -> bool {
        let mut newly = false;
        for forward in &mut self.forwards {
            if forward.spec.name == name {
                newly |= forward.state != ForwardState::Failed;
                forward.state = ForwardState::Failed;
                forward.error = Some(format!("host: {}", sanitize::line(&failure.message)));
            }
        }
        newly
    }
}

/// The machine.
impl Cluster {
    fn handle_started(&mut self, machine: MachineInfo, steps: &mut Steps) {
        match &mut self.stage {
            Stage::StartingMachine => self.machine_runs(machine, steps),
            Stage::Stopping { starting, .. } if *starting => {
                *starting = false;
                self.machine = Some(machine);
                self.perform(Task::StopMachine(Arc::clone(&self.spec)), steps);
            }
            _ => {}
        }
    }

    fn handle_start_failed(&mut self, failure: Failure, now: Instant, steps: &mut Steps) {
        match &self.stage {
            Stage::StartingMachine => self.fail(failure, steps),
            Stage::Stopping { starting: true, .. } => self.after_stop(now, steps),
            _ => {}
        }
    }

    fn handle_stopped(&mut self, now: Instant, steps: &mut Steps) {
        if matches!(
            self.stage,
            Stage::Stopping {
                starting: false,
                ..
            }
        ) {
            self.after_stop(now, steps);
        }
    }

    fn after_stop(&mut self, now: Instant, steps: &mut Steps) {
        let Stage::Stopping { after, .. } = std::mem::replace(&mut self.stage, Stage::Down) else {
            return;
        };
        self.perform(Task::Disconnect, steps);
        match after {
            After::Stay => self.rest(),
            After::Remove => self.remove(steps),
            After::Start(spec) => {
                let (gone, _) = change::forward_changes(&self.spec.forwards, &spec.forwards);
                if !gone.is_empty() {
                    self.perform(Task::UnbindForwards(gone), steps);
                }
                self.rest();
                self.spec = spec;
                self.start(now, steps);
            }
        }
    }

    fn handle_stop_failed(&mut self, failure: Failure, steps: &mut Steps) {
        if matches!(
            self.stage,
            Stage::Stopping {
                starting: false,
                ..
            }
        ) {
            self.fail(failure, steps);
        }
    }
}

/// The guest.
impl Cluster {
    fn handle_guest_report(&mut self, report: Report, steps: &mut Steps) {
        let api_was_ready = self.tells_of_api();
        self.fold_guest_report(report, steps);
        // What failed before the API was there need not wait for its turn.
        if !api_was_ready && self.tells_of_api() && self.probes.is_failing() {
            self.perform(Task::ProbeNow, steps);
        }
    }

    /// Whether the guest says that its API is ready.
    fn tells_of_api(&self) -> bool {
        self.picture
            .as_ref()
            .is_some_and(|picture| picture.is_ready(Rung::Api))
    }

    fn fold_guest_report(&mut self, report: Report, steps: &mut Steps) {
        match report {
            Report::LinkUp {
                link,
                agent_version,
                carrier,
            } => self.handle_link_up(link, &agent_version, carrier.map(|carrier| *carrier), steps),
            Report::LinkFailed { attempt, failure } => self.handle_link_failed(attempt, failure),
            Report::LinkDown { why } => self.handle_link_down(&why),
            Report::KubeconfigWritten { path, identity } => {
                self.kubeconfig = Some(path);
                self.kubeconfig_error = None;
                self.probes.recognise(identity);
                self.probe(steps);
            }
            Report::Probed { number, probed } => self.probes.note(number, probed),
            Report::KubeconfigFailed(why) => self.kubeconfig_error = Some(sanitize::line(&why)),
            Report::NetworkApplied { link, summary } if self.is_current(link) => {
                self.handle_network_applied(&summary, steps);
            }
            Report::NetworkFailed { link, failure } if self.is_current(link) => {
                self.failure = Some(at_rung(Rung::Network, failure));
            }
            Report::K3sConfigured { link } if self.is_current(link) => {
                self.handle_configured(steps);
            }
            Report::K3sFailed { link, failure } if self.is_current(link) => {
                self.failure = Some(at_rung(Rung::K3s, failure));
            }
            Report::ReverseForward { link, spec, error } if self.is_current(link) => {
                self.handle_reverse(&spec, error);
            }
            Report::Snapshot { link, snapshot } if self.is_current(link) => {
                let older = |shown: &Picture| snapshot.sequence < shown.sequence();
                if !self.picture.as_ref().is_some_and(older) {
                    self.k3s = Some(Picture::summary(&snapshot.k3s));
                    self.picture = Some(Picture::new(snapshot));
                }
            }
            Report::Change { link, change } if self.is_current(link) => {
                if let Some(picture) = &mut self.picture
                    && change.sequence > picture.sequence()
                {
                    if let Some(k3s) = &change.k3s {
                        self.k3s = Some(Picture::summary(k3s));
                    }
                    picture.apply(change);
                }
            }
            _ => {}
        }
    }

    fn is_current(&self, link: u64) -> bool {
        self.link.up && self.link.number == link
    }

    fn handle_link_up(
        &mut self,
        link: u64,
        agent_version: &str,
        carrier: Option<Route>,
        steps: &mut Steps,
    ) {
        self.link.carrier = carrier;
        self.link.up = true;
        self.link.number = link;
        self.link.detail.clear();
        self.link.agent_version = Some(sanitize::line(agent_version));
        self.set_up(steps);
    }

    fn handle_link_failed(&mut self, attempt: u32, failure: Failure) {
        let message = sanitize::line(&failure.message);
        self.link.detail = match attempt {
            0 | 1 => message,
            many => format!("{message} (attempt {many})"),
        };
        self.failure = match failure.kind {
            Kind::Authentication | Kind::Version => Some(at_rung(Rung::Agent, failure)),
            _ => self.failure.take(),
        };
    }

    fn handle_link_down(&mut self, why: &str) {
        self.link.up = false;
        self.link.carrier = None;
        self.link.detail = sanitize::line(why);
        self.setup = Setup::None;
        self.picture = None;
        self.failure = None;
        self.forget_listeners();
    }

    fn handle_reverse(&mut self, spec: &ReverseSpec, error: Option<String>) {
        let known = self.reverse.iter_mut().find(|known| known.spec == *spec);
        if let Some(known) = known {
            known.state = match &error {
                None => ForwardState::Listening,
                Some(_) => ForwardState::Failed,
            };
            known.error = error.map(|error| sanitize::line(&error));
        }
    }

    fn handle_network_applied(&mut self, summary: &str, steps: &mut Steps) {
        if self.setup != Setup::Network {
            return;
        }
        let network = sanitize::line(summary);
        self.setup = Setup::K3s { network };
        let (link, spec) = (self.link.number, Arc::clone(&self.spec));
        self.perform(Task::ConfigureK3s { link, spec }, steps);
        if self.asked_to_listen || !self.reverse.is_empty() {
            self.listen_in_guest(steps);
        }
    }

    fn handle_configured(&mut self, steps: &mut Steps) {
        let Setup::K3s { network } = &self.setup else {
            return;
        };
        let network = network.clone();
        if self.reapply {
            return self.set_up(steps);
        }
        self.setup = Setup::Done { network };
        self.settled = true;
        let (link, spec) = (self.link.number, Arc::clone(&self.spec));
        if self.watched != link {
            self.watched = link;
            self.perform(Task::Watch { link }, steps);
        }
        self.perform(Task::FollowKubeconfig { link, spec }, steps);
    }
}

fn listening(spec: ForwardSpec) -> Forward {
    Forward {
        spec,
        state: ForwardState::Listening,
        error: None,
    }
}

fn ended(how: &str, tail: Vec<String>) -> Failure {
    Failure {
        kind: Kind::Unreachable,
        message: format!("the machine ended: {how}"),
        hints: vec!["`lkc-host up` starts it again".to_owned()],
        tail,
    }
}
