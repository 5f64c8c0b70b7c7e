//! The words of a bug.

use std::{io::Write, panic};

/// Replaces the panic message by one that blames us and keeps the payload, which may hold a
/// secret, out of terminals and logs.
pub fn install_panic_hook() {
    panic::set_hook(Box::new(|info| {
        let place = info
            .location()
            .map(|at| format!("{}:{}", at.file(), at.line()));
        let _ = std::io::stderr()
            .lock()
            .write_all(message(place.as_deref()).as_bytes());
    }));
}

fn message(place: Option<&str>) -> String {
    let (version, place) = (
        env!("CARGO_PKG_VERSION"),
        place.unwrap_or("an unknown place"),
    );
    format!(
        "error: this is a bug in lkc: it stopped itself at {place} (lkc-host {version})\n\n\
         hint: run the command again, clusters continue where they are; please report this line\n"
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_bug_says_so() {
        insta::assert_snapshot!(super::message(Some("host-agent/src/x.rs:7")), @"
        error: this is a bug in lkc: it stopped itself at host-agent/src/x.rs:7 (lkc-host 0.1.0)

        hint: run the command again, clusters continue where they are; please report this line
        ");
    }
}
