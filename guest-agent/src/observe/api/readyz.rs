//! `/readyz`, with credentials.

use std::time::Duration;

use kube::Client;
use kube::api::GetParams;
use kube::core::Request;

use super::client::{is_refused, request_problem};
use crate::readiness::one_line;

/// How long one answer may take.
const DEADLINE: Duration = Duration::from_secs(3);

/// Failed checks that are remembered.
const MAX_CHECKS: usize = 16;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Readyz {
    /// It is ready.
    Ok,
    /// It answers that these checks fail.
    NotReady { failed: Vec<String> },
    /// It does not know the credentials.
    Unauthorized,
    /// Nobody listens.
    Refused,
    /// It cannot be talked to, or not with trust.
    Unreachable { why: String },
}

pub(super) async fn ask(client: &Client) -> Readyz {
    // kube's builder makes a request for an object; its address is replaced.
    let Ok(mut request) = Request::new("").get("readyz", &GetParams::default()) else {
        return Readyz::Unreachable {
            why: "cannot ask for /readyz".to_owned(),
        };
    };
    if let Ok(address) = "/readyz?verbose".parse() {
        *request.uri_mut() = address;
    }
    match tokio::time::timeout(DEADLINE, client.request_text(request)).await {
        Ok(Ok(_)) => Readyz::Ok,
        Ok(Err(kube::Error::Api(status))) if status.code == 401 => Readyz::Unauthorized,
        Ok(Err(kube::Error::Api(status))) if status.code >= 500 => Readyz::NotReady {
            failed: failed_checks(&status.message),
        },
        Ok(Err(error)) if is_refused(&error) => Readyz::Refused,
        Ok(Err(error)) => Readyz::Unreachable {
            why: format!("/readyz: {}", request_problem(&error)),
        },
        Err(_) => Readyz::Unreachable {
            why: format!("/readyz does not answer within {} s", DEADLINE.as_secs()),
        },
    }
}

/// The names in lines like `[-]poststarthook/rbac/bootstrap-roles failed: reason withheld`.
fn failed_checks(answer: &str) -> Vec<String> {
    answer
        .lines()
        .filter_map(|line| line.trim().strip_prefix("[-]")?.split_whitespace().next())
        .take(MAX_CHECKS)
        .map(one_line)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_checks_are_named() {
        let answer = "[+]ping ok\n[-]informer-sync failed: reason withheld\n[-]poststarthook/rbac/bootstrap-roles failed: reason withheld\nreadyz check failed\n";
        assert_eq!(
            failed_checks(answer),
            ["informer-sync", "poststarthook/rbac/bootstrap-roles"]
        );
        assert!(failed_checks("").is_empty());
        assert!(failed_checks("[-]").is_empty());
        assert_eq!(failed_checks(&"[-]a b\n".repeat(1000)).len(), MAX_CHECKS);
    }
}
