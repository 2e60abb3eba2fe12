"""What a service made with a Python SDK does: it has a secret or a key, and no person.

usage: python service_vN.py URL ISSUER CLIENT_ID secret SECRET
       python service_vN.py URL ISSUER CLIENT_ID key FILE
  FILE   a private key in PEM, for ES256
"""

import asyncio
import json
import sys
from pathlib import Path

import client
from mcp.client.auth.extensions.client_credentials import (
    ClientCredentialsOAuthProvider,
    PrivateKeyJWTOAuthProvider,
    SignedJWTParameters,
)


class Memory:
    """Keeps tokens for as long as it runs."""

    def __init__(self):
        self.tokens = self.client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client_info):
        self.client = client_info


def provider(url, issuer, client_id, kind, credential):
    if kind == "secret":
        return ClientCredentialsOAuthProvider(url, Memory(), client_id, credential, issuer=issuer)
    key = Path(credential).read_text()
    signed = SignedJWTParameters(issuer=client_id, subject=client_id, signing_key=key, signing_algorithm="ES256")
    return PrivateKeyJWTOAuthProvider(url, Memory(), client_id, signed.create_assertion_provider(), issuer=issuer)


async def life(connect):
    url, *words = sys.argv[1:]
    async with connect(url, provider(url, *words)) as (session, protocol):
        tools = sorted(tool.name for tool in (await session.list_tools()).tools)
        answers = await client.calls(session)
    print(json.dumps({"protocol": protocol, "tools": tools, "answers": answers}), flush=True)


def run(connect):
    asyncio.run(asyncio.wait_for(life(connect), client.DEADLINE))
