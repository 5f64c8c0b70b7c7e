//! `lkc-host sandbox-init`: the first process of a sandbox. It makes the inside of the sandbox, then
//! runs the agent, takes in orphans, and ends the machine; the kernel ends all others with it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write, stderr, stdin};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::signal::{Signal as UnixSignal, kill};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stdin, dup2_stdout, sethostname, setsid};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::report::{Failure, FailureKind, Report, SandboxMode};
use super::supervisor::{Action, Event, Supervisor};
use super::{EXIT_FILE, MAX_SPEC_BYTES, OWN_GROUP_OPTION, interface, root};
use crate::machine::{GUEST_PROGRAM_DIR, MachineExit, MachineSpec};

/// Runs `sandbox-init` with the arguments that follow its name. Only `sandbox-enter` calls it.
pub fn init_main(args: &[OsString]) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            console(&format!("{}: {}", failure.step, failure.why));
            Report::Failed(failure).send();
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[OsString]) -> Result<(), Failure> {
    let mode = match args.first().and_then(|arg| arg.to_str()) {
        Some("root") => SandboxMode::Root,
        Some("user") => SandboxMode::UserNamespace,
        _ => return Err(Failure::at("start")("only sandbox-enter may start this")),
    };
    let own_group = args.iter().any(|arg| arg == OWN_GROUP_OPTION);
    if std::process::id() != 1 {
        return Err(Failure::at("start")("not the first process of a sandbox"));
    }
    let spec = read_spec()?;
    let _ = setsid();
    umask(Mode::from_bits_truncate(0o022));
    let exit_file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(spec.state_dir.join(EXIT_FILE))
        .map_err(Failure::at("make the exit file"))?;
    root::enter(&spec, mode, own_group)?;
    sethostname(&spec.name).map_err(Failure::of_errno(FailureKind::Other, "set the hostname"))?;
    File::open("/dev/null")
        .and_then(|null| dup2_stdin(null).map_err(Into::into))
        .map_err(Failure::at("close stdin"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::at("start the event loop"))?;
    let exit = runtime.block_on(async {
        interface::make(spec.mac).await?;
        Init::start(&spec)?.run().await
    })?;
    if let Ok(line) = serde_json::to_vec(&exit) {
        let _ = (&exit_file).write_all(&line);
    }
    console(&exit.to_string());
    Ok(())
}

/// Ends without a machine when `sandbox-enter` died half-way: then the JSON is cut short.
fn read_spec() -> Result<MachineSpec, Failure> {
    let mut json = Vec::new();
    stdin()
        .lock()
        .take(MAX_SPEC_BYTES)
        .read_to_end(&mut json)
        .map_err(Failure::at("read the specification"))?;
    serde_json::from_slice(&json).map_err(Failure::at("read the specification"))
}

struct Init<'a> {
    spec: &'a MachineSpec,
    terminate: Signal,
    interrupt: Signal,
    child: Signal,
    agent: Option<Pid>,
    supervisor: Supervisor,
}

impl<'a> Init<'a> {
    /// Starts the agent and tells so. From then on stdout is the console too.
    fn start(spec: &'a MachineSpec) -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(Failure::at("listen for signals"));
        let mut init = Self {
            spec,
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            child: listen(SignalKind::child())?,
            agent: None,
            supervisor: Supervisor::new(Instant::now()),
        };
        init.start_agent().map_err(Failure::at(format!(
            "run the agent {}",
            spec.programs.guest_agent.display()
        )))?;
        Report::Ready.send();
        dup2_stdout(stderr()).map_err(Failure::at("move stdout to the console"))?;
        Ok(init)
    }

    async fn run(mut self) -> Result<MachineExit, Failure> {
        // What ended before we listened has sent its signal already.
        let mut events = self.reap()?;
        loop {
            for event in std::mem::take(&mut events) {
                if let Some(exit) = self.handle(event)? {
                    return Ok(exit);
                }
            }
            let deadline = self.supervisor.deadline();
            tokio::select! {
                _ = self.terminate.recv() => events.push(Event::Terminate),
                _ = self.interrupt.recv() => events.push(Event::Terminate),
                _ = self.child.recv() => events = self.reap()?,
                () = sleep_until(deadline) => events.push(Event::Deadline),
            }
        }
    }

    fn handle(&mut self, event: Event) -> Result<Option<MachineExit>, Failure> {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            match self.supervisor.handle(event, Instant::now()) {
                None => {}
                Some(Action::Exit(exit)) => return Ok(Some(exit)),
                Some(Action::TerminateAgent) => {
                    if let Some(agent) = self.agent {
                        let _ = kill(agent, UnixSignal::SIGTERM);
                    }
                }
                Some(Action::TerminateRest) => {
                    // Every process but ourselves; there may be none.
                    let _ = kill(Pid::from_raw(-1), UnixSignal::SIGTERM);
                    if self.reap()?.contains(&Event::Alone) {
                        next = Some(Event::Alone);
                    }
                }
                Some(Action::StartAgent) => {
                    if let Err(error) = self.start_agent() {
                        console(&format!("cannot run the agent: {error}"));
                        next = Some(Event::AgentNotStarted);
                    }
                }
            }
        }
        Ok(None)
    }

    fn start_agent(&mut self) -> std::io::Result<()> {
        let child = Command::new(Path::new(GUEST_PROGRAM_DIR).join("lkc-guest"))
            .args(&self.spec.agent_args)
            .env_clear()
            .env("PATH", root::GUEST_PATH)
            .env("HOME", "/root")
            .env("container", "lkc")
            .envs(&self.spec.env)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(stderr_file()?)
            .process_group(0)
            .spawn()?;
        self.agent = Some(Pid::from_raw(
            i32::try_from(child.id()).map_err(std::io::Error::other)?,
        ));
        Ok(())
    }

    /// Takes in every child that has ended; orphans of the agent are children too.
    fn reap(&mut self) -> Result<Vec<Event>, Failure> {
        let mut events = Vec::new();
        loop {
            let (pid, success) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, code == 0),
                Ok(WaitStatus::Signaled(pid, _, _)) => (pid, false),
                Ok(WaitStatus::StillAlive) => return Ok(events),
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(Errno::ECHILD) => {
                    events.push(Event::Alone);
                    return Ok(events);
                }
                Err(errno) => {
                    return Err(Failure::of_errno(FailureKind::Other, "wait for a child")(
                        errno,
                    ));
                }
            };
            if self.agent == Some(pid) {
                self.agent = None;
                console(if success {
                    "the agent has ended"
                } else {
                    "the agent has died"
                });
                events.push(Event::AgentExited { success });
            }
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// The agent's output goes to the console, whatever our own stdout still is.
fn stderr_file() -> std::io::Result<File> {
    use std::os::fd::AsFd;
    Ok(stderr().as_fd().try_clone_to_owned()?.into())
}

fn console(line: &str) {
    let _ = writeln!(stderr(), "sandbox: {line}");
}
