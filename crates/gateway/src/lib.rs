//! The data plane: route, authorize, forward, relay.
