//! What lkc-host and lkc-guest agree on.
