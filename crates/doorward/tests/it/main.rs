//! Tests of the whole workspace's shape, and of the binary as it is run.

#![expect(clippy::unwrap_used, reason = "a test that cannot set itself up must fail")]

mod command_line;
mod fuzz_seeds;
mod layers;
