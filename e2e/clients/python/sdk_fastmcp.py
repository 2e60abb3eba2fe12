"""The client that comes with FastMCP. It opens the browser and keeps its tokens by itself."""

import sys
from contextlib import asynccontextmanager

import client
from fastmcp import Client
from fastmcp.client.auth import OAuth
from key_value.aio.stores.filetree import (
    FileTreeStore,
    FileTreeV1CollectionSanitizationStrategy,
    FileTreeV1KeySanitizationStrategy,
)


def provider(url, metadata, storage, callback):
    folder = storage.path
    folder.mkdir(exist_ok=True)
    # Its keys are URLs: without these they would be paths.
    store = FileTreeStore(
        data_directory=folder,
        key_sanitization_strategy=FileTreeV1KeySanitizationStrategy(folder),
        collection_sanitization_strategy=FileTreeV1CollectionSanitizationStrategy(folder),
    )
    return OAuth(token_storage=store, client_metadata_url=client.METADATA_URL)


@asynccontextmanager
async def connect(url, provider):
    async with Client(url, auth=provider) as connected:
        yield connected.session, connected.session.protocol_version


client.run(sys.modules[__name__])
