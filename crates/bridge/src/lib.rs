//! The stdio bridge: a host that speaks MCP over stdio on one side, a remote MCP server over HTTP on the other.

pub mod adapter;
pub mod failure;
