//! QEMU's monitor, for what a user does not do: pulling the plug.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    pub(crate) fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut monitor = Self {
            stream: BufReader::new(stream),
        };
        assert!(monitor.line().get("QMP").is_some());
        monitor.order("qmp_capabilities");
        monitor
    }

    /// The machine's reset button.
    pub(crate) fn reset(mut self) {
        self.order("system_reset");
    }

    /// Its plug.
    pub(crate) fn power_off(mut self) {
        self.order("quit");
    }

    fn order(&mut self, command: &str) {
        let line = json!({"execute": command});
        writeln!(self.stream.get_mut(), "{line}").unwrap();
        loop {
            let answer = self.line();
            if answer.get("event").is_none() {
                assert!(answer.get("return").is_some(), "{command}: {answer}");
                return;
            }
        }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}
