//! Nothing but a place for end-to-end tests: see `tests/it/main.rs`.
