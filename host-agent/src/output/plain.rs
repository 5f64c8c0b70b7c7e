//! Progress where nothing can be drawn: a line for each change, and for nothing else.

use std::collections::HashMap;

use lkc_protocol::message::{Rung, RungState};

use super::{Paint, steps, steps::Row, table::phase};
use crate::control::{ClusterStatus, Goal, Phase};

/// Remembers what was said of each step.
#[derive(Debug, Default)]
pub struct ChangedRows {
    said: HashMap<String, Row>,
    phase: Option<Phase>,
}

impl ChangedRows {
    /// The rows that say something new. Pending steps are silent until they begin, or come back.
    pub(super) fn handle(&mut self, rows: Vec<Row>) -> Vec<Row> {
        rows.into_iter().filter(|row| self.is_news(row)).collect()
    }

    /// What is new about a cluster that is watched, each line with its name.
    #[must_use]
    pub fn watch_lines(&mut self, cluster: &ClusterStatus, paint: Paint) -> Vec<String> {
        let name = &cluster.name;
        let mut lines = Vec::new();
        if self.phase.replace(cluster.phase) != Some(cluster.phase) {
            lines.push(format!("{name}  {}", phase(cluster.phase)));
        }
        if cluster.phase == Phase::Down {
            self.said.clear();
            return lines;
        }
        let rows = self.handle(steps::rows(cluster, &[Goal::Rung(Rung::System)]));
        let shown = rows
            .iter()
            .map(|row| row.line(paint, usize::MAX, "…", None));
        lines.extend(shown.map(|line| format!("{name}{line}")));
        lines
    }

    fn is_news(&mut self, row: &Row) -> bool {
        match self.said.get(&row.name) {
            None if row.state == RungState::Pending => false,
            Some(said) if said.state == row.state && said.detail == row.detail => false,
            _ => {
                self.said.insert(row.name.clone(), row.clone());
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: RungState, detail: &str) -> Vec<Row> {
        vec![Row {
            name: "api".into(),
            state,
            detail: detail.into(),
            ready_after_ms: None,
        }]
    }

    #[test]
    fn a_watched_cluster_is_told_apart() {
        use crate::output::sample;
        let mut rows = ChangedRows::default();
        let mut lines = rows.watch_lines(&sample::starting(), Paint::PLAIN);
        lines.push("---".into());
        lines.extend(rows.watch_lines(&sample::up(), Paint::PLAIN));
        lines.push("---".into());
        lines.extend(rows.watch_lines(&sample::up(), Paint::PLAIN));
        lines.extend(rows.watch_lines(&sample::down(), Paint::PLAIN));
        insta::assert_snapshot!(lines.join("\n"), @"
        k3s-dev  starting
        k3s-dev  ✓ sandbox    started                                     0.2 s
        k3s-dev  ✓ agent      lkc-guest 0.1.0, link up                    0.3 s
        k3s-dev  ✓ network    192.100.0.10/24 on eth0                     0.3 s
        k3s-dev  ✓ k3s        running (simulated; no containers)          0.4 s
        k3s-dev  … api        /readyz answers 500: etcd failed
        ---
        k3s-dev  up
        k3s-dev  ✓ api        /readyz ok                                  0.9 s
        k3s-dev  ✓ node       k3s-dev Ready                               1.4 s
        k3s-dev  ✓ system     3 of 3 available                            2.0 s
        ---
        k3s-dev  down
        ");
    }

    #[test]
    fn only_changes_are_said() {
        let mut rows = ChangedRows::default();
        assert!(
            rows.handle(row(RungState::Pending, "waits for k3s"))
                .is_empty()
        );
        assert_eq!(rows.handle(row(RungState::Progressing, "500")).len(), 1);
        assert!(rows.handle(row(RungState::Progressing, "500")).is_empty());
        assert_eq!(rows.handle(row(RungState::Progressing, "401")).len(), 1);
        assert_eq!(rows.handle(row(RungState::Ready, "ok")).len(), 1);
        assert_eq!(
            rows.handle(row(RungState::Pending, "waits for k3s")).len(),
            1
        );
    }
}
