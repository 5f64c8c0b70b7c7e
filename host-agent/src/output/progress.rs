//! Progress of `up`, `restart` and `wait`: live lines on a terminal, changes elsewhere, events for
//! programs.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Output, events::Event, plain::ChangedRows, steps, steps::Row};
use crate::{
    control::{ClusterStatus, Done, Goal, Reply},
    error::CommandError,
};

/// Frames of the spinner, one per [`Progress::TICK`].
const SPINNER: &[&str] = &["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
/// Mark of a step under way in a line that stays.
const UNDER_WAY: &str = "…";

/// Shows replies of the daemon until the last one.
pub struct Progress<'a> {
    output: &'a Output,
    goals: Vec<Goal>,
    began: Instant,
    frame: usize,
    rows: Vec<Row>,
    goal_rows: Vec<Row>,
    status: Option<ClusterStatus>,
    mode: Mode,
}

enum Mode {
    Live(Live),
    Plain(ChangedRows),
    Events,
    Silent,
}

struct Live {
    board: MultiProgress,
    bars: Vec<ProgressBar>,
}

impl<'a> Progress<'a> {
    /// How often [`Progress::tick`] wants to be called on a terminal.
    pub const TICK: Duration = Duration::from_millis(100);

    /// Shows the way to `goals`; `now` is when the user began to wait.
    #[must_use]
    pub fn new(output: &'a Output, goals: Vec<Goal>, now: Instant) -> Self {
        let mode = if output.is_json() {
            Mode::Events
        } else if output.quiet {
            Mode::Silent
        } else if output.live {
            let board = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
            Mode::Live(Live {
                board,
                bars: Vec::new(),
            })
        } else {
            Mode::Plain(ChangedRows::default())
        };
        let (rows, goal_rows) = (Vec::new(), Vec::new());
        Self {
            output,
            goals,
            began: now,
            frame: 0,
            rows,
            goal_rows,
            status: None,
            mode,
        }
    }

    /// The last status that was shown.
    #[must_use]
    pub fn status(&self) -> Option<&ClusterStatus> {
        self.status.as_ref()
    }

    /// Shows what a reply changes.
    ///
    /// # Errors
    /// As [`Output::result`], for events.
    pub fn handle(&mut self, reply: &Reply, now: Instant) -> Result<(), CommandError> {
        match reply {
            Reply::Status { cluster } => {
                self.rows = steps::rows(cluster, &self.goals);
                self.status = Some((**cluster).clone());
            }
            Reply::Goal {
                goal,
                satisfied,
                detail,
            } => {
                let row = Row::of_goal(goal, *satisfied, detail);
                match self
                    .goal_rows
                    .iter_mut()
                    .find(|known| known.name == row.name)
                {
                    Some(known) => *known = row,
                    None => self.goal_rows.push(row),
                }
            }
            Reply::Log { .. }
            | Reply::Note { .. }
            | Reply::Checked(_)
            | Reply::Snapshots { .. }
            | Reply::Joined
            | Reply::LockedKeys { .. }
            | Reply::Daemon(_)
            | Reply::Done(_)
            | Reply::Failed(_) => {
                return Ok(());
            }
        }
        if let (Mode::Events, Some(event)) = (&self.mode, Event::of_reply(reply)) {
            return self.output.json_line(&event);
        }
        self.draw(now);
        Ok(())
    }

    /// Turns the spinner.
    pub fn tick(&mut self, now: Instant) {
        self.frame = (self.frame + 1) % SPINNER.len();
        if let Mode::Live(_) = self.mode {
            self.draw(now);
        }
    }

    /// Ends with success: the lines stay, programs get the last event.
    ///
    /// # Errors
    /// As [`Output::result`], for events.
    pub fn done(&mut self, done: &Done) -> Result<(), CommandError> {
        self.leave();
        if let Mode::Events = self.mode {
            let cluster = self.status.as_ref().map(|status| &status.name);
            self.output.json_line(&Event::done(cluster, done))?;
        }
        Ok(())
    }

    /// Ends the drawing; the lines stay as they are.
    pub fn leave(&mut self) {
        if let Mode::Live(live) = &mut self.mode {
            for bar in live.bars.drain(..) {
                bar.abandon();
            }
        }
    }

    fn draw(&mut self, now: Instant) {
        let waited = Some(now.saturating_duration_since(self.began));
        let rows = self.rows.iter().chain(&self.goal_rows);
        let (paint, width) = (self.output.stderr, self.output.width);
        match &mut self.mode {
            Mode::Live(live) => {
                let lines = rows.map(|row| row.line(paint, width, SPINNER[self.frame], waited));
                live.draw(lines.collect());
            }
            Mode::Plain(said) => {
                for row in said.handle(rows.cloned().collect()) {
                    self.output
                        .talk(&row.line(paint, usize::MAX, UNDER_WAY, waited));
                }
            }
            Mode::Events | Mode::Silent => {}
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Live {
    fn draw(&mut self, lines: Vec<String>) {
        while self.bars.len() < lines.len() {
            let style = ProgressStyle::with_template("{msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            self.bars
                .push(self.board.add(ProgressBar::no_length().with_style(style)));
        }
        while self.bars.len() > lines.len() {
            if let Some(bar) = self.bars.pop() {
                self.board.remove(&bar);
            }
        }
        for (bar, line) in self.bars.iter().zip(lines) {
            if bar.message() != line {
                bar.set_message(line);
            }
        }
    }
}
