//! What the user writes after `ssh:`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest user or host name, in bytes.
const MAX_NAME: usize = 255;

/// `[USER@]HOST[:PORT]`. The host may be an alias of the user's ssh configuration, which decides
/// what is not written here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Target {
    /// Who logs in there.
    pub user: Option<String>,
    /// A name, an alias or an address; an IPv6 address without brackets.
    pub host: String,
    /// Where its sshd listens.
    pub port: Option<u16>,
}

/// A text that is no `[USER@]HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TargetError {
    /// It has no host.
    #[error("`{0}` has no host: write ssh:[USER@]HOST[:PORT]")]
    NoHost(String),
    /// What follows the last colon is no port.
    #[error(
        "`{0}` has no port between 1 and 65535 after its colon; an IPv6 address needs brackets"
    )]
    Port(String),
    /// A program that takes the name as an argument or in a command could take it for more.
    #[error("`{name}` cannot be a user or a host: {why}")]
    Name {
        /// Which.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (user, place) = match text.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, text),
        };
        let port_error = || TargetError::Port(text.to_owned());
        let (host, port) = if let Some(bracketed) = place.strip_prefix('[') {
            let (host, rest) = bracketed.split_once(']').ok_or_else(port_error)?;
            match rest {
                "" => (host, None),
                _ => (host, Some(rest.strip_prefix(':').ok_or_else(port_error)?)),
            }
        } else {
            match place.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (place, None),
            }
        };
        if host.is_empty() {
            return Err(TargetError::NoHost(text.to_owned()));
        }
        let port = match port.map(str::parse::<u16>) {
            None => None,
            Some(Ok(port)) if port != 0 => Some(port),
            Some(_) => return Err(port_error()),
        };
        check_name(host)?;
        user.map(check_name).transpose()?;
        Ok(Self {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
        })
    }
}

/// Whether `name` can stand in an argument list and in the command line of a proxy without being
/// taken for an option or for shell.
///
/// # Errors
/// What it could be taken for.
pub(super) fn check_name(name: &str) -> Result<(), TargetError> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_NAME {
        "it is too long"
    } else if name.starts_with('-') {
        "a program would take it for an option"
    } else if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        "it has blanks or control characters"
    } else if name.contains(|c: char| "'`\"$\\;&<>|(){},*?!#".contains(c)) {
        "a shell would see more in it than a name"
    } else {
        return Ok(());
    };
    Err(TargetError::Name {
        name: crate::sanitize::line(name),
        why,
    })
}

impl TryFrom<String> for Target {
    type Error = TargetError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = &self.user {
            write!(formatter, "{user}@")?;
        }
        match (self.host.contains(':'), self.port) {
            (true, _) => write!(formatter, "[{}]", self.host)?,
            (false, _) => formatter.write_str(&self.host)?,
        }
        match self.port {
            Some(port) => write!(formatter, ":{port}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_survive_being_written_and_read() {
        for (text, user, host, port) in [
            ("colima", None, "colima", None),
            ("root@10.0.0.1:2222", Some("root"), "10.0.0.1", Some(2222)),
            ("[::1]:22", None, "::1", Some(22)),
            ("u@[fe80::1%eth0]", Some("u"), "fe80::1%eth0", None),
            (
                "me@corp.example@jump",
                Some("me@corp.example"),
                "jump",
                None,
            ),
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.user.as_deref(), user, "{text}");
            assert_eq!(target.host, host, "{text}");
            assert_eq!(target.port, port, "{text}");
            assert_eq!(target.to_string(), text);
        }
    }

    #[test]
    fn what_could_be_more_than_a_name_is_refused() {
        for (text, message) in [
            ("", "`` has no host: write ssh:[USER@]HOST[:PORT]"),
            ("u@", "`u@` has no host: write ssh:[USER@]HOST[:PORT]"),
            (
                "-oProxyCommand=x",
                "`-oProxyCommand=x` cannot be a user or a host: a program would take it for an option",
            ),
            (
                "-l@host",
                "`-l` cannot be a user or a host: a program would take it for an option",
            ),
            ("@host", "`` cannot be a user or a host: it is empty"),
            (
                "a$(id)",
                "`a$(id)` cannot be a user or a host: a shell would see more in it than a name",
            ),
            (
                "a b",
                "`a b` cannot be a user or a host: it has blanks or control characters",
            ),
            (
                "a:b",
                "`a:b` has no port between 1 and 65535 after its colon; an IPv6 address needs brackets",
            ),
            ("::1", "`::1` has no host: write ssh:[USER@]HOST[:PORT]"),
            (
                "h:0",
                "`h:0` has no port between 1 and 65535 after its colon; an IPv6 address needs brackets",
            ),
            (
                "[::1",
                "`[::1` has no port between 1 and 65535 after its colon; an IPv6 address needs brackets",
            ),
        ] {
            assert_eq!(text.parse::<Target>().unwrap_err().to_string(), message);
        }
    }
}
