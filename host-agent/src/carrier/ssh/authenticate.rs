//! Logs in by public key: what an agent has, then what the key files have.
//!
//! Passwords and questions are not answered: nobody sits at the daemon. A key under a passphrase is
//! asked for by the command that needs it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use russh::{
    MethodKind, MethodSet,
    client::{AuthResult, Handle},
    keys::{
        Algorithm, HashAlg, PublicKey,
        agent::{AgentIdentity, client::AgentClient},
    },
};
use thiserror::Error;
use tokio::net::UnixStream;

use super::{
    identity::{IdentityFile, Secret, SignError},
    keyring::keyring,
    server::{Server, Story},
    settings::Settings,
};

/// Most keys of an agent that are looked at. A server hangs up after some five.
const MAX_AGENT_KEYS: usize = 32;

/// Longest time until an agent has said which keys it has. Signing may take longer: somebody may
/// have to touch a token.
const AGENT_DEADLINE: Duration = Duration::from_secs(3);

/// Why nobody is logged in.
#[derive(Debug, Error)]
pub enum AuthError {
    /// The key that the server would take is under a passphrase.
    #[error("the server takes the key {}, which is under a passphrase, and no agent has it", file.display())]
    Passphrase {
        /// The key.
        file: PathBuf,
        /// The agent that was asked.
        agent: Option<PathBuf>,
    },
    /// No key was taken.
    #[error("the server takes none of our keys: {}", tried.join(", "))]
    Refused {
        /// Those that were tried, and why others were not.
        tried: Vec<String>,
        /// Key files under a passphrase that may have been worth trying.
        locked: Vec<PathBuf>,
    },
    /// There is no key.
    #[error("there is no key to log in with: {why}")]
    NoKeys {
        /// Where was looked.
        why: String,
    },
    /// The server wants something that is no key.
    #[error("the server wants {methods}, and lkc logs in by key")]
    NotByKey {
        /// What it would take.
        methods: String,
    },
    /// The server wants something in addition.
    #[error("the server takes our key and then wants {methods}")]
    More {
        /// What.
        methods: String,
    },
    /// The server hung up.
    #[error("the server hung up after {tried} keys{}", said.as_ref().map(|said| format!(": {said}")).unwrap_or_default())]
    HungUp {
        /// How many keys were tried.
        tried: usize,
        /// What it said.
        said: Option<String>,
    },
}

impl AuthError {
    pub(super) fn hints(&self, user: &str, host: &str) -> Vec<String> {
        match self {
            Self::Passphrase { file, agent } => vec![
                add(file),
                match agent {
                    Some(socket) => format!(
                        "the agent at {} was asked; if yours is another, set SSH_AUTH_SOCK and run this again",
                        socket.display()
                    ),
                    None => "without an agent, run this again in a terminal: it asks for the passphrase".to_owned(),
                },
            ],
            Self::Refused { locked, .. } => {
                let mut hints: Vec<_> = locked.iter().map(|file| add(file)).collect();
                hints.push(format!(
                    "put one of the public keys into ~{user}/.ssh/authorized_keys on the host, for instance with `ssh-copy-id {user}@{host}`"
                ));
                hints
            }
            Self::NoKeys { .. } => vec![
                "make one with `ssh-keygen -t ed25519`, or start an agent and run `ssh-add`".to_owned(),
                "the agent of SSH_AUTH_SOCK is asked, as it was when a command was last run".to_owned(),
            ],
            Self::NotByKey { .. } | Self::More { .. } => vec![format!(
                "let the server take a key alone from {user}, or use a carrier by the ssh program: `exec:ssh {user}@{host} lkc-guest stdio`"
            )],
            Self::HungUp { .. } => vec![
                "set `IdentitiesOnly yes` and one `IdentityFile` for this host in the ssh configuration"
                    .to_owned(),
            ],
        }
    }
}

fn add(file: &Path) -> String {
    format!("run `ssh-add {}`", file.display())
}

/// Logs in on a fresh connection.
///
/// # Errors
/// See [`AuthError`].
pub(super) async fn authenticate(
    handle: &mut Handle<Server>,
    settings: &Settings,
    story: &Story,
) -> Result<(), AuthError> {
    let mut attempt = Attempt {
        handle,
        user: &settings.hop.user,
        story,
        agent: settings.agent.as_deref(),
        rsa_hash: None,
        tried: Vec::new(),
        locked: Vec::new(),
        count: 0,
    };
    match attempt.without_key().await? {
        Done::Yes => return Ok(()),
        Done::No => {}
    }
    let files: Vec<_> = settings
        .identity_files
        .iter()
        .filter_map(|file| IdentityFile::read(file))
        .collect();
    if let Some(socket) = &settings.agent {
        match Agent::ask(socket, attempt.handle).await {
            Ok(agent) => {
                if attempt
                    .by_agent(agent, &files, settings.identities_only)
                    .await?
                    == Done::Yes
                {
                    return Ok(());
                }
            }
            Err(why) => attempt
                .tried
                .push(format!("the agent at {} {why}", socket.display())),
        }
    }
    for file in &files {
        if attempt.by_file(file).await? == Done::Yes {
            return Ok(());
        }
    }
    Err(attempt.refused(settings))
}

#[derive(PartialEq, Eq)]
enum Done {
    Yes,
    No,
}

struct Attempt<'a> {
    handle: &'a mut Handle<Server>,
    user: &'a str,
    story: &'a Story,
    agent: Option<&'a Path>,
    /// What the server takes for RSA keys, once it was asked.
    rsa_hash: Option<Option<HashAlg>>,
    /// What was tried, for the error.
    tried: Vec<String>,
    /// Files that could not be tried.
    locked: Vec<PathBuf>,
    /// Keys shown to the server.
    count: usize,
}

impl Attempt<'_> {
    /// Asks what the server would take; some take the network's word for who we are.
    async fn without_key(&mut self) -> Result<Done, AuthError> {
        let answer = self.handle.authenticate_none(self.user).await;
        self.judge(answer.ok())
    }

    async fn by_agent(
        &mut self,
        mut agent: Agent,
        files: &[IdentityFile],
        only: bool,
    ) -> Result<Done, AuthError> {
        let place = |identity: &AgentIdentity| {
            let key = identity.public_key();
            files.iter().position(|file| {
                file.public
                    .as_ref()
                    .is_some_and(|public| public.key_data() == key.key_data())
            })
        };
        let mut identities: Vec<_> = std::mem::take(&mut agent.identities)
            .into_iter()
            .map(|identity| (place(&identity), identity))
            .filter(|(place, _)| place.is_some() || !only)
            .collect();
        identities.sort_by_key(|(place, _)| place.unwrap_or(usize::MAX));
        for (_, identity) in identities {
            let key = identity.public_key().into_owned();
            let Some(hash) = self.hash_for(&key).await else {
                continue;
            };
            let name = format!("{} of the agent", fingerprint(&key));
            self.count += 1;
            let answer = match identity {
                AgentIdentity::PublicKey { key, .. } => {
                    self.handle
                        .authenticate_publickey_with(self.user, key, hash, &mut agent.client)
                        .await
                }
                AgentIdentity::Certificate { certificate, .. } => {
                    self.handle
                        .authenticate_certificate_with(
                            self.user,
                            certificate,
                            hash,
                            &mut agent.client,
                        )
                        .await
                }
            };
            match answer {
                Ok(answer) => {
                    self.tried.push(name);
                    if self.judge(Some(answer))? == Done::Yes {
                        return Ok(Done::Yes);
                    }
                }
                Err(error) => {
                    self.judge_silence()?;
                    self.tried
                        .push(format!("{name} (it does not sign: {error})"));
                }
            }
        }
        Ok(Done::No)
    }

    async fn by_file(&mut self, file: &IdentityFile) -> Result<Done, AuthError> {
        let name = file.file.display().to_string();
        let Some(public) = &file.public else {
            if matches!(file.secret, Secret::Locked) {
                self.locked.push(file.file.clone());
            }
            self.tried
                .push(format!("{name} (not readable without an agent)"));
            return Ok(Done::No);
        };
        let Some(hash) = self.hash_for(public).await else {
            self.tried.push(format!(
                "{name} (RSA, of which the server takes only SHA-1)"
            ));
            return Ok(Done::No);
        };
        self.count += 1;
        let mut signer = file;
        let answer = self
            .handle
            .authenticate_publickey_with(self.user, public.clone(), hash, &mut signer)
            .await;
        match answer {
            Ok(answer) => {
                self.tried.push(name);
                self.judge(Some(answer))
            }
            Err(SignError::Locked) => {
                keyring().want(&file.file);
                Err(AuthError::Passphrase {
                    file: file.file.clone(),
                    agent: self.agent.map(Path::to_owned),
                })
            }
            Err(SignError::Gone(_)) => self.judge(None),
            Err(error) => {
                self.tried.push(format!("{name} ({error})"));
                Ok(Done::No)
            }
        }
    }

    /// The hash to sign with; nothing for a key that the server would take with SHA-1 only.
    async fn hash_for(&mut self, key: &PublicKey) -> Option<Option<HashAlg>> {
        if !matches!(key.algorithm(), Algorithm::Rsa { .. }) {
            return Some(None);
        }
        if self.rsa_hash.is_none() {
            let answer = self.handle.best_supported_rsa_hash().await.ok().flatten();
            // A server that says nothing is older than the question; it takes SHA-2 or nothing.
            self.rsa_hash = Some(answer.unwrap_or(Some(HashAlg::Sha512)));
        }
        self.rsa_hash.flatten().map(Some)
    }

    fn judge(&self, answer: Option<AuthResult>) -> Result<Done, AuthError> {
        match answer {
            Some(AuthResult::Success) => Ok(Done::Yes),
            Some(AuthResult::Failure {
                remaining_methods,
                partial_success,
            }) => {
                self.judge_silence()?;
                let methods = names(&remaining_methods);
                if partial_success {
                    Err(AuthError::More { methods })
                } else if remaining_methods.contains(&MethodKind::PublicKey) {
                    Ok(Done::No)
                } else {
                    Err(AuthError::NotByKey { methods })
                }
            }
            None => Err(self.hung_up()),
        }
    }

    fn judge_silence(&self) -> Result<(), AuthError> {
        if self.handle.is_closed() {
            Err(self.hung_up())
        } else {
            Ok(())
        }
    }

    fn hung_up(&self) -> AuthError {
        AuthError::HungUp {
            tried: self.count,
            said: self.story.farewell(),
        }
    }

    fn refused(self, settings: &Settings) -> AuthError {
        if self.count > 0 || !self.locked.is_empty() {
            for file in &self.locked {
                keyring().want(file);
            }
            return AuthError::Refused {
                tried: self.tried,
                locked: self.locked,
            };
        }
        let mut looked = self.tried;
        if settings.agent.is_none() {
            looked.push("no agent".to_owned());
        } else if looked.is_empty() {
            looked.push("the agent has none".to_owned());
        }
        let files: Vec<_> = settings
            .identity_files
            .iter()
            .map(|file| file.display().to_string())
            .collect();
        if !files.is_empty() {
            looked.push(format!("none of {}", files.join(", ")));
        }
        AuthError::NoKeys {
            why: looked.join("; "),
        }
    }
}

struct Agent {
    client: AgentClient<UnixStream>,
    identities: Vec<AgentIdentity>,
}

impl Agent {
    /// Which keys the agent at `socket` has for this connection.
    async fn ask(socket: &Path, handle: &Handle<Server>) -> Result<Self, &'static str> {
        let ask = async {
            let mut client = AgentClient::connect_uds(socket)
                .await
                .map_err(|_| "does not answer")?;
            if let Some(binding) = handle.agent_session_binding() {
                // An agent that does not know the question has no keys for certain hosts only.
                let _ = client.bind_session(binding, false).await;
            }
            let mut identities = client
                .request_identities()
                .await
                .map_err(|_| "does not say which keys it has")?;
            identities.truncate(MAX_AGENT_KEYS);
            Ok(Self { client, identities })
        };
        tokio::time::timeout(AGENT_DEADLINE, ask)
            .await
            .unwrap_or(Err("takes too long to answer"))
    }
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

fn names(methods: &MethodSet) -> String {
    let names: Vec<&str> = methods.iter().map(Into::into).collect();
    if names.is_empty() {
        "nothing that is known here".to_owned()
    } else {
        names.join(" or ")
    }
}
