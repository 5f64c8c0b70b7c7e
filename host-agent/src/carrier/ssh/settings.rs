//! How a destination is reached, as the user's ssh configuration says.
//!
//! `ssh -G` reads it, so that `Include`, `Match`, patterns and defaults mean here what they mean to
//! ssh itself. Without an ssh program the defaults hold and what the user wrote.

mod query;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use thiserror::Error;

pub(super) use query::query;

use super::{
    expand::{LocalUser, Tokens, dot_ssh},
    keyring::keyring,
    target::{Target, TargetError, check_name},
};

/// sshd's port.
const DEFAULT_PORT: u16 = 22;

/// Most identity files that are looked at.
const MAX_IDENTITY_FILES: usize = 32;

/// An end of one SSH connection: who logs in where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The account there.
    pub user: String,
    /// Its name or address.
    pub host: String,
    /// Where its sshd listens.
    pub port: u16,
}

impl fmt::Display for Hop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = Target {
            user: Some(self.user.clone()),
            host: self.host.clone(),
            port: Some(self.port),
        };
        target.fmt(formatter)
    }
}

/// What is to be known about a destination before it is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// Who logs in where.
    pub(super) hop: Hop,
    /// The host as the user wrote it.
    pub(super) written: String,
    /// Keys to log in with, most wanted first.
    pub(super) identity_files: Vec<PathBuf>,
    /// Whether an agent may offer these keys only.
    pub(super) identities_only: bool,
    /// The agent's socket.
    pub(super) agent: Option<PathBuf>,
    /// Files with host keys, the user's first.
    pub(super) known_hosts: Vec<PathBuf>,
    /// What the host's key is filed under there instead of its name and port.
    pub(super) host_key_alias: Option<String>,
    /// Hosts to go through, in order.
    pub(super) jump: Vec<Target>,
    /// A command whose input and output are the connection.
    pub(super) proxy_command: Option<String>,
    /// Longest time until the host has answered.
    pub(super) connect_timeout: Option<Duration>,
    /// After which silence the host is asked for a sign of life.
    pub(super) alive_interval: Option<Duration>,
}

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The program did not run.
    #[error("cannot run `ssh -G`")]
    Start(#[source] io::Error),
    /// It took too long: a `Match exec` can.
    #[error("`ssh -G` did not end within {0} s")]
    Slow(u64),
    /// It refused the configuration.
    #[error("`ssh -G` refuses the configuration: {0}")]
    Refused(String),
    /// It printed what it should not.
    #[error("`ssh -G` printed `{0}`, which is not understood")]
    Output(String),
    /// A named file is not there.
    #[error("there is no ssh configuration at {}", .0.display())]
    NoFile(PathBuf),
    /// A name that must not reach a command line.
    #[error(transparent)]
    Name(#[from] TargetError),
    /// A path that depends on a working directory.
    #[error("`{0}` is a relative path")]
    Relative(String),
    /// A token that only ssh itself can replace.
    #[error("`{token}` in `{text}` is not known here")]
    Token {
        /// Which.
        token: String,
        /// Where it stands.
        text: String,
    },
    /// A variable of the environment.
    #[error("a variable in `{0}` is not set where the daemon runs")]
    Variable(String),
    /// The hosts to go through lead in a circle, or are too many.
    #[error("the chain of jump hosts has more than {0} hosts")]
    Chain(usize),
}

impl Settings {
    /// What holds without an ssh program and its configuration.
    pub(super) fn defaults(target: &Target, local: &LocalUser) -> Self {
        let dot_ssh = dot_ssh(&local.home);
        let file = |name: &&str| dot_ssh.join(name);
        Self {
            hop: Hop {
                user: target.user.clone().unwrap_or_else(|| local.name.clone()),
                host: target.host.to_ascii_lowercase(),
                port: target.port.unwrap_or(DEFAULT_PORT),
            },
            written: target.host.clone(),
            identity_files: ["id_ed25519", "id_ecdsa", "id_rsa"]
                .iter()
                .map(file)
                .collect(),
            identities_only: false,
            agent: keyring().agent(),
            known_hosts: ["known_hosts", "known_hosts2"]
                .iter()
                .map(file)
                .chain(["/etc/ssh/ssh_known_hosts".into()])
                .collect(),
            host_key_alias: None,
            jump: Vec::new(),
            proxy_command: None,
            connect_timeout: None,
            alive_interval: None,
        }
    }

    /// Reads what `ssh -G` printed about `target`.
    ///
    /// # Errors
    /// Values that are not what their keyword takes. Keywords that do not matter here are skipped.
    pub(super) fn parse(
        printed: &str,
        target: &Target,
        local: &LocalUser,
    ) -> Result<Self, SettingsError> {
        let mut settings = Self::defaults(target, local);
        let mut raw = Raw::default();
        for line in printed.lines() {
            let Some((keyword, value)) = line.split_once(' ') else {
                continue;
            };
            let (keyword, value) = (keyword.to_ascii_lowercase(), value.trim());
            let not_understood = || SettingsError::Output(crate::sanitize::line(line));
            let seconds = || value.parse::<u64>().ok().filter(|seconds| *seconds > 0);
            match keyword.as_str() {
                "user" => settings.hop.user = checked(value)?,
                "hostname" => settings.hop.host = checked(value)?.to_ascii_lowercase(),
                "port" => settings.hop.port = value.parse().map_err(|_| not_understood())?,
                "identityfile" if raw.identity_files.len() < MAX_IDENTITY_FILES => {
                    raw.identity_files.push(value);
                }
                "identitiesonly" => settings.identities_only = value == "yes",
                "identityagent" => raw.agent = Some(value),
                "userknownhostsfile" => raw.user_known_hosts = Some(value),
                "globalknownhostsfile" => raw.global_known_hosts = Some(value),
                "hostkeyalias" => settings.host_key_alias = given(value),
                "proxyjump" => {
                    settings.jump = match given(value) {
                        Some(chain) => chain
                            .split(',')
                            .map(|hop| hop.trim().trim_start_matches("ssh://").parse())
                            .collect::<Result<_, _>>()?,
                        None => Vec::new(),
                    };
                }
                "proxycommand" => raw.proxy_command = given(value),
                "connecttimeout" => settings.connect_timeout = seconds().map(Duration::from_secs),
                "serveraliveinterval" => {
                    settings.alive_interval = seconds().map(Duration::from_secs);
                }
                _ => {}
            }
        }
        raw.expand(&mut settings, local)?;
        Ok(settings)
    }

    /// What the host's key is filed under: its alias, or its name with a port that is not sshd's
    /// own.
    pub(super) fn key_name(&self) -> String {
        match &self.host_key_alias {
            Some(alias) => alias.to_ascii_lowercase(),
            None if self.hop.port == DEFAULT_PORT => self.hop.host.clone(),
            None => format!("[{}]:{}", self.hop.host, self.hop.port),
        }
    }

    /// The command whose input and output are the connection, with its tokens replaced.
    ///
    /// # Errors
    /// A token that only ssh itself can replace.
    pub(super) fn proxy_line(&self, local: &LocalUser) -> Result<Option<String>, SettingsError> {
        let tokens = self.tokens(local);
        self.proxy_command
            .as_deref()
            .map(|command| tokens.tokens(command))
            .transpose()
    }

    fn tokens<'a>(&'a self, local: &'a LocalUser) -> Tokens<'a> {
        Tokens {
            local,
            written: &self.written,
            host: &self.hop.host,
            port: self.hop.port,
            user: &self.hop.user,
            key_alias: self.host_key_alias.as_deref().unwrap_or(&self.written),
        }
    }
}

/// Values that can be understood only when the host, the port and the user are known.
#[derive(Default)]
struct Raw<'a> {
    identity_files: Vec<&'a str>,
    agent: Option<&'a str>,
    user_known_hosts: Option<&'a str>,
    global_known_hosts: Option<&'a str>,
    proxy_command: Option<String>,
}

impl Raw<'_> {
    fn expand(self, settings: &mut Settings, local: &LocalUser) -> Result<(), SettingsError> {
        let before = settings.clone();
        let tokens = before.tokens(local);
        if !self.identity_files.is_empty() {
            settings.identity_files = self
                .identity_files
                .iter()
                .filter(|file| **file != "none")
                .map(|file| tokens.path(file))
                .collect::<Result<_, _>>()?;
        }
        settings.agent = match self.agent {
            None | Some("SSH_AUTH_SOCK") => settings.agent.take(),
            Some("none") => None,
            Some(variable) if variable.starts_with('$') && !variable.starts_with("${") => {
                std::env::var_os(&variable[1..]).map(PathBuf::from)
            }
            Some(path) => Some(tokens.path(path)?),
        };
        if self.user_known_hosts.is_some() || self.global_known_hosts.is_some() {
            let mut files = Vec::new();
            for list in [self.user_known_hosts, self.global_known_hosts]
                .into_iter()
                .flatten()
            {
                files.extend(paths(list, &tokens)?);
            }
            settings.known_hosts = files;
        }
        settings.proxy_command = self.proxy_command;
        Ok(())
    }
}

/// The files of a list. `ssh -G` prints them with blanks between them and without quotes, so that
/// a path with a blank is recognised only by being there.
fn paths(list: &str, tokens: &Tokens<'_>) -> Result<Vec<PathBuf>, SettingsError> {
    if list.contains(' ')
        && let Ok(whole) = tokens.path(list)
        && whole.exists()
    {
        return Ok(vec![whole]);
    }
    list.split_ascii_whitespace()
        .filter(|file| *file != "none" && Path::new(file) != Path::new("/dev/null"))
        .map(|file| tokens.path(file))
        .collect()
}

fn checked(name: &str) -> Result<String, SettingsError> {
    check_name(name)?;
    Ok(name.to_owned())
}

fn given(value: &str) -> Option<String> {
    (!value.is_empty() && !value.eq_ignore_ascii_case("none")).then(|| value.to_owned())
}

#[cfg(test)]
mod tests;
