//! Two TCP programs that talk through a link see what they see when they talk directly.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod crowd;
mod handed_over;
mod loss;
mod scenarios;
mod tunnel;
