//! Real programs at the end of a real link.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use lkc_protocol::{
    error::RefusalCode,
    exec::Signal,
    link::{Link, Pair, RequestError, pair},
    message::{AnyRequest, TerminalSize},
};
use tokio::{task::JoinSet, time::timeout};

use super::*;

/// Longest wait of a test for anything.
const LIMIT: Duration = Duration::from_secs(20);

struct Bench {
    link: Link,
    tasks: JoinSet<()>,
}

impl Bench {
    async fn new() -> Self {
        let Pair {
            host: (link, _),
            guest: (_, mut requests),
            drivers: mut tasks,
        } = pair().await.unwrap();
        tasks.spawn(async move {
            let mut serving = JoinSet::new();
            while let Some(request) = requests.next().await {
                let AnyRequest::Exec(wanted) = request.request().clone() else {
                    panic!("{request:?}");
                };
                serving.spawn(async move { run(request, &wanted, None).await });
            }
            while serving.join_next().await.is_some() {}
        });
        Self { link, tasks }
    }

    async fn ask(&self, wanted: &Exec) -> Result<Session, RequestError> {
        let asked = timeout(LIMIT, self.link.request(wanted)).await;
        let (_, stream) = asked.expect("no answer")?;
        let decoder = Decoder::default();
        Ok(Session { stream, decoder })
    }

    async fn start(&self, wanted: &Exec) -> Session {
        self.ask(wanted).await.unwrap()
    }

    /// Ends the link, and waits until nothing of either end runs.
    async fn end(mut self) {
        self.link.close();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        timeout(LIMIT, ended).await.expect("a task is left");
    }
}

/// A host's end of a program's stream.
struct Session {
    stream: Stream,
    decoder: Decoder,
}

impl Session {
    async fn send(&self, piece: &ToProgram) {
        let (_, writer) = self.stream.halves();
        let sent = timeout(LIMIT, writer.write(encode(piece))).await;
        sent.expect("it takes nothing").unwrap();
    }

    async fn next(&mut self) -> Option<FromProgram> {
        loop {
            if let Some(piece) = self.decoder.pop().unwrap() {
                return Some(piece);
            }
            let read = timeout(LIMIT, self.stream.halves().0.read()).await;
            self.decoder.push(&read.expect("it says nothing").unwrap()?);
        }
    }

    /// Reads until `wanted` is in what it writes.
    async fn until(&mut self, wanted: &str) -> String {
        let mut text = String::new();
        while !text.contains(wanted) {
            match self.next().await {
                Some(FromProgram::Output(bytes)) => text += &String::from_utf8_lossy(&bytes),
                other => panic!("{other:?} after {text:?}"),
            }
        }
        text
    }

    /// Its output, its errors and its end.
    async fn rest(&mut self) -> (String, String, ProgramEnd) {
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let end = loop {
            match self.next().await.expect("no end") {
                FromProgram::Output(bytes) => output.extend_from_slice(&bytes),
                FromProgram::Errors(bytes) => errors.extend_from_slice(&bytes),
                FromProgram::Ended(end) => break end,
            }
        };
        assert_eq!(self.next().await, None, "something comes behind the end");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(output), text(errors), end)
    }
}

fn exec(arguments: &[&str]) -> Exec {
    Exec {
        arguments: arguments.iter().map(|&text| text.to_owned()).collect(),
        environment: Vec::new(),
        directory: None,
        terminal: None,
    }
}

fn shell(script: &str) -> Exec {
    exec(&["sh", "-c", script])
}

fn on_terminal(script: &str) -> Exec {
    Exec {
        terminal: Some(TerminalSize {
            columns: 211,
            rows: 52,
        }),
        ..shell(script)
    }
}

#[tokio::test]
async fn what_it_writes_and_how_it_ends_is_told_apart() {
    let bench = Bench::new().await;
    let mut session = bench.start(&shell("echo out; echo err >&2; exit 3")).await;
    let (output, errors, end) = session.rest().await;
    assert_eq!((output.as_str(), errors.as_str()), ("out\n", "err\n"));
    assert_eq!(end, ProgramEnd::Exited(3));
    let mut session = bench.start(&shell("kill -9 $$")).await;
    assert_eq!(session.rest().await.2, ProgramEnd::Killed(9));
    bench.end().await;
}

#[tokio::test]
async fn it_runs_where_and_with_what_was_asked_for() {
    let bench = Bench::new().await;
    let home = tempfile::tempdir().unwrap();
    let mut wanted = shell("pwd; echo $GREETING");
    wanted.directory = Some(home.path().display().to_string());
    wanted.environment = vec!["GREETING=hello".to_owned()];
    let (output, ..) = bench.start(&wanted).await.rest().await;
    assert_eq!(output, format!("{}\nhello\n", home.path().display()));
    bench.end().await;
}

#[tokio::test]
async fn much_goes_through_it_and_its_input_ends() {
    let bench = Bench::new().await;
    let session = bench.start(&exec(&["cat"])).await;
    let much: Vec<u8> = (0..3_000_000_u32)
        .map(|at| b'a' + (at % 23) as u8)
        .collect();
    let (reader, writer) = session.stream.halves();
    let sending = async {
        for part in much.chunks(100_000) {
            let piece = ToProgram::Input(Bytes::copy_from_slice(part));
            writer.write(encode(&piece)).await.unwrap();
        }
        writer.write(encode(&ToProgram::InputEnd)).await.unwrap();
    };
    let reading = async {
        let (mut decoder, mut output) = (Decoder::default(), Vec::new());
        while let Some(bytes) = reader.read().await.unwrap() {
            decoder.push(&bytes);
            while let Some(piece) = decoder.pop().unwrap() {
                match piece {
                    FromProgram::Output(bytes) => output.extend_from_slice(&bytes),
                    FromProgram::Ended(end) => assert_eq!(end, ProgramEnd::Exited(0)),
                    FromProgram::Errors(bytes) => panic!("{bytes:?}"),
                }
            }
        }
        output
    };
    let both = async { tokio::join!(sending, reading).1 };
    let output = timeout(LIMIT, both).await.expect("it is stuck");
    assert!(output == much, "{} bytes of {}", output.len(), much.len());
    session.stream.finish();
    drop(session);
    bench.end().await;
}

#[tokio::test]
async fn a_program_that_is_not_there_ends_as_in_a_shell() {
    let bench = Bench::new().await;
    for (wanted, expected) in [
        (exec(&["no-such-program"]), 127),
        (exec(&["/etc/passwd"]), 126),
    ] {
        let (output, errors, end) = bench.start(&wanted).await.rest().await;
        assert_eq!(output, "");
        assert!(errors.starts_with("lkc-guest: cannot run `"), "{errors}");
        assert_eq!(end, ProgramEnd::Exited(expected), "{errors}");
    }
    bench.end().await;
}

#[tokio::test]
async fn what_could_never_run_is_refused() {
    let bench = Bench::new().await;
    let mut relative = shell("true");
    relative.directory = Some("tmp".to_owned());
    let mut nameless = shell("true");
    nameless.environment = vec!["nothing".to_owned()];
    for wanted in [exec(&["a\0b"]), relative, nameless] {
        let refused = bench.ask(&wanted).await.err();
        let Some(RequestError::Refused(refusal)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(refusal.code, RefusalCode::Invalid);
    }
    bench.end().await;
}

#[tokio::test]
async fn a_terminal_has_its_size_and_takes_another() {
    let bench = Bench::new().await;
    let script = "tty; trap 'stty size; exit 5' WINCH; stty size; while :; do read line; done";
    let mut session = bench.start(&on_terminal(script)).await;
    let text = session.until("52 211\r\n").await;
    assert!(text.starts_with("/dev/pts/"), "{text:?}");
    let size = TerminalSize {
        columns: 80,
        rows: 24,
    };
    session.send(&ToProgram::Resize(size)).await;
    let (output, errors, end) = session.rest().await;
    assert_eq!((output.as_str(), errors.as_str()), ("24 80\r\n", ""));
    assert_eq!(end, ProgramEnd::Exited(5));
    bench.end().await;
}

#[tokio::test]
async fn a_terminal_hears_control_characters() {
    let bench = Bench::new().await;
    let mut session = bench.start(&on_terminal("stty -echo; echo on; cat")).await;
    session.until("on\r\n").await;
    // A shell that is about to start a program loses the character.
    let line = ToProgram::Input(Bytes::from_static(b"it runs\n"));
    session.send(&line).await;
    session.until("it runs\r\n").await;
    let interrupt = ToProgram::Input(Bytes::from_static(b"\x03"));
    session.send(&interrupt).await;
    let (.., end) = session.rest().await;
    assert_eq!(end, ProgramEnd::Killed(2));
    bench.end().await;
}

#[tokio::test]
async fn input_ends_on_a_terminal_too() {
    let bench = Bench::new().await;
    let mut session = bench.start(&on_terminal("stty -echo; echo on; cat")).await;
    session.until("on\r\n").await;
    let last = ToProgram::Input(Bytes::from_static(b"last\n"));
    session.send(&last).await;
    session.send(&ToProgram::InputEnd).await;
    let (output, _, end) = session.rest().await;
    assert_eq!((output.as_str(), end), ("last\r\n", ProgramEnd::Exited(0)));
    bench.end().await;
}

#[tokio::test]
async fn signals_reach_what_it_has_started() {
    let bench = Bench::new().await;
    let script = "trap 'echo told; exit 7' INT; echo on; sleep 1000 & wait";
    let mut session = bench.start(&shell(script)).await;
    session.until("on\n").await;
    session.send(&ToProgram::Signal(Signal::Interrupt)).await;
    assert_eq!(session.until("told\n").await, "told\n");
    assert_eq!(session.rest().await.2, ProgramEnd::Exited(7));
    bench.end().await;
}

#[tokio::test]
async fn signals_pass_input_that_nobody_takes() {
    let bench = Bench::new().await;
    let mut session = bench.start(&shell("echo on; exec sleep 1000")).await;
    session.until("on\n").await;
    let much = Bytes::from(vec![0; 512 * 1024]);
    session.send(&ToProgram::Input(much)).await;
    session.send(&ToProgram::Signal(Signal::Terminate)).await;
    assert_eq!(session.rest().await.2, ProgramEnd::Killed(15));
    bench.end().await;
}

#[tokio::test]
async fn it_is_told_when_nobody_listens_any_more() {
    let bench = Bench::new().await;
    let directory = tempfile::tempdir().unwrap();
    let told = directory.path().join("told");
    // Nothing but the shell itself: one that is about to start a program loses signals.
    let script = format!(
        "trap 'echo > {}; exit' HUP; echo on; while :; do read line; done",
        told.display()
    );
    for wanted in [shell(&script), on_terminal(&script)] {
        let mut session = bench.start(&wanted).await;
        session.until("on").await;
        session.stream.reset(ResetCode::Cancelled);
        timeout(LIMIT, there(&told)).await.expect("it is not told");
        std::fs::remove_file(&told).unwrap();
    }
    bench.end().await;
}

/// Waits for a file that another process makes.
async fn there(path: &Path) {
    while !path.exists() {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_it_leaves_running_holds_nobody_up() {
    let bench = Bench::new().await;
    let mut session = bench.start(&shell("sleep 1000 & echo $!")).await;
    let (output, _, end) = session.rest().await;
    assert_eq!(end, ProgramEnd::Exited(0));
    let left = output.trim().parse().unwrap();
    let left = nix::unistd::Pid::from_raw(left);
    nix::sys::signal::kill(left, nix::sys::signal::Signal::SIGKILL).unwrap();
    bench.end().await;
}

#[tokio::test]
async fn a_host_that_makes_no_sense_loses_its_program() {
    let bench = Bench::new().await;
    let mut session = bench.start(&shell("echo on; exec sleep 1000")).await;
    session.until("on\n").await;
    let nonsense = Bytes::from_static(&[99, 0, 0]);
    session.stream.halves().1.write(nonsense).await.unwrap();
    let read = timeout(LIMIT, session.stream.halves().0.read()).await;
    assert!(read.expect("it goes on").is_err());
    bench.end().await;
}
