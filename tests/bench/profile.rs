//! Where the time of bulk streams goes.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    Failure,
    candidates::{Candidate, Place},
    children::{Child, find_tool},
    interrupt::Interrupt,
    load::Bulk,
    options::ProfileOptions,
    report,
    usage::{CpuTimes, tree, user_and_kernel},
};

/// Lines of functions and of system calls to show.
const LINES: usize = 40;

/// # Errors
/// When the candidate cannot be started. A tool that is missing is said and left out.
pub(crate) fn run(options: &ProfileOptions) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let candidate = Candidate::named(&options.candidate)?;
    let running = candidate.start(Place::Here, &interrupt)?;
    let _bulk = Bulk::start(
        running.target(),
        options.direction,
        options.streams,
        &interrupt,
    )?;
    let processes: Vec<_> = tree(&running.processes()).into_iter().collect();
    let look = Look {
        bulk: &_bulk,
        processes: &processes,
        window: Duration::from_secs(options.seconds),
        interrupt: &interrupt,
    };
    if processes.is_empty() {
        report::line("no process of a tunnel to look at");
        return Ok(());
    }
    look.times()?;
    let directory = tempfile::tempdir().map_err(Failure::to("make a temporary directory"))?;
    look.functions(directory.path())?;
    look.system_calls(directory.path())
}

struct Look<'a> {
    bulk: &'a Bulk,
    processes: &'a [u32],
    window: Duration,
    interrupt: &'a Interrupt,
}

impl Look<'_> {
    /// Rate, and how each process' time divides into its own and the kernel's.
    fn times(&self) -> Result<(), Failure> {
        let split = || -> Vec<_> {
            let times = self.processes.iter();
            times
                .map(|&id| user_and_kernel(id).unwrap_or_default())
                .collect()
        };
        let (from, begin, cpu, before) = (
            self.bulk.received(),
            Instant::now(),
            CpuTimes::of(self.processes),
            split(),
        );
        self.interrupt.pause(self.window)?;
        let gib = (self.bulk.received() - from) as f64 / (1024.0 * 1024.0 * 1024.0);
        let spent = CpuTimes::of(self.processes).since(&cpu).as_secs_f64();
        report::line(&format!(
            "{:.2} GiB/s, {:.2} CPU-s/GiB",
            gib / begin.elapsed().as_secs_f64(),
            spent / gib
        ));
        for ((id, before), after) in self.processes.iter().zip(before).zip(split()) {
            let (user, kernel) = (
                after.0.saturating_sub(before.0) as f64,
                after.1.saturating_sub(before.1) as f64,
            );
            report::line(&format!(
                "process {id} ({}): {:.0} % user, {:.0} % kernel",
                command_of(*id),
                100.0 * user / (user + kernel),
                100.0 * kernel / (user + kernel)
            ));
        }
        Ok(())
    }

    fn functions(&self, directory: &Path) -> Result<(), Failure> {
        let Some(perf) = find_tool("perf") else {
            report::line("functions: not measured: perf is not installed");
            return Ok(());
        };
        let data = directory.join("perf.data");
        let mut record = Command::new(&perf);
        record.args(["record", "--quiet", "--event", "cpu-clock", "--output"]);
        record.arg(&data).args(["--pid", &self.joined(",")]);
        if let Err(failure) = self.watch_with(&mut record, "perf", directory) {
            return not_measured("functions", &failure);
        }
        let mut shown = Command::new(perf);
        shown.args(["report", "--stdio", "--quiet", "--no-children"]);
        shown.args(["--sort", "dso,symbol", "--percent-limit", "0.5", "--input"]);
        let output = run_tool(shown.arg(&data))?;
        let text = String::from_utf8_lossy(&output.stdout);
        report::line("\nFunctions (share of the tunnel's CPU time):");
        let lines = text
            .lines()
            .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
        lines
            .take(LINES)
            .for_each(|line| report::line(line.trim_end()));
        Ok(())
    }

    fn system_calls(&self, directory: &Path) -> Result<(), Failure> {
        let Some(strace) = find_tool("strace") else {
            report::line("system calls: not measured: strace is not installed");
            return Ok(());
        };
        let counts = directory.join("strace.txt");
        let mut command = Command::new(strace);
        command.args(["-c", "-f", "-q", "-o"]).arg(&counts);
        for id in self.processes {
            command.args(["-p", &id.to_string()]);
        }
        let from = self.bulk.received();
        if let Err(failure) = self.watch_with(&mut command, "strace", directory) {
            return not_measured("system calls", &failure);
        }
        let mib = (self.bulk.received() - from) / (1024 * 1024);
        report::line(&format!(
            "\nSystem calls during {mib} MiB (slowed down by the watching):"
        ));
        let text = std::fs::read_to_string(counts).map_err(Failure::to("read strace's counts"))?;
        text.lines().take(LINES).for_each(report::line);
        Ok(())
    }

    /// Runs a tool beside the streams for the window, then asks it to end and waits for it.
    fn watch_with(
        &self,
        command: &mut Command,
        name: &str,
        directory: &Path,
    ) -> Result<(), Failure> {
        let mut tool = Child::tool(command, name, directory)?;
        self.interrupt.pause(self.window)?;
        if let Some(said) = tool.last_words() {
            return Err(Failure::Candidate(format!("{name} ended: {said}")));
        }
        if let Ok(id) = i32::try_from(tool.id()) {
            // Not waited for yet, so the number is still its own.
            let _ = kill(Pid::from_raw(id), Signal::SIGINT);
        }
        let ended = || tool.last_words().map(drop);
        self.interrupt
            .until(&format!("{name} has ended"), Duration::from_secs(20), ended)
    }

    fn joined(&self, separator: &str) -> String {
        let ids: Vec<_> = self.processes.iter().map(u32::to_string).collect();
        ids.join(separator)
    }
}

fn not_measured(what: &str, failure: &Failure) -> Result<(), Failure> {
    if matches!(failure, Failure::Interrupted) {
        return Err(Failure::Interrupted);
    }
    report::line(&format!("{what}: not measured: {failure}"));
    Ok(())
}

fn run_tool(command: &mut Command) -> Result<Output, Failure> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
    output.map_err(Failure::to("read the profile"))
}

fn command_of(id: u32) -> String {
    let text = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    let words = text
        .split(|&byte| byte == 0)
        .filter(|word| !word.is_empty());
    let words: Vec<_> = words.map(String::from_utf8_lossy).collect();
    match words.as_slice() {
        [] => "gone".to_owned(),
        [program] => program.to_string(),
        [program, argument, ..] => {
            let name = program.rsplit('/').next().unwrap_or(program);
            format!("{name} {argument}")
        }
    }
}
