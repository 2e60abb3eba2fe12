"""An MCP server made with the Python SDK, protected by the SDK's own authorization server, whose tokens last for
seconds. Everybody who asks is let in.

usage: python protected_server.py SECONDS
  listens on a free port, prints its URL, and ends when stdin does
"""

import json
import os
import secrets
import socket
import sys
import threading
import time

import uvicorn
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.auth.provider import AccessToken, AuthorizationCode, RefreshToken, construct_redirect_uri
from mcp.server.auth.settings import AuthSettings, ClientRegistrationOptions, RevocationOptions
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import OAuthToken

LIFETIME = int(sys.argv[1])
SCOPES = ["notes:read"]

history = {"registrations": 0, "logins": 0, "refreshes": 0, "revocations": 0, "serial": 0}


class Provider:
    """Keeps everything in memory."""

    def __init__(self):
        self.clients, self.codes, self.access, self.refresh, self.serials = {}, {}, {}, {}, {}

    async def get_client(self, client_id):
        return self.clients.get(client_id)

    async def register_client(self, client_info):
        history["registrations"] += 1
        self.clients[client_info.client_id] = client_info

    async def authorize(self, client, params):
        history["logins"] += 1
        code = AuthorizationCode(
            code=secrets.token_urlsafe(32),
            client_id=client.client_id,
            redirect_uri=params.redirect_uri,
            redirect_uri_provided_explicitly=params.redirect_uri_provided_explicitly,
            expires_at=time.time() + 60,
            scopes=params.scopes or SCOPES,
            code_challenge=params.code_challenge,
            resource=params.resource,
        )
        self.codes[code.code] = code
        return construct_redirect_uri(str(params.redirect_uri), code=code.code, state=params.state)

    async def load_authorization_code(self, client, authorization_code):
        return self.codes.get(authorization_code)

    async def exchange_authorization_code(self, client, authorization_code):
        del self.codes[authorization_code.code]
        return self.issue(client, authorization_code.scopes, authorization_code.resource)

    async def load_refresh_token(self, client, refresh_token):
        return self.refresh.get(refresh_token)

    async def exchange_refresh_token(self, client, refresh_token, scopes):
        history["refreshes"] += 1
        del self.refresh[refresh_token.token]
        return self.issue(client, scopes or refresh_token.scopes, refresh_token.resource)

    async def load_access_token(self, token):
        return self.access.get(token)

    async def revoke_token(self, token):
        history["revocations"] += 1
        self.access.pop(token.token, None)
        self.refresh.pop(token.token, None)

    def issue(self, client, scopes, resource):
        history["serial"] += 1
        access, refresh = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        kept = {"client_id": client.client_id, "scopes": scopes, "resource": resource}
        self.access[access] = AccessToken(token=access, expires_at=int(time.time()) + LIFETIME, **kept)
        self.refresh[refresh] = RefreshToken(token=refresh, **kept)
        self.serials[access] = history["serial"]
        return OAuthToken(
            access_token=access,
            refresh_token=refresh,
            token_type="Bearer",
            expires_in=LIFETIME,
            scope=" ".join(scopes),
        )


def end_with_stdin():
    sys.stdin.read()
    os._exit(0)


listener = socket.create_server(("127.0.0.1", 0))
origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
provider = Provider()
server = MCPServer(
    "protected",
    auth_server_provider=provider,
    auth=AuthSettings(
        issuer_url=origin,
        resource_server_url=f"{origin}/mcp",
        required_scopes=SCOPES,
        validate_token_resource=True,
        client_registration_options=ClientRegistrationOptions(
            enabled=True, valid_scopes=SCOPES, default_scopes=SCOPES
        ),
        revocation_options=RevocationOptions(enabled=True),
    ),
)


@server.tool(name="history")
async def tell_history() -> str:
    """What happened so far."""
    token = get_access_token()
    return json.dumps({**history, "used": provider.serials[token.token], "scopes": token.scopes})


print(f"{origin}/mcp", flush=True)
threading.Thread(target=end_with_stdin, daemon=True).start()
uvicorn.Server(uvicorn.Config(server.streamable_http_app(), log_level="warning")).run(sockets=[listener])
