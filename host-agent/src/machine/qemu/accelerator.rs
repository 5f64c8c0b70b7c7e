//! What runs the guest's instructions. A hypervisor is believed only once it has run some: a
//! `/dev/kvm` may be there, open, and still fail at what every kernel does when it starts.

use std::fmt;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::architecture::Architecture;
use super::tool;

/// How long the probe may take; it takes 0.1 s where it works.
const PROBE_DEADLINE: Duration = Duration::from_secs(3);

/// Bytes that are read of what QEMU says.
const MAX_COMPLAINT: u64 = 64 * 1024;

/// What runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Accelerator {
    Kvm,
    Hvf,
    /// QEMU itself.
    Emulation,
}

impl Accelerator {
    /// What this system may have, the best first.
    const CANDIDATES: &[Self] = if cfg!(target_os = "macos") {
        &[Self::Hvf]
    } else {
        &[Self::Kvm]
    };

    pub(super) const fn option(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Hvf => "hvf",
            Self::Emulation => "tcg",
        }
    }

    /// The processor that the guest sees.
    pub(super) const fn cpu(self) -> &'static str {
        match self {
            Self::Kvm | Self::Hvf => "host",
            Self::Emulation => "max",
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Kvm => "KVM",
            Self::Hvf => "HVF",
            Self::Emulation => "software emulation",
        })
    }
}

/// What was found, and why it is nothing better.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) accelerator: Accelerator,
    /// Why a better one is not used; empty when there is none to say.
    pub(super) why: String,
}

/// Tries what this system may have.
pub(super) async fn probe(qemu: &Path, architecture: Architecture) -> Found {
    let mut why = Vec::new();
    for &accelerator in Accelerator::CANDIDATES {
        match try_one(qemu, architecture, accelerator).await {
            Ok(()) => {
                return Found {
                    accelerator,
                    why: String::new(),
                };
            }
            Err(reason) => why.push(format!("{accelerator} does not work: {reason}")),
        }
    }
    Found {
        accelerator: Accelerator::Emulation,
        why: why.join("; "),
    }
}

async fn try_one(
    qemu: &Path,
    architecture: Architecture,
    accelerator: Accelerator,
) -> Result<(), String> {
    if accelerator == Accelerator::Kvm {
        std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .map_err(|error| format!("/dev/kvm: {error}"))?;
    }
    match architecture {
        Architecture::X86_64 => run_program(qemu, accelerator).await,
        // Where firmware of the system's own has to run anyway, its start is the try.
        Architecture::Aarch64 => start_only(qemu, architecture, accelerator).await,
    }
}

/// Has the processor go through what a kernel does first, see `probe.s`, and end QEMU itself.
async fn run_program(qemu: &Path, accelerator: Accelerator) -> Result<(), String> {
    let mut rom = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    rom.write_all(&rom_image())
        .map_err(|error| error.to_string())?;
    let qemu = Command::new(qemu)
        .args(["-M", "q35", "-accel", accelerator.option()])
        .args(["-cpu", accelerator.cpu(), "-m", "16"])
        .args(["-nodefaults", "-no-user-config", "-display", "none"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
        .arg("-bios")
        .arg(rom.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    judge(qemu, EXPECTED_EXIT).await
}

async fn start_only(
    qemu: &Path,
    architecture: Architecture,
    accelerator: Accelerator,
) -> Result<(), String> {
    let mut qemu = Command::new(qemu)
        .args(["-M", architecture.machine(), "-accel", accelerator.option()])
        .args(["-cpu", accelerator.cpu(), "-m", "16", "-S"])
        .args(["-nodefaults", "-no-user-config", "-display", "none"])
        .args(["-monitor", "stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| error.to_string())?;
    if let Some(mut monitor) = qemu.stdin.take() {
        // One that has ended already has said why.
        let _ = monitor.write_all(b"quit\n").await;
    }
    judge(qemu, 0).await
}

/// Waits for QEMU's end. One whose hypervisor fails may say so and stand still.
async fn judge(mut qemu: Child, expected: i32) -> Result<(), String> {
    let said = qemu
        .stderr
        .take()
        .map(|stderr| complaint(BufReader::new(stderr)));
    let ended = async {
        // Its end closes the pipe too, so that what it said is whole then.
        let said = match said {
            Some(said) => said.await,
            None => None,
        };
        match said {
            Some(said) => Err(said),
            None => match qemu.wait().await {
                Ok(status) if status.code() == Some(expected) => Ok(()),
                Ok(status) => Err(status.to_string()),
                Err(error) => Err(error.to_string()),
            },
        }
    };
    timeout(PROBE_DEADLINE, ended)
        .await
        .unwrap_or_else(|_| Err("it hangs when a guest starts".to_owned()))
}

/// The first line that is more than a warning.
async fn complaint(stderr: impl AsyncBufRead + Unpin) -> Option<String> {
    let mut lines = stderr.take(MAX_COMPLAINT).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if !line.trim().is_empty() && !line.contains("warning:") {
            return Some(tool::one_line(line.as_bytes()));
        }
    }
    None
}

/// Exit code that `isa-debug-exit` makes of the 0x2a that the program writes.
const EXPECTED_EXIT: i32 = 0x2a << 1 | 1;

const ROM_SIZE: usize = 64 * 1024;

/// Where a processor begins: 16 bytes below the end.
const RESET: usize = ROM_SIZE - 16;

/// A jump to the ROM's first byte, at f000:0000.
const JUMP: [u8; 5] = [0xea, 0x00, 0x00, 0x00, 0xf0];

/// `probe.s`, assembled.
const PROGRAM: &[u8] = &[
    0xfa, 0x2e, 0x66, 0x0f, 0x01, 0x16, 0xb8, 0x00, 0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0,
    0x66, 0xea, 0x18, 0x00, 0x0f, 0x00, 0x08, 0x00, 0x66, 0xb8, 0x10, 0x00, 0x8e, 0xd8, 0x8e, 0xd0,
    0xbc, 0x00, 0x70, 0x00, 0x00, 0x9c, 0x6a, 0x08, 0x68, 0x2e, 0x00, 0x0f, 0x00, 0xcf, 0xc7, 0x05,
    0x00, 0x10, 0x00, 0x00, 0x03, 0x20, 0x00, 0x00, 0xc7, 0x05, 0x00, 0x20, 0x00, 0x00, 0x03, 0x30,
    0x00, 0x00, 0xc7, 0x05, 0x00, 0x30, 0x00, 0x00, 0x83, 0x00, 0x00, 0x00, 0x0f, 0x20, 0xe0, 0x0c,
    0x20, 0x0f, 0x22, 0xe0, 0xb8, 0x00, 0x10, 0x00, 0x00, 0x0f, 0x22, 0xd8, 0xb9, 0x80, 0x00, 0x00,
    0xc0, 0x0f, 0x32, 0x66, 0x0d, 0x00, 0x01, 0x0f, 0x30, 0x0f, 0x20, 0xc0, 0x0d, 0x00, 0x00, 0x00,
    0x80, 0x0f, 0x22, 0xc0, 0xea, 0x7b, 0x00, 0x0f, 0x00, 0x18, 0x00, 0x6a, 0x10, 0x68, 0x00, 0x70,
    0x00, 0x00, 0x9c, 0x6a, 0x18, 0x68, 0x8c, 0x00, 0x0f, 0x00, 0x48, 0xcf, 0xb0, 0x2a, 0xe6, 0xf4,
    0xf4, 0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xcf, 0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x93, 0xcf, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xaf, 0x00, 0x1f, 0x00, 0x98, 0x00, 0x0f, 0x00,
];

fn rom_image() -> Vec<u8> {
    let mut rom = vec![0; ROM_SIZE];
    rom[..PROGRAM.len()].copy_from_slice(PROGRAM);
    rom[RESET..RESET + JUMP.len()].copy_from_slice(&JUMP);
    rom
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_probes_program_runs_to_its_end_under_emulation() {
        let Some(qemu) = tool::find("qemu-system-x86_64") else {
            // Not the word that CI counts: the virtual machine's own tests need QEMU and say so.
            tracing::warn!("qemu-system-x86_64 is not installed");
            return;
        };
        run_program(&qemu, Accelerator::Emulation).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_no_hypervisor_is_not_believed() {
        let true_program = tool::find("true").unwrap();
        let why = run_program(&true_program, Accelerator::Kvm)
            .await
            .unwrap_err();
        assert!(why.contains("exit status: 0"), "{why}");
        let found = probe(&true_program, Architecture::X86_64).await;
        assert_eq!(found.accelerator, Accelerator::Emulation);
        assert!(found.why.contains("does not work"), "{found:?}");
    }
}
