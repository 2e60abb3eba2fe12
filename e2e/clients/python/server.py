"""An MCP server as people write them with FastMCP.

usage: python server.py           speaks stdio
       python server.py --http    listens on a free port, prints its URL, and ends when stdin does
"""

import os
import socket
import sys
import threading

import uvicorn
from fastmcp import Context, FastMCP
from pydantic import BaseModel

server = FastMCP("Weather")


class Forecast(BaseModel):
    city: str
    celsius: float


@server.tool
def forecast(city: str) -> Forecast:
    """Tomorrow's weather."""
    return Forecast(city=city, celsius=21.5)


@server.tool
async def count(to: int, context: Context) -> str:
    """Counts, with progress."""
    for number in range(1, to + 1):
        await context.report_progress(number, to)
    return f"counted to {to}"


@server.resource("weather://cities")
def cities() -> str:
    """What can be asked about."""
    return "Zürich, Genève"


def end_with_stdin():
    sys.stdin.read()
    os._exit(0)


if "--http" in sys.argv:
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)
    threading.Thread(target=end_with_stdin, daemon=True).start()
    uvicorn.Server(uvicorn.Config(server.http_app(), log_level="warning")).run(sockets=[listener])
else:
    server.run(show_banner=False)
