"""How commands talk to the supervisor: one JSON line each way over a Unix socket in a folder of this user alone."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from poolhouse.local.errors import StackError
from poolhouse.pipeline.errors import PoolhouseError

#: A call: its name and arguments in, a JSON value out.
Handler = Callable[[str, dict[str, Any]], Awaitable[Any]]
_LONGEST_LINE_BYTES = 1_000_000
#: The address of a Unix socket has room for 104 bytes on macOS and 108 on Linux (`sockaddr_un`).
_LONGEST_PATH_BYTES = 100


def path(folder: Path) -> Path:
    """Where the socket goes: in this folder, or in a private one of its own where its path would be too long."""
    usual = folder / "control"
    if len(os.fsencode(usual)) <= _LONGEST_PATH_BYTES:
        return usual
    return Path(tempfile.mkdtemp(prefix="poolhouse-", dir="/tmp")) / "control"


async def serve(path: Path, handler: Handler) -> asyncio.AbstractServer:
    """Answer calls at a socket; `PoolhouseError` of the handler is returned to the caller."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            if not line:
                return
            request = json.loads(line)
            try:
                answer = {"answer": await handler(request["call"], request["arguments"])}
            except PoolhouseError as error:
                answer = {"error": str(error)}
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except ConnectionError:
            return  # the caller has gone; what it asked for is done
        finally:
            writer.close()

    return await asyncio.start_unix_server(connected, path=path, limit=_LONGEST_LINE_BYTES)


def call(path: Path, name: str, *, timeout_s: float = 60, **arguments: Any) -> Any:
    """Ask the supervisor.

    Raises:
        StackError: it says so, or does not answer.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(path))
            connection.sendall(json.dumps({"call": name, "arguments": arguments}).encode() + b"\n")
            with connection.makefile("rb") as answers:
                line = answers.readline()
        except OSError as error:
            raise StackError(
                f"the stack's supervisor does not answer ({error}): ./invoke down, then ./invoke up"
            ) from None
    if not line:
        raise StackError("the stack's supervisor ended before it answered")
    answer = json.loads(line)
    if "error" in answer:
        raise StackError(answer["error"])
    return answer["answer"]
