"""A client made with the Python SDK 2.x, which finds out the protocol revision by itself."""

import sys
from contextlib import asynccontextmanager

import client
import httpx2
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client

MODE = "legacy" if "--legacy" in sys.argv else "auto"


def provider(url, metadata, storage, callback):
    async def finished():
        query = await callback.wait()
        # It checks `iss` against the metadata before it sends the code (RFC 9207).
        return AuthorizationCodeResult(code=query["code"], state=query["state"], iss=query.get("iss"))

    return OAuthClientProvider(
        url, metadata, storage, client.open_browser, finished, client_metadata_url=client.METADATA_URL
    )


@asynccontextmanager
async def connect(url, provider):
    async with (
        httpx2.AsyncClient(auth=provider, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http), mode=MODE) as session,
    ):
        yield session, session.protocol_version


if __name__ == "__main__":
    client.run(sys.modules[__name__])
