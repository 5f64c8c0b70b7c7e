//! What of a run is kept.

use std::{fs, path::Path};

use serde::Serialize;

use crate::{
    Failure,
    goals::{Judged, judge},
    report::page,
    results::Results,
};

/// Where `--record` writes: beside this source.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/RESULTS.md");

#[derive(Serialize)]
struct Kept<'a> {
    #[serde(flatten)]
    results: &'a Results,
    goals: Vec<Judged>,
}

/// Everything, the single rounds included.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write_json(results: &Results, path: &Path) -> Result<(), Failure> {
    let kept = Kept {
        results,
        goals: judge(results),
    };
    let text = serde_json::to_string_pretty(&kept)
        .map_err(|error| Failure::Candidate(format!("the results: {error}")))?;
    fs::write(path, text + "\n").map_err(Failure::to(format!("write {}", path.display())))
}

/// The tables, as the page that the repository keeps.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write_page(results: &Results) -> Result<(), Failure> {
    let mut what = String::new();
    for one in &results.candidates {
        what.push_str(&format!("- `{}`: {}\n", one.name, one.what));
    }
    let text = format!(
        "# Results of lkc-bench\n\n\
         Written by `lkc-bench --record`, which replaces this page. Client, backend and tunnel share \
         the cores, so a rate is a matter of CPU time; compare ratios, not rates, across machines.\n\n\
         {}\n## Candidates\n\n{what}",
        page(results)
    );
    fs::write(PAGE, text).map_err(Failure::to("write RESULTS.md"))
}
