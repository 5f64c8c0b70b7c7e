//! Who runs k3s.

use std::path::{Path, PathBuf};

use super::unit::Unit;
use crate::steward::Steward;

/// Directory that is there when systemd is process 1.
const SYSTEMD_RUNS: &str = "/run/systemd/system";

/// Who runs k3s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runner {
    /// The agent, as a process of its own.
    Own {
        /// The program. A bare name is looked up on `PATH`.
        binary: PathBuf,
    },
    /// systemd; the agent configures, asks and watches.
    Unit(Unit),
    /// systemd, asked by the steward: the agent has no right to.
    Steward {
        /// Who asks.
        steward: Steward,
        /// The unit.
        unit: Unit,
    },
    /// Nobody could.
    Nobody {
        /// What is missing, and what to do.
        why: String,
    },
}

impl Runner {
    /// The agent when it was given a program, else systemd where it runs.
    #[must_use]
    pub fn choose(binary: Option<PathBuf>, unit: Unit) -> Self {
        let on_path = std::env::var_os("PATH").and_then(|path| {
            std::env::split_paths(&path)
                .map(|directory| directory.join("k3s"))
                .find(|program| program.is_file())
        });
        decide(
            binary,
            unit,
            Path::new(SYSTEMD_RUNS).is_dir(),
            on_path.as_deref(),
        )
    }
}

fn decide(
    binary: Option<PathBuf>,
    unit: Unit,
    systemd_runs: bool,
    on_path: Option<&Path>,
) -> Runner {
    if let Some(binary) = binary {
        return Runner::Own { binary };
    }
    if systemd_runs {
        return Runner::Unit(unit);
    }
    let found = match on_path {
        Some(program) => format!("start lkc-guest with --k3s {}", program.display()),
        None => "install k3s and start lkc-guest with --k3s PATH".to_owned(),
    };
    let why = format!("nobody runs k3s: systemd, which would run {unit}, is not here; {found}");
    Runner::Nobody { why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_runs_it() {
        let unit = || "k3s.service".parse::<Unit>().unwrap();
        let nobody = |why: &str| Runner::Nobody {
            why: format!(
                "nobody runs k3s: systemd, which would run k3s.service, is not here; {why}"
            ),
        };
        let program = Path::new("/usr/bin/k3s");
        let own = Runner::Own {
            binary: "/opt/k3s".into(),
        };
        for (binary, systemd_runs, on_path, expected) in [
            (Some("/opt/k3s".into()), true, Some(program), own.clone()),
            (Some("/opt/k3s".into()), false, None, own),
            (None, true, Some(program), Runner::Unit(unit())),
            (None, true, None, Runner::Unit(unit())),
            (
                None,
                false,
                Some(program),
                nobody("start lkc-guest with --k3s /usr/bin/k3s"),
            ),
            (
                None,
                false,
                None,
                nobody("install k3s and start lkc-guest with --k3s PATH"),
            ),
        ] {
            assert_eq!(decide(binary, unit(), systemd_runs, on_path), expected);
        }
    }
}
