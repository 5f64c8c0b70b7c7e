//! The benchmark as a test: it starts each form of our tunnel and moves some bytes, never a time.

use std::process::{Command, Stdio};

#[test]
fn the_benchmark_moves_bytes_intact_through_each_of_our_tunnels() {
    let output = Command::new(env!("CARGO_BIN_EXE_lkc-bench"))
        .arg("check")
        .stdin(Stdio::null())
        .output()
        .expect("lkc-bench starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");
    assert_eq!(
        said,
        "lkc-unix: intact, as direct\nlkc-unix-streams: intact, as direct\nlkc-unix-encrypted: intact, as direct\nlkc-tcp: intact, as direct\n"
    );
}
