//! The library as its users see it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, helpers of tests too"
)]

mod around;
mod entering;
mod keys;
mod promises;
mod world;
