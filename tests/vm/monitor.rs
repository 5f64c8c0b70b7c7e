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

    /// One more virtio-serial port, whose other end is `socket`.
    pub(crate) fn add_port(mut self, name: &str, socket: &Path) {
        let address = json!({"type": "unix", "data": {"path": socket}});
        let backend =
            json!({"type": "socket", "data": {"addr": address, "server": true, "wait": false}});
        self.order_with("chardev-add", &json!({"id": name, "backend": backend}));
        let port = json!({"driver": "virtserialport", "chardev": name, "name": name});
        self.order_with("device_add", &port);
    }

    fn order(&mut self, command: &str) {
        self.order_with(command, &json!({}));
    }

    fn order_with(&mut self, command: &str, arguments: &Value) {
        let line = json!({"execute": command, "arguments": arguments});
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
