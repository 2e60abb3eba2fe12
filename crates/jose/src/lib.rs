//! Strict compact JWS, JWK, JWK sets and thumbprints.
