// A client made with the TypeScript SDK v2.

import { Client, StreamableHTTPClientTransport, UnauthorizedError } from "@modelcontextprotocol/client";

import { run } from "./run.mjs";

await run({
  newClient: (info, negotiate) => new Client(info, negotiate ? { versionNegotiation: { mode: "auto" } } : {}),
  newTransport: (url, options) => new StreamableHTTPClientTransport(url, options),
  UnauthorizedError,
  // The whole query: it checks `iss` against the metadata before it sends the code (RFC 9207).
  finishArgument: (callback) => callback,
  version: (client) => client.getNegotiatedProtocolVersion(),
});
