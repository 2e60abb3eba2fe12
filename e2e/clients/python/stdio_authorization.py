"""A client of servers that tell over stdio what authorization they need (docs/stdio-authorization.md), on the Python SDK. It
knows of no server and of no provider: everything comes from what the server says. It logs in itself.

usage: python stdio_authorization.py [--own-login] -- COMMAND ARGUMENTS...
stdin:  one JSON array ["tool", {arguments}] for each call
stdout: one JSON object for each thing that it saw: entry, tools, refusal, authorize, result, failure
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import secrets
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from mcp import ClientSession, StdioServerParameters, stdio_client

try:
    from mcp import MCPError
except ImportError:
    from mcp import McpError as MCPError

EXTENSION = "io.doorward/authorization"
TOKEN = "io.doorward/token"
# How often a call is made before its user is told that it cannot be done.
TRIES = 3
# The longest answer of an authorization server, and how long it may take.
LONGEST, PATIENCE = 1 << 20, 30


class NoRedirects(HTTPRedirectHandler):
    """Codes and tokens go nowhere else than where they were sent."""

    def redirect_request(self, *_):
        return None


opener = build_opener(NoRedirects)


def saw(what, **more):
    print(json.dumps({"saw": what, **more}), flush=True)


def fetch(url, body=None, content_type=None):
    headers = {"Accept": "application/json", **({"Content-Type": content_type} if content_type else {})}
    with opener.open(Request(url, data=body, headers=headers), timeout=PATIENCE) as answer:
        return json.loads(answer.read(LONGEST))


def well_known(issuer):
    """RFC 8414 section 3.1 and OpenID Connect Discovery: the places where an issuer has its metadata."""
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    yield f"{origin}/.well-known/oauth-authorization-server{path}"
    yield f"{origin}/.well-known/openid-configuration{path}"
    yield f"{origin}{path}/.well-known/openid-configuration"


def metadata_of(inline):
    """The issuer's own metadata, which the inline one must not contradict."""
    for place in well_known(inline["issuer"]):
        try:
            own = fetch(place)
        except HTTPError as error:
            if error.code == 404:
                continue
            raise
        if own.get("issuer") != inline["issuer"]:
            raise ValueError("the metadata is of another issuer")
        for endpoint in ("authorization_endpoint", "token_endpoint", "registration_endpoint"):
            if endpoint in inline and inline[endpoint] != own.get(endpoint):
                raise ValueError(f"the server and its issuer name different {endpoint}s")
        if "S256" not in own.get("code_challenge_methods_supported", []):
            raise ValueError("the authorization server has no PKCE with S256")
        return own
    raise ValueError(f"{inline['issuer']} has no metadata")


class Callback:
    """Waits for the browser on a free loopback port."""

    def __init__(self):
        queries = self.queries = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                url = urlsplit(self.path)
                self.send_response(200 if url.path == "/callback" else 404)
                self.end_headers()
                if url.path == "/callback":
                    queries.append({name: values[0] for name, values in parse_qs(url.query).items()})

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.redirect_uri = f"http://127.0.0.1:{self.server.server_port}/callback"

    def wait(self, state):
        # Others may knock as well: only the answer to our own request counts.
        while True:
            self.server.handle_request()
            for query in self.queries:
                if hmac.compare_digest(query.get("state", ""), state):
                    return query
            self.queries.clear()

    def close(self):
        self.server.server_close()


def authorize(needed, scopes):
    """A token for these scopes: the authorization code flow (OAuth 2.1), from what the refusal says."""
    inline = needed["authorization_servers"][0]
    metadata = metadata_of(inline)
    callback = Callback()
    try:
        client_id = inline.get("client_id")
        if "registration_endpoint" in metadata:
            about = {"client_name": "stdio-authorization", "redirect_uris": [callback.redirect_uri], "token_endpoint_auth_method": "none"}
            client_id = fetch(metadata["registration_endpoint"], json.dumps(about).encode(), "application/json")["client_id"]
        if client_id is None:
            raise ValueError("there is no way to a client id: use login_url")
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(32)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code", "client_id": client_id, "redirect_uri": callback.redirect_uri, "state": state,
            "code_challenge": challenge, "code_challenge_method": "S256", "resource": needed["resource"], "scope": " ".join(scopes),
        }
        endpoint = metadata["authorization_endpoint"]
        saw("authorize", url=f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(asked)}")
        answer = callback.wait(state)
        # RFC 9207: the answer is of the server that was asked.
        if "iss" in answer or metadata.get("authorization_response_iss_parameter_supported"):
            if answer.get("iss") != metadata["issuer"]:
                raise ValueError("this answer comes from another issuer")
        if "error" in answer:
            raise ValueError(f"the login was refused: {answer['error']}")
        form = {
            "grant_type": "authorization_code", "code": answer["code"], "redirect_uri": callback.redirect_uri,
            "client_id": client_id, "code_verifier": verifier, "resource": needed["resource"],
        }
        tokens = fetch(metadata["token_endpoint"], urlencode(form).encode(), "application/x-www-form-urlencoded")
        return {"token": tokens["access_token"], "scopes": tokens["scope"].split() if "scope" in tokens else scopes}
    finally:
        callback.close()


class Client:
    def __init__(self, session):
        self.session = session
        self.granted = None

    async def call(self, name, arguments):
        for _ in range(TRIES):
            meta = {TOKEN: self.granted["token"]} if self.granted else None
            try:
                return await self.session.call_tool(name, arguments, meta=meta)
            except MCPError as error:
                needed = (error.error.data or {}).get("authorization", {})
                if needed.get("type") != "oauth2":
                    raise
                saw("refusal", tool=name, code=error.error.code, authorization=needed)
            if needed.get("error") == "temporarily_unavailable":
                raise ValueError("nobody can be asked whether the token is good")
            # What was granted before and what is needed now.
            scopes = sorted({*(self.granted or {}).get("scopes", []), *needed["scopes"]})
            self.granted = None
            self.granted = await asyncio.to_thread(authorize, needed, scopes)
        raise ValueError(f"{name} was refused {TRIES} times")


def plain(value):
    return value.model_dump(mode="json", by_alias=True, exclude_none=True)


async def main():
    command, *arguments = sys.argv[sys.argv.index("--") + 1 :]
    server = StdioServerParameters(command=command, args=arguments, env=dict(os.environ))
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        greeting = plain(await session.initialize())
        saw("entry", entry=greeting["capabilities"].get("experimental", {}).get(EXTENSION))
        tools = plain(await session.list_tools())["tools"]
        saw("tools", tools=[{"name": tool["name"], "authorization": tool.get("_meta", {}).get(EXTENSION)} for tool in tools])
        client = Client(session)
        while line := await asyncio.to_thread(sys.stdin.readline):
            tool, given = json.loads(line)
            try:
                saw("result", tool=tool, result=plain(await client.call(tool, given)))
            except (MCPError, ValueError, OSError) as error:
                saw("failure", tool=tool, why=str(error))


asyncio.run(main())
