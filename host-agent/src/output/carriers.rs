//! How far each carrier of a cluster gets.

use super::{Paint, table::columns};
use crate::{daemon::CarrierCheck, sanitize};

/// One line per carrier, and below what to do about those that lead nowhere.
#[must_use]
pub fn carrier_table(checks: &[CarrierCheck], paint: Paint) -> String {
    let rows = checks.iter().map(|check| {
        let detail = match (&check.failure, &check.agent_version) {
            (Some(failure), _) => sanitize::line(&failure.message),
            (None, version) => {
                let plain = check.encrypted == Some(false);
                format!(
                    "lkc-guest {}, {}",
                    sanitize::line(version.as_deref().unwrap_or("?")),
                    if plain { "in plain" } else { "encrypted" }
                )
            }
        };
        vec![
            sanitize::line(&check.carrier),
            if check.failed.is_none() { "yes" } else { "no" }.to_owned(),
            check.failed.map_or("-", |stage| stage.as_str()).to_owned(),
            format!("{} ms", check.ms),
            detail,
        ]
    });
    let heads = ["CARRIER", "LINK", "FAILED AT", "TOOK", "DETAIL"];
    let mut text = columns(&heads, rows.collect(), paint);
    for check in checks {
        for banner in &check.banners {
            text.push_str(&format!(
                "\n{}: its SSH server says: {}",
                sanitize::line(&check.carrier),
                sanitize::line(banner)
            ));
        }
        let hints = check.failure.iter().flat_map(|failure| &failure.hints);
        for hint in hints {
            text.push_str(&format!(
                "\nhint: {}: {}",
                sanitize::line(&check.carrier),
                sanitize::line(hint)
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{control::Failure, daemon::Stage, error::Kind};

    #[test]
    fn what_leads_nowhere_says_where_it_ends_and_what_to_do() {
        let good = CarrierCheck {
            carrier: "vsock:52:5000".to_owned(),
            failed: None,
            ms: 12,
            agent_version: Some("0.1.0\u{1b}[2J".to_owned()),
            encrypted: Some(false),
            banners: vec!["Authorised users only".to_owned()],
            clock_skew_ms: Some(0),
            failure: None,
        };
        let bad = CarrierCheck {
            carrier: "tcp:10.0.0.2:7000".to_owned(),
            failed: Some(Stage::Connect),
            ms: 8000,
            agent_version: None,
            encrypted: None,
            banners: Vec::new(),
            clock_skew_ms: None,
            failure: Some(Failure {
                kind: Kind::Unreachable,
                message: "the address said nothing within 8 s".to_owned(),
                hints: vec!["look whether the machine runs and its network is up".to_owned()],
                tail: Vec::new(),
            }),
        };
        insta::assert_snapshot!(carrier_table(&[good, bad], Paint::PLAIN), @r"
        CARRIER            LINK  FAILED AT  TOOK     DETAIL
        vsock:52:5000      yes   -          12 ms    lkc-guest 0.1.0\u{1b}[2J, in plain
        tcp:10.0.0.2:7000  no    connect    8000 ms  the address said nothing within 8 s

        vsock:52:5000: its SSH server says: Authorised users only
        hint: tcp:10.0.0.2:7000: look whether the machine runs and its network is up
        ");
    }
}
