// A client made with the TypeScript SDK v1.

import { UnauthorizedError } from "@modelcontextprotocol/sdk/client/auth.js";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

import { run } from "./run.mjs";

await run({
  newClient: (info) => new Client(info),
  newTransport: (url, options) => new StreamableHTTPClientTransport(url, options),
  UnauthorizedError,
  finishArgument: (callback) => callback.get("code"),
  version: (_, transport) => transport.protocolVersion,
});
