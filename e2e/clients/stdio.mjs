// An MCP client that knows only stdio, in front of any command: mcp-remote, as Claude Desktop is
// configured for it, or a server without Doorward, to compare with.
//
// usage: node stdio.mjs COMMAND ARGUMENTS...
// environment: E2E_CALLS (see run.mjs); the command gets all of it

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";

import { report } from "./run.mjs";

const [command, ...args] = process.argv.slice(2);
const client = new Client({ name: "doorward-e2e", version: "1" });
const transport = new StdioClientTransport({ command, args, env: process.env, stderr: "inherit" });
let protocol;
transport.setProtocolVersion = (version) => (protocol = version);
await client.connect(transport, { timeout: 100_000 });
await report(client, protocol, transport);
