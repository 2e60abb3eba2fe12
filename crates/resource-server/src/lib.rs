//! May this token enter? Verification, cache, challenges.
