//! Forwards as a table.

use super::{Paint, table::columns};
use crate::{
    control::{ForwardCheck, ForwardState, ForwardStatus},
    sanitize,
};

/// Every forward, one line each.
#[must_use]
pub fn forward_table(forwards: &[ForwardStatus], paint: Paint) -> String {
    let rows = forwards.iter().map(|forward| {
        let listen: Vec<_> = forward
            .listen
            .iter()
            .map(|address| sanitize::line(address))
            .collect();
        let cells = [
            sanitize::line(&forward.name),
            forward.protocol.to_string(),
            if listen.is_empty() {
                "-".to_owned()
            } else {
                listen.join(",")
            },
            sanitize::line(&forward.target),
            state(forward.state).to_owned(),
            forward.open.to_string(),
            forward.parked.to_string(),
            forward.total.to_string(),
            forward.refused.to_string(),
            forward.failed.to_string(),
            forward.dropped.to_string(),
            bytes(forward.sent_bytes),
            bytes(forward.received_bytes),
            sanitize::line(forward.last_error.as_deref().unwrap_or_default()),
        ];
        cells.to_vec()
    });
    let heads = [
        "FORWARD",
        "PROTOCOL",
        "LISTENS ON",
        "GUEST",
        "STATE",
        "OPEN",
        "PARKED",
        "TOTAL",
        "REFUSED",
        "FAILED",
        "DROPPED",
        "SENT",
        "RECEIVED",
        "LAST ERROR",
    ];
    columns(&heads, rows.collect(), paint)
}

/// What trying forwards has found, one line per listener.
#[must_use]
pub fn check_table(checks: &[ForwardCheck], paint: Paint) -> String {
    let rows = checks.iter().map(|check| {
        let took = check.latency_ms.map(|millis| format!("{millis} ms"));
        vec![
            sanitize::line(&check.name),
            check.protocol.to_string(),
            sanitize::line(&check.listen),
            sanitize::line(&check.target),
            if check.ok { "yes" } else { "no" }.to_owned(),
            sanitize::line(check.layer.as_deref().unwrap_or("-")),
            took.unwrap_or_else(|| "-".to_owned()),
            sanitize::line(&check.detail),
        ]
    });
    let heads = [
        "FORWARD",
        "PROTOCOL",
        "THROUGH",
        "GUEST",
        "REACHED",
        "FAILING LAYER",
        "TOOK",
        "DETAIL",
    ];
    columns(&heads, rows.collect(), paint)
}

pub(super) fn state(state: ForwardState) -> &'static str {
    match state {
        ForwardState::Closed => "closed",
        ForwardState::Listening => "listening",
        ForwardState::Failed => "failed",
    }
}

/// `0`, `999`, `1.5 KiB`, `3.0 GiB`.
pub(super) fn bytes(count: u64) -> String {
    let mut unit = "";
    let mut tenths = u128::from(count) * 10;
    for larger in [" KiB", " MiB", " GiB", " TiB"] {
        if tenths < 10240 {
            break;
        }
        tenths /= 1024;
        unit = larger;
    }
    if unit.is_empty() {
        count.to_string()
    } else {
        format!("{}.{}{unit}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn byte_counts_are_short() {
        let shown: Vec<_> = [0, 1023, 1024, 1536, 1 << 20, 5 << 40, u64::MAX]
            .map(super::bytes)
            .to_vec();
        assert_eq!(
            shown,
            [
                "0",
                "1023",
                "1.0 KiB",
                "1.5 KiB",
                "1.0 MiB",
                "5.0 TiB",
                "16777215.9 TiB"
            ]
        );
    }
}
