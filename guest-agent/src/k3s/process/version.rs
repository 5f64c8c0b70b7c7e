//! What the program is, by its own words.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use thiserror::Error;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::readiness::one_line;

/// How long `--version` may take; a first run of k3s unpacks its data, which takes seconds.
const DEADLINE: Duration = Duration::from_secs(5);

/// Bytes of its output that are read.
const MAX_OUTPUT_BYTES: u64 = 4096;

/// The first line of `--version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// `k3s v1.33.5+k3s1`.
    pub text: String,
    /// Whether it is the simulator, which runs no containers.
    pub simulated: bool,
}

/// Why it is not known.
#[derive(Debug, Error)]
pub enum VersionError {
    /// Not to be run.
    #[error("cannot run {program}")]
    Run {
        /// Which program.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Says nothing.
    #[error("{program} --version prints no version")]
    Silent {
        /// Which program.
        program: String,
    },
    /// Takes too long.
    #[error("{program} --version takes longer than {} s", DEADLINE.as_secs())]
    Slow {
        /// Which program.
        program: String,
    },
}

/// Runs `BINARY --version`, within a deadline.
///
/// # Errors
/// When it cannot be run, prints nothing, or takes too long.
pub async fn probe_version(binary: &Path) -> Result<Version, VersionError> {
    let program = one_line(&binary.display().to_string());
    let run = |source| VersionError::Run {
        program: program.clone(),
        source,
    };
    let mut child = Command::new(binary)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(run)?;
    let mut output = Vec::new();
    let Some(stdout) = child.stdout.take() else {
        return Err(VersionError::Silent { program });
    };
    let read = tokio::time::timeout(DEADLINE, async {
        stdout
            .take(MAX_OUTPUT_BYTES)
            .read_to_end(&mut output)
            .await?;
        child.wait().await
    });
    match read.await {
        Err(_) => {
            // Killed and reaped here, so that nothing is left to somebody else.
            let _ = child.kill().await;
            return Err(VersionError::Slow { program });
        }
        Ok(Err(source)) => return Err(VersionError::Run { program, source }),
        Ok(Ok(_)) => {}
    }
    parse(&String::from_utf8_lossy(&output)).ok_or(VersionError::Silent { program })
}

fn parse(output: &str) -> Option<Version> {
    let line = one_line(output.lines().find(|line| !line.trim().is_empty())?);
    let simulated = line.starts_with("k3s-simulator");
    // `k3s version v1.33.5+k3s1 (14e53016)`
    let mut words = line.split_whitespace();
    let text = match (words.next(), words.next(), words.next()) {
        (Some(name), Some("version"), Some(version)) => format!("{name} {version}"),
        _ => line,
    };
    Some(Version { text, simulated })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        for (output, text, simulated) in [
            (
                "k3s version v1.33.5+k3s1 (14e53016)\ngo version go1.24.6\n",
                "k3s v1.33.5+k3s1",
                false,
            ),
            (
                "k3s-simulator version v1.33.5+k3s1 (simulated)\n",
                "k3s-simulator v1.33.5+k3s1",
                true,
            ),
            ("\nsomething \u{1b}[2J", "something \\u{1b}[2J", false),
        ] {
            assert_eq!(
                parse(output),
                Some(Version {
                    text: text.to_owned(),
                    simulated
                })
            );
        }
        assert_eq!(parse(" \n"), None);
    }

    #[tokio::test]
    async fn a_program_that_is_not_there() {
        let error = probe_version(Path::new("/nowhere/k3s")).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot run /nowhere/k3s");
    }
}
