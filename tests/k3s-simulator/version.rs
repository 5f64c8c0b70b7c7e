//! What the simulator says that it is: the Kubernetes release it behaves like, and its own name.

use serde_json::{Value, json};

pub(crate) const KUBERNETES: &str = "v1.33.5+k3s-simulator";

pub(crate) fn info() -> Value {
    json!({
        "major": "1",
        "minor": "33",
        "gitVersion": KUBERNETES,
        "gitCommit": "0000000000000000000000000000000000000000",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("linux/{}", architecture()),
    })
}

/// The architecture under Go's name.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
