//! Fake peers, a form-filling browser and a harness for the real binary.
