//! Reverse forwards: as a table, as lines, as JSON beside the forwards.

use serde_json::Value;

use super::{
    Paint,
    forwards::{bytes, state},
    table::columns,
};
use crate::{
    control::{ClusterStatus, ForwardState, ReverseStatus},
    sanitize,
};

/// Every reverse forward, one line each.
#[must_use]
pub fn reverse_table(reverse: &[ReverseStatus], paint: Paint) -> String {
    let rows = reverse.iter().map(|reverse| {
        let cells = [
            sanitize::line(&reverse.name),
            sanitize::line(&reverse.listen),
            sanitize::line(&reverse.target),
            state(reverse.state).to_owned(),
            reverse.open.to_string(),
            reverse.total.to_string(),
            (reverse.refused + reverse.failed).to_string(),
            bytes(reverse.sent_bytes),
            bytes(reverse.received_bytes),
            sanitize::line(reverse.last_error.as_deref().unwrap_or_default()),
        ];
        cells.to_vec()
    });
    let heads = [
        "REVERSE",
        "GUEST LISTENS ON",
        "HOST",
        "STATE",
        "OPEN",
        "TOTAL",
        "FAILED",
        "SENT",
        "RECEIVED",
        "LAST ERROR",
    ];
    columns(&heads, rows.collect(), paint)
}

/// What `up` says of one at its end.
pub(super) fn reverse_line(reverse: &ReverseStatus, paint: Paint) -> String {
    let [name, listen, target] =
        [&reverse.name, &reverse.listen, &reverse.target].map(|text| sanitize::line(text));
    match reverse.state {
        ForwardState::Listening => format!("  {name:<10}  {listen} of the guest → {target}"),
        ForwardState::Closed => {
            let closed = paint.yellow("not yet:");
            format!("  {name:<10}  {closed} {listen} of the guest")
        }
        ForwardState::Failed => {
            let error = sanitize::line(reverse.last_error.as_deref().unwrap_or("does not listen"));
            let failed = paint.red("failed:");
            format!("  {name:<10}  {failed} {listen} of the guest: {error}")
        }
    }
}

/// Every forward of a cluster, then its reverse forwards, which have the member `reverse`, true.
///
/// # Errors
/// None that a status can have.
pub fn forward_list(cluster: &ClusterStatus) -> serde_json::Result<Vec<Value>> {
    let forwards = cluster.forwards.iter().map(serde_json::to_value);
    let reverse = cluster.reverse.iter().map(|reverse| {
        let mut entry = serde_json::to_value(reverse)?;
        entry["reverse"] = Value::Bool(true);
        Ok(entry)
    });
    forwards.chain(reverse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    fn status(name: &str, state: ForwardState, last_error: Option<&str>) -> ReverseStatus {
        ReverseStatus {
            name: name.to_owned(),
            listen: "192.100.0.10:5000".to_owned(),
            target: "unix:/run/registry.sock".to_owned(),
            state,
            open: 1,
            total: 7,
            refused: 1,
            failed: 2,
            sent_bytes: 2048,
            received_bytes: 5 << 20,
            last_error: last_error.map(str::to_owned),
        }
    }

    fn some() -> [ReverseStatus; 3] {
        let in_use = "agent: 192.100.0.10:5000 is in use in the guest\u{1b}[0m";
        [
            status("registry", ForwardState::Listening, None),
            status("model", ForwardState::Failed, Some(in_use)),
            status("debugger", ForwardState::Closed, None),
        ]
    }

    #[test]
    fn a_table_and_lines() {
        insta::assert_snapshot!(reverse_table(&some(), Paint::PLAIN), @r#"
REVERSE   GUEST LISTENS ON   HOST                     STATE      OPEN  TOTAL  FAILED  SENT     RECEIVED  LAST ERROR
registry  192.100.0.10:5000  unix:/run/registry.sock  listening  1     7      3       2.0 KiB  5.0 MiB
model     192.100.0.10:5000  unix:/run/registry.sock  failed     1     7      3       2.0 KiB  5.0 MiB   agent: 192.100.0.10:5000 is in use in the guest\u{1b}[0m
debugger  192.100.0.10:5000  unix:/run/registry.sock  closed     1     7      3       2.0 KiB  5.0 MiB
"#);
        let lines = some().map(|one| reverse_line(&one, Paint::PLAIN));
        insta::assert_snapshot!(lines.join("\n"), @r#"
registry    192.100.0.10:5000 of the guest → unix:/run/registry.sock
model       failed: 192.100.0.10:5000 of the guest: agent: 192.100.0.10:5000 is in use in the guest\u{1b}[0m
debugger    not yet: 192.100.0.10:5000 of the guest
"#);
    }

    #[test]
    fn a_list_says_which_way_each_leads() {
        let mut cluster = sample::up();
        cluster.reverse = some().to_vec();
        let list = forward_list(&cluster).unwrap();
        let reversed: Vec<_> = list
            .iter()
            .map(|entry| (entry["name"].as_str().unwrap(), &entry["reverse"]))
            .collect();
        let (no, yes) = (Value::Null, Value::Bool(true));
        let expected = [
            ("api", &no),
            ("http", &no),
            ("port-5432", &no),
            ("registry", &yes),
            ("model", &yes),
            ("debugger", &yes),
        ];
        assert_eq!(reversed, expected);
        assert_eq!(list[3]["listen"], "192.100.0.10:5000");
        assert_eq!(list[3]["state"], "listening");
    }
}
