// A service made with the TypeScript SDK: it has a secret or a key, and no person.
//
// usage: node service.mjs v1|v2 URL ISSUER CLIENT_ID secret SECRET
//        node service.mjs v1|v2 URL ISSUER CLIENT_ID key FILE
//   FILE   a private key in PEM, for ES256

import { readFileSync } from "node:fs";

import { report } from "./run.mjs";

const [generation, url, expectedIssuer, clientId, kind, credential] = process.argv.slice(2);

async function sdk() {
  if (generation === "v2") return import("@modelcontextprotocol/client");
  const modules = await Promise.all([
    import("@modelcontextprotocol/sdk/client/auth-extensions.js"),
    import("@modelcontextprotocol/sdk/client/index.js"),
    import("@modelcontextprotocol/sdk/client/streamableHttp.js"),
  ]);
  return Object.assign({}, ...modules);
}

const { Client, ClientCredentialsProvider, PrivateKeyJwtProvider, StreamableHTTPClientTransport } = await sdk();
const authProvider =
  kind === "key"
    ? new PrivateKeyJwtProvider({
        algorithm: "ES256",
        clientId,
        expectedIssuer,
        privateKey: readFileSync(credential, "utf8"),
      })
    : new ClientCredentialsProvider({ clientId, clientSecret: credential, expectedIssuer });
const client = new Client({ name: "doorward-e2e-service", version: "1" });
const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider });
await client.connect(transport);
await report(client, transport.protocolVersion ?? null, transport);
