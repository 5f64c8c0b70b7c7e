//! Who runs a command.

use std::{io, os::unix::process::CommandExt, process::Command};

use nix::unistd::{Uid, geteuid};

/// Who runs a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// Whoever runs the tests.
    Me,
    /// A user without any privilege, whom only root can become.
    Nobody,
    /// Another one.
    Stranger,
}

impl User {
    /// The user's id.
    #[must_use]
    pub fn uid(self) -> u32 {
        match self {
            Self::Me => geteuid().as_raw(),
            Self::Nobody => 65_534,
            Self::Stranger => 65_533,
        }
    }

    /// Whether this process may become the user; says that the test is skipped if not.
    #[must_use]
    pub fn is_available(self) -> bool {
        let available = self == Self::Me || geteuid().is_root();
        if !available {
            crate::skipped("only root can become another user");
        }
        available
    }

    /// Whether the user may do everything.
    #[must_use]
    pub fn is_root(self) -> bool {
        Uid::from_raw(self.uid()).is_root()
    }

    /// Makes `command` run as this user, without supplementary groups.
    pub(crate) fn become_in(self, command: &mut Command) {
        if self != Self::Me {
            command.uid(self.uid()).gid(self.uid());
            // Setting the uid as root drops the groups: std calls setgroups(0).
        }
    }

    /// Gives a path to the user.
    pub(crate) fn own(self, path: &std::path::Path) -> io::Result<()> {
        match self {
            Self::Me => Ok(()),
            Self::Nobody | Self::Stranger => {
                std::os::unix::fs::chown(path, Some(self.uid()), Some(self.uid()))
            }
        }
    }
}
