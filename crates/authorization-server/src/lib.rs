//! Endpoint rules of the authorization server, one module per grant, without I/O.
