//! Starting a sandbox, as the daemon sees it: run `sandbox-enter`, follow the reports, and on any
//! failure leave nothing running.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::report::{Failure, FailureKind, Record, Report};
use super::{CONSOLE_FILE, ENTER_COMMAND, KILL_DEADLINE, MAX_REPORT_BYTES, SELF, clean, probe};
use crate::machine::directories::{console_tail, open_console};
use crate::machine::process::Process;
use crate::machine::{AGENT_SOCKET, MachineError, MachineSpec};

/// A sandbox takes some 50 ms on an idle machine.
const START_DEADLINE: Duration = Duration::from_secs(30);

pub(super) async fn launch(spec: &MachineSpec) -> Result<(Process, Record), MachineError> {
    let console = open_console(&spec.state_dir)?;
    let spec_json = serde_json::to_vec(spec).map_err(|error| MachineError::BadSpec {
        what: "specification",
        why: error.to_string(),
    })?;
    let mut enter = Command::new(SELF)
        .arg0("lkc-host")
        .arg(ENTER_COMMAND)
        .current_dir("/")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(console)
        .kill_on_drop(true)
        .spawn()
        .map_err(MachineError::io("run", SELF))?;
    let mut record = None;
    let outcome = timeout(START_DEADLINE, follow(&mut enter, &spec_json, &mut record)).await;
    drop(enter);

    let process = match &record {
        Some(record) => record
            .process()
            .map_err(MachineError::io("look for the machine of", &spec.state_dir))?,
        None => None,
    };
    let failure = match (outcome, process, record) {
        (Ok(Ok(())), Some(process), Some(record)) => return Ok((process, record)),
        (outcome, process, _) => {
            if let Some(process) = process {
                kill(&process, &spec.state_dir).await?;
            }
            match outcome {
                Ok(Ok(())) => gone("the sandbox ended as soon as its agent ran"),
                Ok(Err(failure)) => failure,
                Err(_) => gone("no answer before the deadline"),
            }
        }
    };
    clean(&spec.state_dir, &spec.runtime_dir.join(AGENT_SOCKET))?;
    Err(as_error(failure, &spec.state_dir))
}

/// Hands the specification over and reads reports until the agent runs. The record is given as soon
/// as there is one, so that a caller who stops waiting knows what to end.
async fn follow(
    enter: &mut Child,
    spec_json: &[u8],
    record: &mut Option<Record>,
) -> Result<(), Failure> {
    if let Some(mut stdin) = enter.stdin.take() {
        // A process that ended early has reported why.
        let _ = stdin.write_all(spec_json).await;
    }
    let Some(stdout) = enter.stdout.take() else {
        return Err(gone("no report can be read"));
    };
    let mut lines = BufReader::new(stdout.take(MAX_REPORT_BYTES)).lines();
    let mut is_ready = false;
    while let Some(line) = lines
        .next_line()
        .await
        .map_err(Failure::at("read a report"))?
    {
        match serde_json::from_str(&line).map_err(Failure::at("read a report"))? {
            Report::Started(started) => *record = Some(started),
            Report::Ready => is_ready = true,
            Report::Failed(failure) => return Err(failure),
            Report::Entered(_) => {}
        }
    }
    // The end of the reports: nobody in the sandbox holds our pipe any more.
    if is_ready {
        let _ = enter.wait().await;
        Ok(())
    } else {
        Err(gone("it ended without a report"))
    }
}

async fn kill(process: &Process, state_dir: &Path) -> Result<(), MachineError> {
    let failed = || MachineError::io("stop the machine of", state_dir);
    process.signal(Signal::KILL).map_err(failed())?;
    timeout(KILL_DEADLINE, process.exited())
        .await
        .map_err(|_| MachineError::StillRunning { pid: process.pid() })?
        .map_err(failed())
}

fn gone(why: &str) -> Failure {
    Failure::at("wait for the sandbox")(why)
}

fn as_error(failure: Failure, state_dir: &Path) -> MachineError {
    match failure.kind {
        FailureKind::Namespaces => probe::no_namespaces(&failure),
        FailureKind::Proc => MachineError::NoProc { why: failure.why },
        FailureKind::Interface => MachineError::NoInterface {
            why: format!("cannot {}: {}", failure.step, failure.why),
        },
        FailureKind::Other => MachineError::InitFailed {
            step: failure.step,
            why: failure.why,
            console: console_tail(&state_dir.join(CONSOLE_FILE)).unwrap_or_default(),
        },
    }
}
