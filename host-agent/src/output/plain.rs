//! Progress where nothing can be drawn: a line for each change, and for nothing else.

use std::collections::HashMap;

use lkc_protocol::message::RungState;

use super::steps::Row;

/// Remembers what was said of each step.
#[derive(Debug, Default)]
pub struct ChangedRows {
    said: HashMap<String, Row>,
}

impl ChangedRows {
    /// The rows that say something new. Pending steps are silent until they begin, or come back.
    pub(super) fn handle(&mut self, rows: Vec<Row>) -> Vec<Row> {
        rows.into_iter().filter(|row| self.is_news(row)).collect()
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
