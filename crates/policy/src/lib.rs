//! Who may call what, and why not.
