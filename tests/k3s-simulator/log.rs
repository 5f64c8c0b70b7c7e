//! Log lines in the form that k3s writes to stderr: `time="…" level=info msg="…"`.

use std::io::Write;
use std::time::SystemTime;

use crate::clock;

pub(crate) fn info(message: &str) {
    write("info", message);
}

pub(crate) fn warning(message: &str) {
    write("warning", message);
}

pub(crate) fn fatal(message: &str) {
    write("fatal", message);
}

fn write(level: &str, message: &str) {
    let line = line(SystemTime::now(), level, message);
    // A closed stderr must not end the server.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

fn line(at: SystemTime, level: &str, message: &str) -> String {
    let mut line = format!("time=\"{}\" level={level} msg=\"", clock::rfc3339(at));
    for character in message.chars() {
        match character {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            other if other.is_control() => line.extend(other.escape_unicode()),
            other => line.push(other),
        }
    }
    line.push_str("\"\n");
    line
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_message_stays_one_quoted_line() {
        let at = UNIX_EPOCH + Duration::from_secs(86_400);
        assert_eq!(
            line(at, "info", "say \"hi\"\n\u{1b}[31m"),
            "time=\"1970-01-02T00:00:00Z\" level=info msg=\"say \\\"hi\\\"\\n\\u{1b}[31m\"\n"
        );
    }
}
