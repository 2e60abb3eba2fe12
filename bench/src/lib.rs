//! Measurements: calls, tokens.
