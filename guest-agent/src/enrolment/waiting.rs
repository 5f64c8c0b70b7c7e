//! The token that waits, in a file that only root reads.

use std::{fs, io, io::Write as _, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use lkc_protocol::enrolment::Token;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::give_to_owner_of;

/// Largest file in bytes; an honest one has some hundred.
const LARGEST: u64 = 4096;

/// A moment that no wall clock moves: time since this boot, sleep included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Now {
    boot: String,
    since_boot: Duration,
}

impl Now {
    pub(super) fn read() -> io::Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let time = clock_gettime(ClockId::Boottime);
        let since_boot = Duration::try_from(time).map_err(io::Error::other)?;
        Ok(Self {
            boot: boot.trim().to_owned(),
            since_boot,
        })
    }

    pub(super) fn after(mut self, time: Duration) -> Self {
        self.since_boot = self.since_boot.saturating_add(time);
        self
    }
}

/// A token and how long it is good.
#[derive(Serialize, Deserialize)]
pub(super) struct Waiting {
    token: String,
    until: Now,
}

impl Waiting {
    pub(super) fn new(token: &Token, until: Now) -> Self {
        Self {
            token: token.to_string(),
            until,
        }
    }

    /// What the file says; none when there is nothing of use in it.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let size = fs::metadata(path).ok()?.len();
        let text = (size <= LARGEST).then(|| fs::read(path).ok())??;
        serde_json::from_slice(&text).ok()
    }

    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        fs::create_dir_all(directory)?;
        let mut file = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o600))
            .tempfile_in(directory)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        give_to_owner_of(directory, file.as_file())?;
        file.persist(path)?;
        Ok(())
    }

    /// The token, if it is good at `now`.
    pub(super) fn token(&self, now: &Now) -> Option<Token> {
        let good = self.until.boot == now.boot && now.since_boot < self.until.since_boot;
        good.then(|| self.token.parse().ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot: &str, seconds: u64) -> Now {
        Now {
            boot: boot.to_owned(),
            since_boot: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn a_token_is_good_for_its_time_and_its_boot() {
        let token = Token::generate().unwrap();
        let waiting = Waiting::new(&token, at("one", 100).after(Duration::from_secs(60)));
        assert_eq!(waiting.token(&at("one", 159)), Some(token));
        assert_eq!(waiting.token(&at("one", 160)), None);
        assert_eq!(waiting.token(&at("two", 100)), None);
    }

    #[test]
    fn a_file_of_something_else_is_no_token() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert!(Waiting::read(&path).is_none());
        for text in ["", "{}", "0011-2233", &"x".repeat(5000)] {
            fs::write(&path, text).unwrap();
            assert!(Waiting::read(&path).is_none(), "{text}");
        }
        let token = Token::generate().unwrap();
        Waiting::new(&token, at("one", 1)).write(&path).unwrap();
        assert_eq!(
            Waiting::read(&path).unwrap().token(&at("one", 0)),
            Some(token)
        );
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
