//! What must hold for whatever comes from outside: one check per fuzz target, a function of bytes
//! that panics when something does not hold. `fuzz_targets/` gives them what libFuzzer invents,
//! `main.rs` beside this folder what is in `corpus/`.

pub mod config;
pub mod control;
pub mod frames;
pub mod handshake;
pub mod hello;
pub mod kubeconfig;
pub mod messages;
pub mod network;
mod pieces;
pub mod preface;
pub mod session_operations;
pub mod socks;
pub mod streams;
mod text;

/// A fuzz target: its name, which is that of its corpus, and what it checks.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("control_call", control::check_call),
    ("control_reply", control::check_reply),
    ("datagrams", streams::check_datagrams),
    ("exec_pieces", streams::check_exec),
    ("frame_sequence", frames::check_sequence),
    ("frames", frames::check_bytes),
    ("handshake", handshake::check_bytes),
    ("handshake_pair", handshake::check_pair),
    ("hello", hello::check),
    ("k3s_file", kubeconfig::check_k3s_file),
    ("kubeconfig_merge", kubeconfig::check_merge),
    ("kubeconfig_values", kubeconfig::check_values),
    ("lkc_toml", config::check_text),
    ("lkc_toml_tables", config::check_tables),
    ("message_values", messages::check_values),
    ("messages", messages::check_bytes),
    ("network", network::check),
    ("preface", preface::check_bytes),
    ("preface_sequence", preface::check_sequence),
    ("session_operations", session_operations::check),
    ("socks", socks::check),
];
