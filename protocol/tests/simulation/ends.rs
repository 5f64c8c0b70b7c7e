//! The two ends of a link.

use lkc_protocol::{frame::StreamId, hello::Role};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum End {
    Host,
    Guest,
}

impl End {
    pub(crate) const BOTH: [Self; 2] = [Self::Host, Self::Guest];

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Host => Self::Guest,
            Self::Guest => Self::Host,
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    pub(crate) const fn role(self) -> Role {
        match self {
            Self::Host => Role::Host,
            Self::Guest => Role::Guest,
        }
    }

    pub(crate) const fn opens(self, stream: StreamId) -> bool {
        matches!((self, stream.0 % 2), (Self::Host, 1) | (Self::Guest, 0))
    }
}
