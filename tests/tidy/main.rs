//! The rules of this repository that a compiler does not know, each a test that says how to mend it.
//!
//! Everything here reads files (one test asks cargo for a dependency tree) and needs only std, so
//! that it builds in a moment and can run before anything else works:
//! `cargo test -p lkc-tests --test tidy`.

mod boundaries;
mod documents;
mod finding;
mod lexer;
mod manifests;
mod markdown;
mod modules;
mod repository;
mod sha256;
mod sources;
mod strays;
mod vectors;
