//! DS-06: HTTP/2 peers that cost more than they ask for.
