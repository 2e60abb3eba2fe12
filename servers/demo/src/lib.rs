//! The built-in demo MCP server: whoami, echo and notes, per user.
