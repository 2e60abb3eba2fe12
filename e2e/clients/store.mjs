// An OAuthClientProvider that keeps everything in one JSON file, as a desktop client keeps its tokens.
// Both SDK generations accept it.

import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";

import { login } from "./browser.mjs";

export class FileProvider {
  #file;
  #options;
  #listener;
  #state;
  /** The query of the authorization response, once there was one. */
  callback;

  /** options: { username, password, mayLogIn } */
  constructor(file, options) {
    this.#file = file;
    this.#options = options;
  }

  /** Opens the callback listener on a random loopback port, before anything can redirect to it. */
  async listen() {
    this.#listener = createServer((request, response) => {
      response.end("You can close this page.");
      this.callback = new URL(request.url, "http://localhost").searchParams;
    });
    await new Promise((resolve) => this.#listener.listen(0, "127.0.0.1", resolve));
  }

  close() {
    this.#listener.close();
    this.#listener.closeAllConnections();
  }

  #read() {
    return existsSync(this.#file) ? JSON.parse(readFileSync(this.#file, "utf8")) : {};
  }

  #write(changes) {
    writeFileSync(this.#file, JSON.stringify({ ...this.#read(), ...changes }), { mode: 0o600 });
  }

  get redirectUrl() {
    return `http://127.0.0.1:${this.#listener.address().port}/callback`;
  }

  /** Where it is not registered but known: the URL of its metadata document. */
  get clientMetadataUrl() {
    return process.env.E2E_METADATA_URL;
  }

  get clientMetadata() {
    return {
      client_name: "Doorward e2e client",
      redirect_uris: [this.redirectUrl],
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      token_endpoint_auth_method: "none",
      application_type: "native",
    };
  }

  state() {
    this.#state = randomBytes(16).toString("base64url");
    return this.#state;
  }

  clientInformation() {
    return this.#read().client;
  }

  saveClientInformation(client) {
    this.#write({ client });
  }

  tokens() {
    return this.#read().tokens;
  }

  saveTokens(tokens) {
    this.#write({ tokens });
  }

  saveCodeVerifier(verifier) {
    this.#write({ verifier });
  }

  codeVerifier() {
    return this.#read().verifier;
  }

  /** Which authorization server the login was begun at: a code must not go to another. */
  saveDiscoveryState(discovery) {
    this.#write({ discovery });
  }

  discoveryState() {
    return this.#read().discovery;
  }

  invalidateCredentials(scope) {
    const gone = { client: undefined, tokens: undefined, verifier: undefined, discovery: undefined };
    this.#write(scope === "all" ? gone : scope in gone ? { [scope]: undefined } : {});
  }

  async redirectToAuthorization(url) {
    if (!this.#options.mayLogIn) {
      throw new Error(`a login was not expected: ${url}`);
    }
    await login(url, this.#options.username, this.#options.password);
    if (this.callback?.get("state") !== this.#state) {
      throw new Error(`the callback came with state ${this.callback?.get("state")}, not ${this.#state}`);
    }
  }
}
