//! The bridge between a host in this process and a server over real connections that answers as each test says.

mod authorization;
mod host;
mod legacy;
mod modern;
mod server;
mod sse;
