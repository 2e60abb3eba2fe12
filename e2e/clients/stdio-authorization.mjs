// A client of servers that tell over stdio what authorization they need (docs/stdio-authorization.md), on the TypeScript SDK. It
// knows of no server and of no provider: everything comes from what the server says.
//
// usage: node stdio-authorization.mjs [--own-login] -- COMMAND ARGUMENTS...
//   --own-login   log in here, instead of showing the server's own login_url
// stdin:  one JSON array ["tool", {arguments}] for each call; "done" when somebody has come back from the server's login
// stdout: one JSON object for each thing that it saw: entry, tools, refusal, login or authorize, result, failure

import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

import {
  discoverAuthorizationServerMetadata,
  exchangeAuthorization,
  registerClient,
  startAuthorization,
} from "@modelcontextprotocol/sdk/client/auth.js";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { McpError } from "@modelcontextprotocol/sdk/types.js";

const EXTENSION = "io.doorward/authorization";
const TOKEN = "io.doorward/token";
// How often a call is made before its user is told that it cannot be done.
const TRIES = 3;

const words = process.argv.slice(2);
const [command, ...args] = words.slice(words.indexOf("--") + 1);
const ownLogin = words.slice(0, words.indexOf("--")).includes("--own-login");
const saw = (what, more) => process.stdout.write(`${JSON.stringify({ saw: what, ...more })}\n`);
const person = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const nextLine = async () => {
  const { value, done } = await person.next();
  return done ? undefined : JSON.parse(value);
};

/** Waits for the browser; resolves to the query of the callback. */
async function listen() {
  let arrived;
  const arrival = new Promise((resolve) => (arrived = resolve));
  const server = createServer((request, response) => {
    const url = new URL(request.url, "http://127.0.0.1");
    const ours = url.pathname === "/callback";
    response.writeHead(ours ? 200 : 404, { Connection: "close" }).end();
    if (ours) arrived(url.searchParams);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { redirectUrl: `http://127.0.0.1:${server.address().port}/callback`, arrival, close: () => server.close() };
}

/** The issuer's own metadata, which the inline one must not contradict. */
async function metadataOf(inline) {
  const own = await discoverAuthorizationServerMetadata(inline.issuer);
  if (own?.issuer !== inline.issuer) throw new Error("the metadata is of another issuer");
  for (const endpoint of ["authorization_endpoint", "token_endpoint", "registration_endpoint"]) {
    if (inline[endpoint] !== undefined && inline[endpoint] !== own[endpoint]) {
      throw new Error(`the server and its issuer name different ${endpoint}s`);
    }
  }
  return own;
}

/** The code, if the answer is one to our request (state) and comes from our authorization server (iss). */
function codeIn(answer, state, metadata) {
  if (answer.get("state") !== state) throw new Error("this answer belongs to another request");
  const iss = answer.get("iss");
  if (iss === null ? metadata.authorization_response_iss_parameter_supported : iss !== metadata.issuer) {
    throw new Error("this answer comes from another issuer");
  }
  if (answer.get("error")) throw new Error(`the login was refused: ${answer.get("error")}`);
  return answer.get("code");
}

/** A token for these scopes: the authorization code flow, from what the refusal says. */
async function authorize(needed, scopes) {
  const [inline] = needed.authorization_servers;
  const metadata = await metadataOf(inline);
  const { redirectUrl, arrival, close } = await listen();
  try {
    const clientMetadata = { client_name: "stdio-authorization", redirect_uris: [redirectUrl], token_endpoint_auth_method: "none" };
    const clientInformation = metadata.registration_endpoint
      ? await registerClient(inline.issuer, { metadata, clientMetadata })
      : { client_id: inline.client_id };
    if (!clientInformation.client_id) throw new Error("there is no way to a client id: use login_url");
    const state = randomBytes(32).toString("base64url");
    const { resource } = needed;
    const { authorizationUrl, codeVerifier } = await startAuthorization(inline.issuer, {
      metadata, clientInformation, redirectUrl, scope: scopes.join(" "), state, resource,
    });
    saw("authorize", { url: authorizationUrl.href });
    const authorizationCode = codeIn(await arrival, state, metadata);
    const tokens = await exchangeAuthorization(inline.issuer, {
      metadata, clientInformation, authorizationCode, codeVerifier, redirectUri: redirectUrl, resource,
    });
    return { token: tokens.access_token, scopes: tokens.scope?.split(" ") ?? scopes };
  } finally {
    close();
  }
}

const client = new Client({ name: "stdio-authorization", version: "1" }, { capabilities: { experimental: { [EXTENSION]: {} } } });
let granted;

/** One call; what it was refused for, or its result. */
async function tryOnce(name, args) {
  const _meta = granted && { [TOKEN]: granted.token };
  try {
    return { result: await client.callTool({ name, arguments: args, ...(_meta && { _meta }) }) };
  } catch (error) {
    const needed = error instanceof McpError ? error.data?.authorization : undefined;
    if (needed?.type !== "oauth2") throw error;
    return { needed, code: error.code };
  }
}

/** After a login of the server's own, which may still be fetching its token when the person is back. */
async function afterLogin(name, args, before) {
  for (let late = 0; late < 160; late += 1) {
    const { result, needed } = await tryOnce(name, args);
    if (result) return result;
    if (needed.error !== before.error || String(needed.scopes) !== String(before.scopes)) return undefined;
    await sleep(250);
  }
  return undefined;
}

async function call(name, args) {
  for (let tries = 0; tries < TRIES; tries += 1) {
    const { result, needed, code } = await tryOnce(name, args);
    if (result) return result;
    saw("refusal", { tool: name, code, authorization: needed });
    if (needed.error === "temporarily_unavailable") throw new Error("nobody can be asked whether the token is good");
    if (ownLogin) {
      // What was granted before and what is needed now.
      const scopes = [...new Set([...(granted?.scopes ?? []), ...needed.scopes])];
      granted = undefined;
      granted = await authorize(needed, scopes);
      continue;
    }
    if (!needed.login_url) throw new Error("there is no login_url");
    saw("login", { url: needed.login_url });
    if ((await nextLine()) === undefined) throw new Error("nobody came back");
    const late = await afterLogin(name, args, needed);
    if (late) return late;
  }
  throw new Error(`${name} was refused ${TRIES} times`);
}

await client.connect(new StdioClientTransport({ command, args, env: process.env, stderr: "inherit" }));
saw("entry", { entry: client.getServerCapabilities().experimental?.[EXTENSION] });
const { tools } = await client.listTools();
saw("tools", { tools: tools.map(({ name, _meta }) => ({ name, authorization: _meta?.[EXTENSION] ?? null })) });
for (let wanted = await nextLine(); wanted !== undefined; wanted = await nextLine()) {
  const [tool, args] = wanted;
  try {
    saw("result", { tool, result: await call(tool, args) });
  } catch (error) {
    saw("failure", { tool, why: error.message });
  }
}
await client.close();
process.exit(0);
