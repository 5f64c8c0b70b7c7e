//! How the user logs in by SSH beyond what files say: the agent of the latest command, and keys
//! whose passphrase somebody has typed.
//!
//! One per process, like the environment that it stands in for: the daemon's own environment is
//! that of the command that once started it. Nothing of it is ever written; it ends with the
//! process.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError},
};

use russh::keys::{PrivateKey, PublicKey, decode_secret_key};
use thiserror::Error;

use super::identity::text_of;

/// This process'.
pub fn keyring() -> &'static Keyring {
    static KEYRING: LazyLock<Keyring> = LazyLock::new(Keyring::default);
    &KEYRING
}

/// An agent and keys.
#[derive(Debug, Default)]
pub struct Keyring(Mutex<Contents>);

#[derive(Debug, Default)]
struct Contents {
    agent: Option<PathBuf>,
    unlocked: HashMap<PathBuf, Arc<PrivateKey>>,
    wanted: BTreeSet<PathBuf>,
}

/// Why a passphrase does not help.
#[derive(Debug, Error)]
pub enum UnlockError {
    /// The file.
    #[error("cannot read {}", file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The passphrase is another, or the file is of a kind that is not read here.
    #[error("{} does not open with that passphrase", .0.display())]
    Wrong(PathBuf),
}

impl Keyring {
    /// Takes the agent that whoever asks for something has. It is the one to ask from now on.
    pub fn take_agent(&self, socket: PathBuf) {
        self.lock().agent = Some(socket);
    }

    /// The agent of whoever asked last, else that of this process' environment; one that is gone is
    /// none.
    pub fn agent(&self) -> Option<PathBuf> {
        let told = self.lock().agent.clone();
        told.filter(|socket| is_socket(socket)).or_else(|| {
            std::env::var_os("SSH_AUTH_SOCK")
                .filter(|socket| !socket.is_empty())
                .map(PathBuf::from)
        })
    }

    /// Opens the key of `file`, which takes as long as its owner wanted guessing to take: tenths of
    /// a second and more. It signs from now on.
    ///
    /// # Errors
    /// See [`UnlockError`].
    pub fn unlock(&self, file: &Path, passphrase: &str) -> Result<(), UnlockError> {
        let text = text_of(file).map_err(|source| UnlockError::Unreadable {
            file: file.to_owned(),
            source,
        })?;
        let opened = match PrivateKey::from_openssh(&text) {
            Ok(key) if key.is_encrypted() => key.decrypt(passphrase).ok(),
            Ok(key) => Some(key),
            Err(_) => decode_secret_key(&text, Some(passphrase)).ok(),
        };
        let key = opened.ok_or_else(|| UnlockError::Wrong(file.to_owned()))?;
        let mut contents = self.lock();
        contents.wanted.remove(file);
        contents.unlocked.insert(file.to_owned(), Arc::new(key));
        Ok(())
    }

    /// Keys that a server would have taken and that are under a passphrase still.
    pub fn wanted(&self) -> Vec<PathBuf> {
        self.lock().wanted.iter().cloned().collect()
    }

    /// Notes such a key.
    pub(super) fn want(&self, file: &Path) {
        self.lock().wanted.insert(file.to_owned());
    }

    /// The opened key of a file, if it is still the one in the file. `public` is none where the file
    /// does not tell.
    pub(super) fn unlocked(
        &self,
        file: &Path,
        public: Option<&PublicKey>,
    ) -> Option<Arc<PrivateKey>> {
        let key = self.lock().unlocked.get(file).cloned()?;
        let same = public.is_none_or(|public| public.key_data() == key.public_key().key_data());
        same.then_some(key)
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_socket(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.file_type().is_socket())
}
