//! How a step is judged.

/// What is wrong, in a sentence.
pub(crate) type Verdict<T = ()> = Result<T, String>;

/// Ends a step with a sentence unless a condition holds.
macro_rules! check {
    ($condition:expr, $($sentence:tt)+) => {
        if !$condition {
            return Err(format!($($sentence)+));
        }
    };
}

pub(crate) use check;
