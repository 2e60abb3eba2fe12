//! Authorization-server endpoints and every page.
