// The certified reference for Node, as fast as it goes: everything in memory, refresh tokens not rotated,
// access tokens as ES256 JWTs. GET /seed/N answers with N authorization codes that a person approved.
//
//     node oidc-provider.mjs PORT PACKAGES

import { createHash, generateKeyPairSync } from 'node:crypto';
import http from 'node:http';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [, , port, packages] = process.argv;
const entry = createRequire(pathToFileURL(`${packages}/`)).resolve('oidc-provider');
const { default: Provider } = await import(pathToFileURL(entry));

const resource = `http://127.0.0.1:${port}/mcp`;
const redirectUri = 'http://127.0.0.1/cb';
const verifier = 'v'.repeat(43);
const challenge = createHash('sha256').update(verifier).digest('base64url');
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

// Its own memory forgets after a thousand entries.
const memory = new Map();

class Memory {
  constructor(name) {
    this.name = name;
  }

  key(id) {
    return `${this.name}:${id}`;
  }

  async upsert(id, payload) {
    memory.set(this.key(id), payload);
  }

  async find(id) {
    return memory.get(this.key(id));
  }

  async consume(id) {
    memory.get(this.key(id)).consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    memory.delete(this.key(id));
  }

  async revokeByGrantId() {}
}

const provider = new Provider(`http://127.0.0.1:${port}`, {
  adapter: Memory,
  clients: [
    {
      client_id: 'service',
      client_secret: 's'.repeat(43),
      grant_types: ['client_credentials'],
      id_token_signed_response_alg: 'ES256',
      redirect_uris: [],
      response_types: [],
      token_endpoint_auth_method: 'client_secret_basic',
    },
    {
      application_type: 'native',
      client_id: 'native',
      grant_types: ['authorization_code', 'refresh_token'],
      id_token_signed_response_alg: 'ES256',
      redirect_uris: [redirectUri],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
    },
  ],
  cookies: { keys: ['never used'] },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      defaultResource: () => resource,
      enabled: true,
      getResourceServerInfo: () => ({
        accessTokenFormat: 'jwt',
        accessTokenTTL: 600,
        audience: resource,
        jwt: { sign: { alg: 'ES256' } },
        scope: 'demo',
      }),
      useGrantedResource: () => true,
    },
  },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  issueRefreshToken: () => true,
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig' }] },
  pkce: { required: () => true },
  rotateRefreshToken: false,
  ttl: { AuthorizationCode: 600, ClientCredentials: 600, Grant: 86400, RefreshToken: 86400 },
});

async function seed(count) {
  const client = await provider.Client.find('native');
  const forms = [];
  for (let at = 0; at < count; at += 1) {
    const grant = new provider.Grant({ accountId: 'alice', clientId: 'native' });
    grant.addResourceScope(resource, 'demo');
    const code = new provider.AuthorizationCode({
      accountId: 'alice',
      authTime: Math.floor(Date.now() / 1000),
      client,
      codeChallenge: challenge,
      codeChallengeMethod: 'S256',
      grantId: await grant.save(),
      redirectUri,
      resource,
      scope: 'demo',
    });
    forms.push([
      ['grant_type', 'authorization_code'],
      ['code', await code.save()],
      ['redirect_uri', redirectUri],
      ['client_id', 'native'],
      ['code_verifier', verifier],
      ['resource', resource],
    ]);
  }
  return forms;
}

const callback = provider.callback();
http
  .createServer(async (request, response) => {
    const [, count] = /^\/seed\/(\d+)$/.exec(request.url) ?? [];
    if (count === undefined) {
      callback(request, response);
    } else {
      response.end(JSON.stringify(await seed(Number(count))));
    }
  })
  .listen(Number(port), '127.0.0.1');
