//! What a program finds around it: variables, home, shell. Pure but for where it is looked up.

use std::{collections::BTreeMap, env, path::Path};

use thiserror::Error;

/// Where programs are, on NixOS first, beside what the agent itself was given.
const PATH: &[&str] = &[
    "/run/wrappers/bin",
    "/run/current-system/sw/bin",
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// Of the agent's own variables those that its programs get.
const PASSED_ON: &[&str] = &["LANG", "LC_ALL", "TZ", "LOCALE_ARCHIVE", "TZDIR"];

/// The user that the agent runs as, and its own search path.
#[derive(Debug)]
pub(super) struct Surroundings {
    pub(super) shell: String,
    user: String,
    home: String,
    path: String,
    passed_on: Vec<(String, String)>,
}

/// A text that sets no variable.
#[derive(Debug, Error)]
#[error("`{0}` sets no variable: it takes NAME=VALUE")]
pub(super) struct NotAVariable(String);

impl Surroundings {
    /// Those of this process.
    pub(super) fn of_this_process() -> Self {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
        let user = user.ok().flatten();
        let shell = user.as_ref().map(|user| user.shell.display().to_string());
        let passed_on = PASSED_ON
            .iter()
            .filter_map(|&name| Some((name.to_owned(), env::var(name).ok()?)));
        Self {
            shell: shell
                .filter(|shell| !shell.is_empty())
                .unwrap_or_else(|| "/bin/sh".to_owned()),
            home: match &user {
                Some(user) => user.dir.display().to_string(),
                None => "/".to_owned(),
            },
            user: user.map_or_else(|| "root".to_owned(), |user| user.name),
            path: env::var("PATH").unwrap_or_default(),
            passed_on: passed_on.collect(),
        }
    }

    /// Where a program runs that is not told where.
    pub(super) fn directory(&self) -> &Path {
        let home = Path::new(&self.home);
        if home.is_dir() { home } else { Path::new("/") }
    }

    /// The variables that it has, `wanted` above the guest's own.
    ///
    /// # Errors
    /// [`NotAVariable`].
    pub(super) fn variables(
        &self,
        wanted: &[String],
    ) -> Result<BTreeMap<String, String>, NotAVariable> {
        let mut variables = BTreeMap::from([
            ("HOME".to_owned(), self.home.clone()),
            ("LOGNAME".to_owned(), self.user.clone()),
            ("PATH".to_owned(), self.search_path()),
            ("SHELL".to_owned(), self.shell.clone()),
            ("USER".to_owned(), self.user.clone()),
        ]);
        variables.extend(self.passed_on.iter().cloned());
        for text in wanted {
            match text.split_once('=') {
                Some((name, value)) if !name.is_empty() && !text.contains('\0') => {
                    variables.insert(name.to_owned(), value.to_owned());
                }
                _ => return Err(NotAVariable(text.replace('\0', "\\0"))),
            }
        }
        Ok(variables)
    }

    fn search_path(&self) -> String {
        let mut path: Vec<&str> = self.path.split(':').filter(|dir| !dir.is_empty()).collect();
        for dir in PATH {
            if !path.contains(dir) {
                path.push(dir);
            }
        }
        path.join(":")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings(path: &str) -> Surroundings {
        Surroundings {
            shell: "/bin/bash".to_owned(),
            user: "root".to_owned(),
            home: "/nonexistent".to_owned(),
            path: path.to_owned(),
            passed_on: vec![("LANG".to_owned(), "C.UTF-8".to_owned())],
        }
    }

    #[test]
    fn what_is_asked_for_stands_above_what_is_there() {
        let wanted = ["TERM=xterm", "LANG=de_DE.UTF-8", "EMPTY=", "A=b=c"];
        let wanted: Vec<_> = wanted.map(str::to_owned).into();
        let variables = surroundings("/nix/store/x/bin:/usr/bin").variables(&wanted);
        let lines: Vec<_> = variables
            .unwrap()
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        A=b=c
        EMPTY=
        HOME=/nonexistent
        LANG=de_DE.UTF-8
        LOGNAME=root
        PATH=/nix/store/x/bin:/usr/bin:/run/wrappers/bin:/run/current-system/sw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin:/bin
        SHELL=/bin/bash
        TERM=xterm
        USER=root
        ");
    }

    #[test]
    fn what_sets_no_variable_is_refused() {
        for text in ["", "NAME", "=value", "A=\0"] {
            let refused = surroundings("").variables(&[text.to_owned()]);
            assert!(refused.is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_home_that_is_not_there_is_no_directory() {
        assert_eq!(surroundings("").directory(), Path::new("/"));
    }
}
