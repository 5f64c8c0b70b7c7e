//! The steps of `up` as lines: machine, rungs up to the goal, further goals.

use std::time::Duration;

use lkc_protocol::message::{Rung, RungState};

use super::Paint;
use crate::{
    control::{ClusterStatus, Goal, StepStatus},
    sanitize,
};

/// Columns of a step's name.
const NAME_WIDTH: usize = 10;
/// Columns of a detail before its time moves to the right.
const DETAIL_WIDTH: usize = 40;
/// Columns around name and detail: indent, mark, gaps and the time.
const FRAME_WIDTH: usize = 2 + 2 + 1 + 9;

/// One line of progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// Step, or goal as the user wrote it.
    pub(super) name: String,
    /// Where it stands.
    pub(super) state: RungState,
    /// For people, sanitised.
    pub(super) detail: String,
    /// Milliseconds until it was ready.
    pub(super) ready_after_ms: Option<u64>,
}

/// The steps up to the highest rung of `goals`. `registered` is a line of its own only as a goal:
/// else the line of `node` says what stands in the way of it.
pub(super) fn rows(status: &ClusterStatus, goals: &[Goal]) -> Vec<Row> {
    let top = goals.iter().map(top_rung).max().unwrap_or(Rung::Node);
    let registered = status.rung(Rung::Registered);
    status
        .steps
        .iter()
        .filter(|step| step.rung.is_none_or(|rung| rung <= top))
        .filter(|step| step.rung != Some(Rung::Registered) || top == Rung::Registered)
        .map(|step| match registered {
            Some(below) if step.rung == Some(Rung::Node) && is_held_up_by(step, below) => Row {
                name: step.name.clone(),
                ..Row::from(below)
            },
            _ => Row::from(step),
        })
        .collect()
}

/// The highest rung below which everything is ready.
pub(super) fn reached(status: &ClusterStatus) -> Option<Rung> {
    let rungs = status.steps.iter().filter(|step| step.rung.is_some());
    let ready = rungs.take_while(|step| step.state == RungState::Ready);
    ready.last().and_then(|step| step.rung)
}

/// Objects are asked of the API, so it is the rung that matters for them.
fn top_rung(goal: &Goal) -> Rung {
    match goal {
        Goal::Rung(rung) => *rung,
        Goal::Object(_) => Rung::Api,
    }
}

fn is_held_up_by(step: &StepStatus, below: &StepStatus) -> bool {
    step.state == RungState::Pending && below.state != RungState::Ready
}

impl From<&StepStatus> for Row {
    fn from(step: &StepStatus) -> Self {
        Self {
            name: sanitize::line(&step.name),
            state: step.state,
            detail: sanitize::line(&step.detail),
            ready_after_ms: step.ready_after_ms,
        }
    }
}

impl Row {
    /// The row of a goal that is not a rung.
    pub(super) fn of_goal(goal: &str, satisfied: bool, detail: &str) -> Self {
        Self {
            name: sanitize::line(goal),
            state: if satisfied {
                RungState::Ready
            } else {
                RungState::Progressing
            },
            detail: sanitize::line(detail),
            ready_after_ms: None,
        }
    }

    /// The line, at most `width` columns wide; `waited` is the time of a step under way and
    /// `spinner` its mark.
    pub(super) fn line(
        &self,
        paint: Paint,
        width: usize,
        spinner: &str,
        waited: Option<Duration>,
    ) -> String {
        let mark = match self.state {
            RungState::Ready => paint.green("✓"),
            RungState::Failed => paint.red("✗"),
            RungState::Progressing => paint.cyan(spinner),
            RungState::Pending => paint.dim("·"),
            RungState::Unknown => paint.yellow("?"),
        };
        let name_width = self.name.chars().count().max(NAME_WIDTH);
        let room = width.saturating_sub(FRAME_WIDTH + name_width).max(8);
        let detail = cut(&self.detail, room);
        let padded = format!("{detail:<pad$}", pad = room.min(DETAIL_WIDTH));
        let time = match (self.state, self.ready_after_ms) {
            (RungState::Ready, Some(after)) => seconds(Duration::from_millis(after)),
            (RungState::Progressing, _) => waited.map(seconds).unwrap_or_default(),
            _ => String::new(),
        };
        let name = format!("{:<name_width$}", self.name);
        let line = format!(
            "  {mark} {name} {padded} {}",
            paint.dim(&format!("{time:>8}"))
        );
        if time.is_empty() {
            format!("  {mark} {name} {detail}").trim_end().to_owned()
        } else {
            line
        }
    }
}

/// `0.4 s`, `12.0 s`, `3 m 05 s`.
pub(super) fn seconds(time: Duration) -> String {
    let tenths = time.as_millis() / 100;
    if tenths < 600 {
        format!("{}.{} s", tenths / 10, tenths % 10)
    } else {
        format!("{} m {:02} s", tenths / 600, tenths % 600 / 10)
    }
}

/// At most `columns` characters, the last one `…` when there were more.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(columns.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests;
