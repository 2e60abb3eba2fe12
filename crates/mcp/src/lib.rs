//! MCP as a middle box sees it, without decoding what it need not.
