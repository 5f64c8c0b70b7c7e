//! Logs that are files of this host: the last lines, then what is appended.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};

use super::context::Context;
use crate::{
    error::{CommandError, Kind},
    sanitize,
};

/// Most bytes of the past that are searched for lines, so that a large log costs little.
const LONGEST_PAST: u64 = 1024 * 1024;
/// Longest line that is put together while following; a longer one is shown in parts.
const LONGEST_LINE: usize = 64 * 1024;
/// How often a followed file is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Prints the last `lines` lines of the file, and with `follow` what comes after them, for ever.
pub(super) async fn show(
    context: &Context<'_>,
    path: &Path,
    lines: u32,
    follow: bool,
) -> Result<(), CommandError> {
    let unreadable = |error: io::Error| {
        let kind = if error.kind() == io::ErrorKind::NotFound {
            Kind::NotFound
        } else {
            Kind::HostIo
        };
        CommandError::new(kind, error).context(format!("cannot read the log {}", path.display()))
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut rest = Vec::new();
    for line in past(&mut file, lines).map_err(unreadable)? {
        say(context, &line)?;
    }
    if !follow {
        return Ok(());
    }
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        if is_replaced(&file, path) {
            file = File::open(path).map_err(unreadable)?;
            rest.clear();
        }
        let end = file.metadata().map_err(unreadable)?.len();
        if file.stream_position().map_err(unreadable)? > end {
            file.rewind().map_err(unreadable)?;
        }
        (&mut file)
            .take(LONGEST_PAST)
            .read_to_end(&mut rest)
            .map_err(unreadable)?;
        for line in whole_lines(&mut rest) {
            say(context, &line)?;
        }
    }
}

/// Whether the name leads to another file now, as after a rotation.
fn is_replaced(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) != (named.dev(), named.ino()),
        _ => false,
    }
}

fn say(context: &Context<'_>, line: &str) -> Result<(), CommandError> {
    context.output.log_line(&sanitize::line(line))
}

/// The last lines. The file is left at its end.
fn past(file: &mut File, lines: u32) -> io::Result<Vec<String>> {
    let end = file.seek(SeekFrom::End(0))?;
    let begin = end.saturating_sub(LONGEST_PAST);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(end - begin).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The first line of a part of a file is a part of a line.
    let partial = usize::from(begin > 0);
    let all: Vec<_> = text.lines().skip(partial).map(str::to_owned).collect();
    let wanted = usize::try_from(lines).unwrap_or(usize::MAX);
    Ok(all[all.len().saturating_sub(wanted)..].to_vec())
}

/// Takes the lines that are complete, or too long to wait for, out of `bytes`.
fn whole_lines(bytes: &mut Vec<u8>) -> Vec<String> {
    let end = match bytes.iter().rposition(|&byte| byte == b'\n') {
        Some(last) => last + 1,
        None if bytes.len() > LONGEST_LINE => bytes.len(),
        None => return Vec::new(),
    };
    let whole: Vec<u8> = bytes.drain(..end).collect();
    String::from_utf8_lossy(&whole)
        .lines()
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_last_lines_of_a_file() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"one\ntwo\nthree\n").unwrap();
        assert_eq!(past(&mut file, 2).unwrap(), ["two", "three"]);
        assert_eq!(past(&mut file, 0).unwrap(), [""; 0]);
        assert_eq!(past(&mut file, 9).unwrap(), ["one", "two", "three"]);
    }

    #[test]
    fn a_large_file_is_not_read_whole() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![b'x'; 3 << 20]).unwrap();
        file.write_all(b"\nlast\n").unwrap();
        assert_eq!(past(&mut file, 5).unwrap(), ["last"]);
    }

    #[test]
    fn lines_are_shown_when_they_are_whole() {
        let mut bytes = b"a\nb".to_vec();
        assert_eq!(whole_lines(&mut bytes), ["a"]);
        assert_eq!(bytes, b"b");
        assert!(whole_lines(&mut bytes).is_empty());
        bytes.resize(LONGEST_LINE + 1, b'b');
        assert_eq!(whole_lines(&mut bytes).len(), 1);
    }
}
