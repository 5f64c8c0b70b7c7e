//! What a rule found, and how the reader learns of it.

use std::fmt::Write as _;

/// Fails the test if a rule found anything: the rule, each place, and what to do.
pub(crate) fn none_expected(rule: &str, mend: &str, findings: &[String]) {
    if findings.is_empty() {
        return;
    }
    let mut text = format!("{rule}\n");
    for finding in findings {
        let _ = writeln!(text, "  {finding}");
    }
    panic!("{text}to mend it: {mend}");
}
