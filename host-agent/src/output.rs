//! What the user sees. Nothing else in this program prints.
//!
//! Results go to stdout, talk to stderr. What is said is made by pure functions of a status or an
//! error (`steps`, `closing`, `table`, `report`); this file decides where it goes, `progress` when.

mod carriers;
mod closing;
mod events;
mod forwards;
mod json;
mod paint;
mod panic;
mod plain;
mod progress;
mod report;
mod reverse;
#[cfg(test)]
mod sample;
mod snapshots;
mod steps;
mod table;

use std::{
    fmt,
    io::{self, BufRead, IsTerminal, Read, Write},
    process::ExitCode,
};

use serde::Serialize;

use crate::{
    cli::{Format, Global},
    error::{CommandError, Kind},
};

use events::Event;
use report::{ErrorDocument, ErrorObject};

pub use carriers::carrier_table;
pub use closing::{Closing, closing, next_without_cni};
pub use forwards::{check_table, forward_table};
pub use paint::Paint;
pub use panic::install_panic_hook;
pub use plain::ChangedRows;
pub use progress::Progress;
pub use reverse::{forward_list, reverse_table};
pub use snapshots::snapshot_table;
pub use table::{cluster_table, cluster_view, wrong_clock};

/// Longest line in bytes that is read from stdin.
const LONGEST_LINE: u64 = 4096;

/// Width taken for a terminal that does not say its own, in columns.
const DEFAULT_WIDTH: usize = 80;

/// Where and how to print.
#[derive(Debug, Clone)]
pub struct Output {
    format: Format,
    quiet: bool,
    stdout: Paint,
    stderr: Paint,
    live: bool,
    width: usize,
}

impl Output {
    /// Decides by options, environment and terminals.
    #[must_use]
    pub fn new(global: &Global) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let colour = !global.no_color && !set("NO_COLOR") && !dumb;
        let stderr_is_terminal = io::stderr().is_terminal();
        Self {
            format: global.output,
            quiet: global.quiet,
            stdout: Paint::new(colour && io::stdout().is_terminal()),
            stderr: Paint::new(colour && stderr_is_terminal),
            live: stderr_is_terminal && !dumb && !global.quiet && global.output == Format::Text,
            width: terminal_width(),
        }
    }

    /// Whether results are for programs.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// How stdout may be coloured.
    #[must_use]
    pub fn paint(&self) -> Paint {
        self.stdout
    }

    /// Columns of the terminal.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Prints a result, with a line end if it has none.
    ///
    /// # Errors
    /// [`StdoutClosed`] when the reader went away, `HostIo` for anything else.
    pub fn result(&self, text: &str) -> Result<(), CommandError> {
        let end = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        let mut stdout = io::stdout().lock();
        write!(stdout, "{text}{end}")
            .and_then(|()| stdout.flush())
            .map_err(stdout_error)
    }

    /// Prints a result as one line of JSON.
    ///
    /// # Errors
    /// As [`Output::result`].
    pub fn json_line(&self, value: &impl Serialize) -> Result<(), CommandError> {
        self.result(&json::line(value)?)
    }

    /// Prints a result as a JSON document.
    ///
    /// # Errors
    /// As [`Output::result`].
    pub fn json(&self, value: &impl Serialize) -> Result<(), CommandError> {
        self.result(&json::document(value)?)
    }

    /// Prints what closes a command: a result for people, nothing for programs or with `--quiet`.
    ///
    /// # Errors
    /// As [`Output::result`].
    pub fn summary(&self, text: &str) -> Result<(), CommandError> {
        if self.quiet || self.is_json() {
            Ok(())
        } else {
            self.result(text)
        }
    }

    /// Says something beside the results, unless that is not wanted.
    pub fn talk(&self, text: &str) {
        if !self.quiet {
            self.to_stderr(text);
        }
    }

    /// Warns, unless that is not wanted.
    pub fn warn(&self, text: &str) {
        self.talk(&format!("{} {text}", self.stderr.yellow("warning:")));
    }

    /// Asks a question on the terminal and says whether the answer was yes. Nobody is asked where
    /// stdin or stderr is no terminal: that is `None`.
    #[must_use]
    pub fn ask(&self, question: &str) -> Option<bool> {
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return None;
        }
        let mut stderr = io::stderr().lock();
        write!(stderr, "{question} [y/N] ")
            .and_then(|()| stderr.flush())
            .ok()?;
        drop(stderr);
        let mut answer = String::new();
        io::stdin().read_line(&mut answer).ok()?;
        Some(matches!(
            answer.trim().to_ascii_lowercase().as_str(),
            "y" | "yes"
        ))
    }

    /// Reads a line: from the terminal, where it is asked for, else from stdin as it is.
    ///
    /// # Errors
    /// Stdin cannot be read, or the question not be asked.
    pub fn line(&self, question: &str) -> io::Result<String> {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            let mut stderr = io::stderr().lock();
            write!(stderr, "{question} ").and_then(|()| stderr.flush())?;
        }
        let mut line = String::new();
        stdin.lock().take(LONGEST_LINE).read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// Whether somebody sits there who can be asked.
    #[must_use]
    pub fn can_ask(&self) -> bool {
        !self.is_json() && io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    /// Reads a line as it is, spaces at its ends and all. The terminal has to be told before that it
    /// must not show it.
    ///
    /// # Errors
    /// Stdin cannot be read, or the question not be asked.
    pub fn secret(&self, question: &str) -> io::Result<String> {
        let mut stderr = io::stderr().lock();
        write!(stderr, "{question} ").and_then(|()| stderr.flush())?;
        drop(stderr);
        let mut line = String::new();
        io::stdin().lock().take(LONGEST_LINE).read_line(&mut line)?;
        Ok(line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// Prints an error: text on stderr, or a JSON object on stdout.
    pub fn error(&self, error: &CommandError) {
        if self.is_json() {
            let error_object = ErrorObject::new(error);
            self.error_line(
                &ErrorDocument {
                    error: error_object,
                },
                error,
            );
        } else {
            self.to_stderr(&report::text(error, self.stderr));
        }
    }

    /// The last line of a followed command that failed, for programs; text as [`Output::error`].
    pub fn failed_event(&self, error: &CommandError) {
        if self.is_json() {
            let error_object = ErrorObject::new(error);
            self.error_line(
                &Event::Failed {
                    error: error_object,
                },
                error,
            );
        } else {
            self.error(error);
        }
    }

    /// A reader that went away hears of no error; a stdout that cannot be written, as on a full
    /// disk, leaves stderr to say so.
    fn error_line(&self, document: &impl Serialize, error: &CommandError) {
        if let Err(unwritten) = self.json_line(document)
            && !unwritten.source.is::<StdoutClosed>()
        {
            self.to_stderr(&report::text(error, self.stderr));
        }
    }

    /// Says that a signal ended the waiting, and what goes on without it.
    pub fn interrupted(&self, exit_code: u8, goes_on: &str) {
        if self.is_json() {
            let (code, message) = (exit_code, goes_on);
            let event = match exit_code {
                143 => Event::Terminated { code, message },
                _ => Event::Interrupted { code, message },
            };
            // A reader that went away needs no last word.
            let _ = self.json_line(&event);
        } else if !goes_on.is_empty() {
            // On a terminal the cursor stands behind `^C`.
            let begin = if self.live { "\n" } else { "" };
            self.talk(&format!("{begin}{goes_on}"));
        }
    }

    /// Prints a line of a log, already sanitised; an object for programs.
    ///
    /// # Errors
    /// As [`Output::result`].
    pub fn log_line(&self, line: &str) -> Result<(), CommandError> {
        if self.is_json() {
            self.json_line(&serde_json::json!({ "text": line }))
        } else {
            self.result(&format!("{line}\n"))
        }
    }

    /// Sends the program's own log to stderr, as much of it as `-v` asks for.
    pub fn install_log(&self, verbose: u8) {
        let level = match verbose {
            0 => return,
            1 => "info,lkc_host=debug",
            _ => "trace",
        };
        let log = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::new(level))
            .with_ansi(self.stderr != Paint::PLAIN)
            .with_writer(io::stderr);
        // Only a second call fails, and the first one's log is as good.
        let _ = log.try_init();
    }

    fn to_stderr(&self, text: &str) {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        // There is nobody left to tell when stderr is closed.
        let _ = write!(io::stderr().lock(), "{text}{end}");
    }
}

/// Prints clap's answer: help and version as a result, mistakes as talk. Returns the exit code.
#[must_use]
pub fn usage(answer: &clap::Error) -> ExitCode {
    let code = u8::try_from(answer.exit_code()).unwrap_or(Kind::Usage.exit_code());
    match answer.print() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe && code == 0 => {
            let error = stdout_error(error);
            // If stderr takes nothing either, the exit code has to do.
            let _ = write!(io::stderr(), "{}", report::text(&error, Paint::new(false)));
            ExitCode::from(error.kind.exit_code())
        }
        _ => ExitCode::from(code),
    }
}

/// The reader of stdout went away; the program ends without a word.
#[derive(Debug)]
pub struct StdoutClosed;

impl fmt::Display for StdoutClosed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the reader of stdout went away")
    }
}

impl std::error::Error for StdoutClosed {}

fn stdout_error(error: io::Error) -> CommandError {
    if error.kind() == io::ErrorKind::BrokenPipe {
        CommandError::new(Kind::Other, StdoutClosed)
    } else {
        CommandError::new(Kind::HostIo, error).context("cannot write to stdout")
    }
}

fn terminal_width() -> usize {
    rustix::termios::tcgetwinsize(io::stderr())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|&columns| columns >= 40)
        .unwrap_or(DEFAULT_WIDTH)
}

/// An error as text without colour, for snapshots.
#[cfg(test)]
pub(crate) fn error_text(error: &CommandError) -> String {
    report::text(error, Paint::PLAIN)
}
