//! Master key, derived keys, sealing with associated data.
