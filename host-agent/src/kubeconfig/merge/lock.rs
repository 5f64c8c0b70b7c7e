//! kubectl's own lock: a file beside the kubeconfig that exists while somebody writes.
//!
//! kubectl gives up at once when the file is there, so it is held for as short as can be. Ours says
//! who holds it, so that one whose holder is gone can be told and taken over.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
use thiserror::Error;
use tokio::time::Instant;

use crate::{paths::private::read_bounded, sanitize};

/// How long to wait for whoever holds the lock. kubectl holds it for milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// First word of a lock file of ours.
const OURS: &str = "lkc-host";

/// Why the lock was not taken.
#[derive(Debug, Error)]
pub enum LockError {
    /// Somebody holds it.
    #[error("{path} is there: {holder} writes the kubeconfig, or left the lock behind")]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, as far as can be told.
        holder: String,
    },
    /// It cannot be made.
    #[error("cannot make the lock {path}")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The lock, held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
}

impl Lock {
    /// Takes the lock of the kubeconfig `target`, which kubectl names without following links.
    pub(super) async fn acquire(target: &Path) -> Result<Self, LockError> {
        let mut path = target.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let deadline = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        loop {
            match create(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(LockError::Io { path, source }),
            }
            let holder = Holder::of(&path);
            if holder.is_gone() && take_away(&path, &holder) {
                continue;
            }
            if Instant::now() >= deadline {
                return Err(LockError::Held {
                    path,
                    holder: holder.to_string(),
                });
            }
            tokio::time::sleep_until(deadline.min(Instant::now() + jittered(pause))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove a lock");
        }
    }
}

/// Between half and all of `pause`, so that two who wait do not keep meeting.
fn jittered(pause: Duration) -> Duration {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let noise = now.subsec_nanos().rotate_left(16) ^ std::process::id();
    pause / 2 + (pause / 2).mul_f64(f64::from(noise % 1024) / 1024.0)
}

fn create(path: &Path) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file.write_all(own_content().as_bytes());
    if written.is_err() {
        fs::remove_file(path)?;
    }
    written
}

/// `lkc-host PID START HOST`: what tells a holder from another process with its id.
fn own_content() -> String {
    let pid = std::process::id();
    format!(
        "{OURS} {pid} {} {}\n",
        start_time(pid.cast_signed()),
        host_name()
    )
}

/// Who holds a lock.
#[derive(Debug, PartialEq, Eq)]
struct Holder {
    content: Vec<u8>,
}

impl Holder {
    fn of(path: &Path) -> Self {
        Self {
            content: read_bounded(path, 1024).unwrap_or_default(),
        }
    }

    /// The process, if the lock is one of ours made on this host.
    fn process(&self) -> Option<(i32, &str)> {
        let text = std::str::from_utf8(&self.content).ok()?;
        let mut words = text.strip_suffix('\n')?.splitn(4, ' ');
        let (ours, pid, start, host) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let pid = pid.parse().ok().filter(|&pid: &i32| pid > 0)?;
        (ours == OURS && host == host_name()).then_some((pid, start))
    }

    /// Whether it surely has ended.
    fn is_gone(&self) -> bool {
        self.process().is_some_and(|(pid, start)| {
            kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) || start != start_time(pid)
        })
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.process(), self.content.is_empty()) {
            (Some((pid, _)), _) => write!(formatter, "lkc-host (pid {pid})"),
            (None, true) => formatter.write_str("another program, kubectl perhaps,"),
            (None, false) => {
                let text = String::from_utf8_lossy(&self.content);
                let shown: String = sanitize::line(&text).chars().take(60).collect();
                write!(formatter, "somebody (\"{shown}\")")
            }
        }
    }
}

/// Removes the lock of a holder that is gone. It is moved aside first: should another have taken
/// it over meanwhile, it is put back.
fn take_away(path: &Path, holder: &Holder) -> bool {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}", std::process::id()));
    let aside = PathBuf::from(aside);
    if fs::rename(path, &aside).is_err() {
        return false;
    }
    let is_the_same = Holder::of(&aside) == *holder;
    if !is_the_same && let Err(error) = fs::hard_link(&aside, path) {
        tracing::warn!(path = %path.display(), %error, "cannot put a lock back");
    }
    fs::remove_file(&aside).is_ok() && is_the_same
}

/// When a process started, in the kernel's own unit; `-` where that cannot be told.
fn start_time(pid: i32) -> String {
    let after_name = |stat: String| {
        let (_, fields) = stat.rsplit_once(')')?;
        fields.split_ascii_whitespace().nth(19).map(str::to_owned)
    };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok();
    stat.and_then(after_name).unwrap_or_else(|| "-".to_owned())
}

fn host_name() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    sanitize::line(&name.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("config");
        (root, target)
    }

    fn lock_file(target: &Path) -> PathBuf {
        PathBuf::from(format!("{}.lock", target.display()))
    }

    #[tokio::test]
    async fn the_lock_is_a_file_that_goes_away() {
        let (_root, target) = target();
        let lock = Lock::acquire(&target).await.unwrap();
        let content = fs::read_to_string(lock_file(&target)).unwrap();
        assert_eq!(content, own_content());
        assert!(content.starts_with(&format!("lkc-host {} ", std::process::id())));
        drop(lock);
        assert!(!lock_file(&target).exists());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_of_kubectl_is_waited_for_and_never_broken() {
        let (_root, target) = target();
        fs::write(lock_file(&target), "").unwrap();
        let begun = Instant::now();
        let error = Lock::acquire(&target).await.unwrap_err();
        assert!(matches!(error, LockError::Held { .. }), "{error}");
        assert!(error.to_string().contains("kubectl perhaps"), "{error}");
        assert_eq!(begun.elapsed(), PATIENCE);
        assert!(lock_file(&target).exists());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_that_goes_away_is_taken() {
        let (_root, target) = target();
        let held = Lock::acquire(&target).await.unwrap();
        let (second, ()) = tokio::join!(Lock::acquire(&target), async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(held);
        });
        assert!(second.is_ok());
    }

    #[tokio::test]
    async fn a_lock_whose_holder_is_gone_is_taken_over() {
        let (root, target) = target();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let dead = format!("lkc-host {} 1 {}\n", child.id(), host_name());
        let reused = format!("lkc-host {} 1 {}\n", std::process::id(), host_name());
        for stale in [dead, reused] {
            fs::write(lock_file(&target), stale).unwrap();
            drop(Lock::acquire(&target).await.unwrap());
        }
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_of_another_host_or_program_is_kept() {
        let (_root, target) = target();
        for content in [
            "lkc-host 1 1 elsewhere\n",
            "4711\n",
            "lkc-host x",
            "\u{1b}[2J\n",
        ] {
            fs::write(lock_file(&target), content).unwrap();
            let error = Lock::acquire(&target).await.unwrap_err().to_string();
            assert!(error.contains("somebody"), "{error}");
            assert!(!error.contains('\u{1b}'), "{error}");
            assert_eq!(fs::read_to_string(lock_file(&target)).unwrap(), content);
        }
    }

    #[test]
    fn a_lock_that_changed_hands_is_put_back() {
        let (root, target) = target();
        let path = lock_file(&target);
        fs::write(&path, "new").unwrap();
        assert!(!take_away(
            &path,
            &Holder {
                content: b"old".to_vec()
            }
        ));
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
