//! Paths and commands as ssh configuration files write them: `~`, `${NAME}` and `%h`.

use std::path::{Path, PathBuf};

use super::settings::SettingsError;

/// The account that lkc runs under, as far as configuration files may speak of it.
#[derive(Debug, Clone)]
pub(super) struct LocalUser {
    /// Its name.
    pub(super) name: String,
    /// Its number.
    pub(super) uid: u32,
    /// Its home directory.
    pub(super) home: PathBuf,
    /// The name of this host.
    pub(super) host: String,
}

impl LocalUser {
    /// Whoever runs this process, as the account database has it: the programs of OpenSSH look
    /// there as well, and not at `HOME`.
    pub(super) fn current() -> Self {
        let uid = nix::unistd::getuid();
        let account = nix::unistd::User::from_uid(uid).ok().flatten();
        let host = nix::unistd::gethostname()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let (name, home) = match account {
            Some(account) => (account.name, account.dir),
            None => (
                uid.to_string(),
                std::env::var_os("HOME").map_or_else(|| "/".into(), PathBuf::from),
            ),
        };
        Self {
            name,
            uid: uid.as_raw(),
            home,
            host,
        }
    }
}

/// What the tokens of one destination stand for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens<'a> {
    /// The account on this side.
    pub(super) local: &'a LocalUser,
    /// The host as the user wrote it.
    pub(super) written: &'a str,
    /// The host that is connected to.
    pub(super) host: &'a str,
    /// Its port.
    pub(super) port: u16,
    /// The account there.
    pub(super) user: &'a str,
    /// What its key is filed under.
    pub(super) key_alias: &'a str,
}

impl Tokens<'_> {
    /// The path that `text` means: `~`, `${NAME}` and tokens replaced, absolute.
    ///
    /// # Errors
    /// A token or a variable that is not known here, and what stays relative.
    pub(super) fn path(&self, text: &str) -> Result<PathBuf, SettingsError> {
        let expanded = self.tokens(&variables(text)?)?;
        let path = match expanded.strip_prefix('~') {
            Some("") => self.local.home.clone(),
            Some(rest) if rest.starts_with('/') => self.local.home.join(&rest[1..]),
            _ => PathBuf::from(expanded),
        };
        if path.is_absolute() {
            Ok(path)
        } else {
            Err(SettingsError::Relative(text.to_owned()))
        }
    }

    /// `text` with its tokens replaced.
    ///
    /// # Errors
    /// A token that is not known here.
    pub(super) fn tokens(&self, text: &str) -> Result<String, SettingsError> {
        let mut expanded = String::with_capacity(text.len());
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                expanded.push(character);
                continue;
            }
            let local = self.local;
            match characters.next() {
                Some('%') => expanded.push('%'),
                Some('d') => expanded.push_str(&local.home.to_string_lossy()),
                Some('h') => expanded.push_str(self.host),
                Some('i') => expanded.push_str(&local.uid.to_string()),
                Some('k') => expanded.push_str(self.key_alias),
                Some('L') => expanded.push_str(local.host.split('.').next().unwrap_or_default()),
                Some('l') => expanded.push_str(&local.host),
                Some('n') => expanded.push_str(self.written),
                Some('p') => expanded.push_str(&self.port.to_string()),
                Some('r') => expanded.push_str(self.user),
                Some('u') => expanded.push_str(&local.name),
                other => {
                    return Err(SettingsError::Token {
                        token: other.map_or_else(|| "%".to_owned(), |token| format!("%{token}")),
                        text: text.to_owned(),
                    });
                }
            }
        }
        Ok(expanded)
    }
}

/// `text` with `${NAME}` replaced by the environment.
fn variables(text: &str) -> Result<String, SettingsError> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let unset = || SettingsError::Variable(text.to_owned());
        let (name, tail) = after.split_once('}').ok_or_else(unset)?;
        expanded.push_str(before);
        expanded.push_str(&std::env::var(name).map_err(|_| unset())?);
        rest = tail;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// Where the user's own files of OpenSSH are.
pub(super) fn dot_ssh(home: &Path) -> PathBuf {
    home.join(".ssh")
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn local() -> LocalUser {
        LocalUser {
            name: "me".to_owned(),
            uid: 501,
            home: "/home/me".into(),
            host: "desk.example".to_owned(),
        }
    }

    fn tokens(local: &LocalUser) -> Tokens<'_> {
        Tokens {
            local,
            written: "dev",
            host: "dev.example",
            port: 2222,
            user: "root",
            key_alias: "dev-key",
        }
    }

    #[test]
    fn tokens_stand_for_both_ends() {
        let local = local();
        assert_eq!(
            tokens(&local)
                .tokens("%% %d %h %i %k %L %l %n %p %r %u")
                .unwrap(),
            "% /home/me dev.example 501 dev-key desk desk.example dev 2222 root me"
        );
    }

    #[test]
    fn paths_begin_at_home_or_at_the_root() {
        let local = local();
        let tokens = tokens(&local);
        assert_eq!(
            tokens.path("~/.ssh/%r").unwrap(),
            Path::new("/home/me/.ssh/root")
        );
        assert_eq!(tokens.path("~").unwrap(), Path::new("/home/me"));
        assert_eq!(tokens.path("/k").unwrap(), Path::new("/k"));
        for (text, message) in [
            ("keys/id", "`keys/id` is a relative path"),
            ("~other/id", "`~other/id` is a relative path"),
            ("/k/%C", "`%C` in `/k/%C` is not known here"),
            ("/k/%", "`%` in `/k/%` is not known here"),
            (
                "/k/${LKC_NOT_SET_ANYWHERE}",
                "a variable in `/k/${LKC_NOT_SET_ANYWHERE}` is not set where the daemon runs",
            ),
        ] {
            assert_eq!(tokens.path(text).unwrap_err().to_string(), message);
        }
    }
}
