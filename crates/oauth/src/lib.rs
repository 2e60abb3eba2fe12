//! OAuth messages and rules, one module per RFC or draft.
