"""A client made with the Python SDK 1.x."""

import sys
from contextlib import asynccontextmanager

import client
import httpx
from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client


def provider(url, metadata, storage, callback):
    async def finished():
        query = await callback.wait()
        return query["code"], query["state"]

    return OAuthClientProvider(
        url, metadata, storage, client.open_browser, finished, client_metadata_url=client.METADATA_URL
    )


@asynccontextmanager
async def connect(url, provider):
    async with (
        httpx.AsyncClient(auth=provider, timeout=60) as http,
        streamable_http_client(url, http_client=http) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        yield session, (await session.initialize()).protocolVersion


if __name__ == "__main__":
    client.run(sys.modules[__name__])
