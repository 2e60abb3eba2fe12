"""What one start of a Python client does, whichever SDK it is made with.

Connects (logging in if it has to), lists the tools, makes the calls it is asked for, and prints what it saw
as one line of JSON.

usage: python sdk_vN.py URL STORE [--pause] [--legacy]
  --pause   after the calls print "paused", read from stdin by how many seconds the clock is to move, and
            make the calls again
  --legacy  begin with `initialize`, without asking for the modern revision (2.x only)
environment: E2E_CALLS, a JSON list of [tool, arguments]; E2E_STEP_UP, with which the words of a call that
fails are its answer; BROWSER, which is sent the authorization URL;
E2E_METADATA_URL, the URL of the client's metadata document, if it has one;
E2E_CLOCK, by how many seconds the clock has moved since the first start
"""

import asyncio
import json
import os
import sys
import time
import webbrowser
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

DEADLINE = 100
METADATA_URL = os.environ.get("E2E_METADATA_URL")


class FileStorage:
    """Keeps everything in one JSON file, as a desktop client keeps its tokens."""

    def __init__(self, path):
        self.path = Path(path)

    def _read(self):
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def _write(self, name, value):
        self.path.write_text(json.dumps({**self._read(), name: value.model_dump(mode="json", exclude_none=True)}))

    async def get_tokens(self):
        stored = self._read().get("tokens")
        return OAuthToken.model_validate(stored) if stored else None

    async def set_tokens(self, tokens):
        self._write("tokens", tokens)

    async def get_client_info(self):
        stored = self._read().get("client")
        return OAuthClientInformationFull.model_validate(stored) if stored else None

    async def set_client_info(self, client_info):
        self._write("client", client_info)


class Callback:
    """The listener on a random loopback port that the browser comes back to."""

    async def listen(self):
        self.arrived = asyncio.get_running_loop().create_future()
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/callback"

    async def _answer(self, reader, writer):
        _method, target, _version = (await reader.readline()).decode().split()
        while (await reader.readline()).strip():
            pass
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        query = parse_qs(urlsplit(target).query)
        self.arrived.set_result({name: values[0] for name, values in query.items()})

    async def wait(self):
        query = await asyncio.wait_for(self.arrived, DEADLINE)
        self.arrived = asyncio.get_running_loop().create_future()
        if "code" not in query:
            raise RuntimeError(f"the browser came back with {query}")
        return query


async def open_browser(url):
    # In a thread: it returns when the browser does, and the callback has to be answered before.
    opened = await asyncio.to_thread(webbrowser.open, url)
    if not opened:
        raise RuntimeError("no browser could be opened")


def plain(result):
    """A result as it was on the wire, without what was null."""
    whole = result.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {name: whole[name] for name in ("content", "structuredContent") if name in whole}


async def call(session, name, arguments):
    try:
        return plain(await session.call_tool(name, arguments))
    except Exception as error:
        if "E2E_STEP_UP" not in os.environ:
            raise
        return {"error": str(error)}


async def calls(session):
    return [await call(session, name, arguments) for name, arguments in json.loads(os.environ["E2E_CALLS"])]


def move_clock(seconds):
    now = time.time
    time.time = lambda: now() + seconds


async def life(sdk):
    """sdk: provider(url, metadata, storage, callback) and connect(url, provider), a context manager that
    gives (session, protocol revision)."""
    url, store, *flags = sys.argv[1:]
    callback = Callback()
    await callback.listen()
    metadata = OAuthClientMetadata(
        client_name="Doorward e2e client",
        redirect_uris=[callback.uri],
        token_endpoint_auth_method="none",
    )
    provider = sdk.provider(url, metadata, FileStorage(store), callback)
    async with sdk.connect(url, provider) as (session, protocol):
        tools = sorted(tool.name for tool in (await session.list_tools()).tools)
        answers = await calls(session)
        if "--pause" in flags:
            print("paused", flush=True)
            move_clock(float(await asyncio.to_thread(sys.stdin.readline)))
            answers = await calls(session)
    print(json.dumps({"protocol": protocol, "tools": tools, "answers": answers}), flush=True)


def run(sdk):
    move_clock(float(os.environ.get("E2E_CLOCK", "0")))
    asyncio.run(asyncio.wait_for(life(sdk), DEADLINE))
