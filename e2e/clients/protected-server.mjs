// An MCP server made with the TypeScript SDK, protected by the SDK's own authorization server, whose tokens last
// for seconds. Everybody who asks is let in.
//
// usage: node protected-server.mjs SECONDS
//   listens on a free port, prints its URL, and ends when stdin does

import { createServer } from "node:http";
import { randomUUID } from "node:crypto";

import { requireBearerAuth } from "@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js";
import { InvalidGrantError, InvalidTokenError } from "@modelcontextprotocol/sdk/server/auth/errors.js";
import { getOAuthProtectedResourceMetadataUrl, mcpAuthRouter } from "@modelcontextprotocol/sdk/server/auth/router.js";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import express from "express";

const lifetime = Number(process.argv[2]);

/** What happened so far; the tool `history` tells it. */
const history = { registrations: 0, logins: 0, refreshes: 0, revocations: 0, serial: 0 };

class Provider {
  #clients = new Map();
  #codes = new Map();
  #access = new Map();
  #refresh = new Map();

  get clientsStore() {
    return {
      getClient: (id) => this.#clients.get(id),
      registerClient: (client) => {
        history.registrations += 1;
        this.#clients.set(client.client_id, client);
        return client;
      },
    };
  }

  async authorize(client, params, response) {
    history.logins += 1;
    const code = randomUUID();
    this.#codes.set(code, { client, params });
    const back = new URL(params.redirectUri);
    back.searchParams.set("code", code);
    if (params.state) back.searchParams.set("state", params.state);
    response.redirect(back.href);
  }

  async challengeForAuthorizationCode(_client, code) {
    return this.#codes.get(code)?.params.codeChallenge;
  }

  async exchangeAuthorizationCode(client, code, _verifier, redirectUri, resource) {
    const issued = this.#codes.get(code);
    this.#codes.delete(code);
    if (issued?.client.client_id !== client.client_id) throw new InvalidGrantError("no such code");
    if (redirectUri !== issued.params.redirectUri) throw new InvalidGrantError("another redirect URI");
    if (resource?.href !== issued.params.resource?.href) throw new InvalidGrantError("another resource");
    return this.#issue(client, issued.params.scopes ?? [], resource);
  }

  async exchangeRefreshToken(client, token, scopes, resource) {
    const issued = this.#refresh.get(token);
    this.#refresh.delete(token);
    if (issued?.clientId !== client.client_id) throw new InvalidGrantError("no such refresh token");
    if (resource?.href !== issued.resource?.href) throw new InvalidGrantError("another resource");
    history.refreshes += 1;
    return this.#issue(client, scopes ?? issued.scopes, resource);
  }

  async verifyAccessToken(token) {
    const issued = this.#access.get(token);
    if (!issued) throw new InvalidTokenError("no such token");
    return issued;
  }

  async revokeToken(_client, { token }) {
    history.revocations += 1;
    this.#access.delete(token);
    this.#refresh.delete(token);
  }

  #issue(client, scopes, resource) {
    history.serial += 1;
    const [token, refresh] = [randomUUID(), randomUUID()];
    const clientId = client.client_id;
    const expiresAt = Math.floor(Date.now() / 1000) + lifetime;
    this.#access.set(token, { token, clientId, scopes, expiresAt, resource, extra: { serial: history.serial } });
    this.#refresh.set(refresh, { clientId, scopes, resource });
    const scope = scopes.join(" ");
    return { access_token: token, refresh_token: refresh, token_type: "bearer", expires_in: lifetime, scope };
  }
}

function mcp() {
  const server = new McpServer({ name: "protected", version: "1" });
  server.registerTool("history", { description: "What happened so far" }, ({ authInfo }) => {
    const told = { ...history, used: authInfo.extra.serial, scopes: authInfo.scopes };
    return { content: [{ type: "text", text: JSON.stringify(told) }] };
  });
  return server;
}

const app = express();
const listener = createServer(app);
await new Promise((resolve) => listener.listen(0, "127.0.0.1", resolve));
const origin = new URL(`http://127.0.0.1:${listener.address().port}`);
const resourceServerUrl = new URL("/mcp", origin);
const provider = new Provider();
const scopesSupported = ["notes:read"];
app.use(express.json());
app.use(mcpAuthRouter({ provider, issuerUrl: origin, resourceServerUrl, scopesSupported }));
const bearer = requireBearerAuth({
  verifier: provider,
  requiredScopes: scopesSupported,
  resourceMetadataUrl: getOAuthProtectedResourceMetadataUrl(resourceServerUrl),
  expectedResource: resourceServerUrl,
});

const sessions = new Map();

async function transport(request) {
  const known = sessions.get(request.headers["mcp-session-id"]);
  if (known) return known;
  const fresh = new StreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (id) => sessions.set(id, fresh),
    onsessionclosed: (id) => sessions.delete(id),
  });
  await mcp().connect(fresh);
  return fresh;
}

app.all("/mcp", bearer, async (request, response) => {
  await (await transport(request)).handleRequest(request, response, request.body);
});
console.log(resourceServerUrl.href);
process.stdin.on("end", () => process.exit(0)).resume();
