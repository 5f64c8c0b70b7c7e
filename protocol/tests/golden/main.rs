//! Golden vectors: one committed sample of everything that travels, as the first version sent it.
//!
//! What an older agent sends never changes, so a vector is never edited: every sample is built
//! here, compared with its file byte for byte, read back and written again. A new sample gets its
//! file from `WRITE_MISSING_VECTORS=1 cargo test --test golden`, which changes no other.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod datagrams;
mod exec;
mod frames;
mod greetings;
mod malformed;
mod messages;
mod mirror;
mod samples;
mod vector;

use std::collections::BTreeSet;

use vector::Vector;

fn all() -> Vec<Vector> {
    let mut vectors = messages::vectors();
    vectors.extend(frames::vectors());
    vectors.extend(greetings::vectors());
    vectors.extend(malformed::vectors());
    vectors.extend(datagrams::vectors());
    vectors.extend(exec::vectors());
    vectors
}

#[test]
fn what_is_built_today_is_what_was_committed() {
    let write = std::env::var_os("WRITE_MISSING_VECTORS").is_some();
    for vector in all() {
        if write {
            vector.write_unless_there();
        }
        assert_eq!(
            vector::read(&vector.name),
            vector.bytes,
            "{}: {}",
            vector.name,
            vector.about
        );
    }
}

#[test]
fn every_vector_is_built_by_a_test_and_no_name_is_taken_twice() {
    let built: Vec<String> = all().into_iter().map(|vector| vector.name).collect();
    let names: BTreeSet<String> = built.iter().cloned().collect();
    assert_eq!(names.len(), built.len(), "a name is taken twice");
    assert_eq!(names, vector::committed());
}
