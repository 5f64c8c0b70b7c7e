//! What differs between the processors that a guest can be run on: the machine model, the program,
//! the firmware, and the way that credentials are handed over.

use std::env;
use std::path::{Path, PathBuf};

/// The processor of this host, which is its guests' too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Architecture {
    X86_64,
    Aarch64,
}

impl Architecture {
    /// This host's; none when there is no machine model for it.
    pub(super) fn of_host() -> Option<Self> {
        match env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    pub(super) const fn program(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86_64",
            Self::Aarch64 => "qemu-system-aarch64",
        }
    }

    /// Debian's package of [`program`](Self::program).
    pub(super) const fn package(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86",
            Self::Aarch64 => "qemu-system-arm",
        }
    }

    pub(super) const fn machine(self) -> &'static str {
        match self {
            Self::X86_64 => "q35",
            Self::Aarch64 => "virt",
        }
    }

    /// Where the firmware usually is, when QEMU has none of its own that boots a disk.
    pub(super) const fn usual_firmware(self) -> &'static [&'static str] {
        match self {
            Self::X86_64 => &[],
            Self::Aarch64 => &[
                "/usr/share/AAVMF/AAVMF_CODE.fd",
                "/usr/share/qemu/edk2-aarch64-code.fd",
                "/opt/homebrew/share/qemu/edk2-aarch64-code.fd",
                "/usr/local/share/qemu/edk2-aarch64-code.fd",
            ],
        }
    }

    /// Whether a disk boots without firmware of its own.
    pub(super) const fn has_firmware(self) -> bool {
        self.usual_firmware().is_empty()
    }

    /// The first of the usual places that `exists`.
    pub(super) fn found_firmware(self, exists: impl Fn(&Path) -> bool) -> Option<PathBuf> {
        self.usual_firmware()
            .iter()
            .map(PathBuf::from)
            .find(|path| exists(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_is_looked_for_where_it_is_needed() {
        assert!(Architecture::X86_64.has_firmware());
        assert!(!Architecture::Aarch64.has_firmware());
        let homebrew = Path::new("/opt/homebrew/share/qemu/edk2-aarch64-code.fd");
        let found = Architecture::Aarch64.found_firmware(|path| path == homebrew);
        assert_eq!(found.as_deref(), Some(homebrew));
        assert_eq!(Architecture::Aarch64.found_firmware(|_| false), None);
    }
}
