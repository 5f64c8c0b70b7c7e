//! `lkc-host qemu-keeper`: the process that a virtual machine is to the host. It keeps QEMU and,
//! where there is one, the process of its vsock device; when either it or QEMU ends, all do.
//!
//! The daemon starts it, writes down its pid, and only then hands it the plan; nothing of the daemon
//! is needed afterwards. It says nothing but one line, once QEMU is started.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command as Program, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines, Take};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::driver::{self, LOOK, Status, rename};
use super::system;
use super::{CHILD_COMMAND, SELF};
use crate::machine::{EXIT_FILE, MachineExit};

/// Of the JSON form; room for a command line.
const MAX_PLAN_BYTES: u64 = 1024 * 1024;

/// How long the device's process may take until it listens.
const DEVICE_DEADLINE: Duration = Duration::from_secs(10);

/// How long QEMU may take to close its disk when it is told to end.
const END_GRACE: Duration = Duration::from_secs(5);

/// How long QEMU may take until its monitor answers.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// Longest line of QEMU's that is listened to, in bytes.
const MAX_LINE: u64 = 64 * 1024;

/// How the reasons end that QEMU gives for what would have been a reset.
const RESET: &str = "reset";

/// The line that says that QEMU is started.
pub(super) const STARTED: &str = "started";

/// What the keeper keeps.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Plan {
    pub(super) state_dir: PathBuf,
    pub(super) qemu: Invocation,
    pub(super) device: Option<Device>,
}

/// The process of a vsock device.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Device {
    pub(super) invocation: Invocation,
    /// Where QEMU finds it.
    pub(super) socket: PathBuf,
    /// Where it lets the host in.
    pub(super) hidden: PathBuf,
    /// What that is called once the guest's driver runs.
    pub(super) way_in: PathBuf,
}

/// A program with its arguments.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Invocation {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
}

/// Runs the keeper to the machine's end. The plan comes as JSON on stdin; what QEMU and the device
/// write goes where the keeper's stderr does.
pub fn keeper_main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let kept = runtime.and_then(|runtime| {
        let plan = read_plan()?;
        // Whoever started us may end with its session, and we go on.
        nix::unistd::setsid()?;
        runtime.block_on(keep(&plan))
    });
    match kept {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("lkc-host: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// `lkc-host qemu-child PROGRAM ARGUMENT…`: becomes the program, which ends when the keeper does.
pub fn child_main(arguments: &[OsString]) -> ExitCode {
    let Some((program, arguments)) = arguments.split_first() else {
        return ExitCode::FAILURE;
    };
    if let Err(error) = system::end_with_parent() {
        say(&format!("lkc-host: cannot be tied to the keeper: {error}"));
        return ExitCode::FAILURE;
    }
    let error = Program::new(program).args(arguments).exec();
    say(&format!(
        "lkc-host: cannot run {}: {error}",
        program.to_string_lossy()
    ));
    ExitCode::FAILURE
}

/// To the machine's log, which is all that stderr is here.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn read_plan() -> io::Result<Plan> {
    let mut json = Vec::new();
    io::stdin()
        .lock()
        .take(MAX_PLAN_BYTES)
        .read_to_end(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

async fn keep(plan: &Plan) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut is_first = true;
    loop {
        let mut device = match &plan.device {
            Some(device) => Some(start_device(device).await?),
            None => None,
        };
        let mut qemu = Qemu::start(&plan.qemu).await?;
        if std::mem::take(&mut is_first) {
            tell_started();
        }
        let end = watch(plan, &mut qemu, &mut device, &mut terminate).await?;
        if let Some(device) = &mut device {
            device.kill().await?;
        }
        if let End::Over(exit) = end {
            let json = serde_json::to_vec(&exit)?;
            return fs::write(plan.state_dir.join(EXIT_FILE), json);
        }
    }
}

/// How a run of QEMU ended.
enum End {
    /// The guest was reset, and QEMU told to end instead: its device does not survive one.
    Reset,
    Over(MachineExit),
}

/// Until QEMU has ended, by itself or because we were told to end.
async fn watch(
    plan: &Plan,
    qemu: &mut Qemu,
    device: &mut Option<Child>,
    terminate: &mut Signal,
) -> io::Result<End> {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_hidden = device.is_some();
    loop {
        tokio::select! {
            heard = qemu.heard() => match heard? {
                Heard::Status { driver_runs } => {
                    if driver_runs && let Some(device) = &plan.device {
                        rename(&device.hidden, &device.way_in)?;
                        is_hidden = false;
                    }
                }
                Heard::End(status, _) if !status.success() => {
                    return Ok(End::Over(MachineExit::Killed));
                }
                Heard::End(_, reason) if reason.ends_with(RESET) => return Ok(End::Reset),
                Heard::End(..) => return Ok(End::Over(MachineExit::ShutDown)),
            },
            _ = looks.tick(), if is_hidden => qemu.ask_for_status().await?,
            _ = terminate.recv() => {
                end(&mut qemu.child).await?;
                return Ok(End::Over(MachineExit::Stopped));
            }
            ended = ended(device) => {
                // QEMU cannot take the device back from another process: until the next start the
                // machine is reached by its serial port, which is what the missing socket says.
                say(&format!("lkc-host: the process of the vsock device ended: {}", ended?));
                *device = None;
                is_hidden = false;
                if let Some(planned) = &plan.device {
                    remove(&planned.hidden)?;
                    remove(&planned.way_in)?;
                }
            }
        }
    }
}

/// QEMU with a monitor of our own on its standard input and output, by which it says why it ends.
struct Qemu {
    child: Child,
    said: Lines<BufReader<Take<ChildStdout>>>,
    reason: String,
    orders: ChildStdin,
    /// Whether an answer is due.
    is_asked: bool,
}

/// What QEMU has to say.
enum Heard {
    /// Whether the guest's driver of the vsock device runs, as far as this QEMU can tell.
    Status { driver_runs: bool },
    /// How it ended, and what it had said of why.
    End(ExitStatus, String),
}

/// What of a monitor's line is of interest here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    event: String,
    data: Reason,
    r#return: Option<Status>,
    error: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reason {
    reason: String,
}

impl Qemu {
    /// Returns once its monitors answer.
    async fn start(invocation: &Invocation) -> io::Result<Self> {
        let mut child = spawn(invocation, Stdio::piped(), Stdio::piped())?;
        let (Some(mut orders), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let mut said = BufReader::new(output.take(MAX_LINE)).lines();
        let greeting = timeout(START_DEADLINE, said.next_line()).await??;
        if greeting.is_none() {
            let status = child.wait().await?;
            return Err(io::Error::other(format!("QEMU ended: {status}")));
        }
        orders
            .write_all(b"{\"execute\": \"qmp_capabilities\"}\n")
            .await?;
        // Its answer.
        said.next_line().await?;
        Ok(Self {
            child,
            said,
            reason: String::new(),
            orders,
            is_asked: false,
        })
    }

    /// Asks what [`Heard::Status`] says, unless that was asked already.
    async fn ask_for_status(&mut self) -> io::Result<()> {
        if self.is_asked {
            return Ok(());
        }
        self.is_asked = true;
        let order = json!({"execute": driver::STATUS, "arguments": driver::of_vsock()});
        match self.orders.write_all(format!("{order}\n").as_bytes()).await {
            // It is about to be heard that it ended.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        }
    }

    /// The next that is of interest. Cancellation safe.
    async fn heard(&mut self) -> io::Result<Heard> {
        while let Some(line) = self.said.next_line().await? {
            self.said.get_mut().get_mut().set_limit(MAX_LINE);
            let said: Said = serde_json::from_str(&line).unwrap_or_default();
            if said.event == "SHUTDOWN" {
                self.reason = said.data.reason;
            }
            if let Some(status) = said.r#return {
                self.is_asked = false;
                return Ok(Heard::Status {
                    driver_runs: status.runs,
                });
            }
            if said.error.is_some() {
                // One that cannot tell: it is used as if the driver ran, which goes well mostly.
                return Ok(Heard::Status { driver_runs: true });
            }
        }
        Ok(Heard::End(self.child.wait().await?, self.reason.clone()))
    }
}

async fn ended(device: &mut Option<Child>) -> io::Result<ExitStatus> {
    match device {
        Some(device) => device.wait().await,
        None => std::future::pending().await,
    }
}

/// QEMU closes its disk when it is told to end.
async fn end(qemu: &mut Child) -> io::Result<()> {
    if let Some(pid) = qemu.id().and_then(|pid| i32::try_from(pid).ok()) {
        let pid = nix::unistd::Pid::from_raw(pid);
        // Our own child, and not waited for yet: the pid is its.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
    }
    match timeout(END_GRACE, qemu.wait()).await {
        Ok(ended) => ended.map(drop),
        Err(_) => qemu.kill().await,
    }
}

/// Returns once it listens.
async fn start_device(device: &Device) -> io::Result<Child> {
    for socket in [&device.socket, &device.hidden, &device.way_in] {
        remove(socket)?;
    }
    let watch = system::FileWatch::new(&device.socket)?;
    let mut child = spawn(&device.invocation, Stdio::null(), Stdio::null())?;
    let started = tokio::select! {
        listens = watch.appeared(DEVICE_DEADLINE) => listens,
        ended = child.wait() => Err(io::Error::other(format!("it ended: {}", ended?))),
    };
    match started {
        Ok(()) => Ok(child),
        Err(error) => {
            let _ = child.kill().await;
            let program = device.invocation.program.display();
            Err(io::Error::other(format!("{program}: {error}")))
        }
    }
}

fn spawn(invocation: &Invocation, stdin: Stdio, stdout: Stdio) -> io::Result<Child> {
    Command::new(SELF)
        .arg0("lkc-host")
        .arg(CHILD_COMMAND)
        .arg(&invocation.program)
        .args(&invocation.arguments)
        .current_dir("/")
        .stdin(stdin)
        .stdout(stdout)
        .kill_on_drop(true)
        .spawn()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn tell_started() {
    let mut stdout = io::stdout().lock();
    // Whoever started us may have stopped waiting, which is no reason to stop.
    let _ = writeln!(stdout, "{STARTED}").and_then(|()| stdout.flush());
}
