//! Golden vectors: one committed sample of everything that travels, as the first version sent it.
//!
//! What an older agent sends never changes, so a vector is never edited: every sample is built
//! here, compared with its file byte for byte, read back and written again. A new sample gets its
//! file from the one ignored test of this binary, which writes what is missing and nothing else.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

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
    vectors
}

#[test]
fn what_is_built_today_is_what_was_committed() {
    for vector in all() {
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

#[test]
#[ignore = "writes the vectors that are missing; run it after adding a sample"]
fn write_the_missing_vectors() {
    for vector in all() {
        vector.write_unless_there();
    }
}
