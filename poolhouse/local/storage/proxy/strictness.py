"""What Cloud Storage refuses and fake-gcs-server takes: preconditions that do not hold, and names of other objects.

The server keeps objects as files: `a/../b` is the object `b`, `../c` is a file beside the bucket, and `a//b` is `a/b`.
Cloud Storage takes all of them as names like any others. Here they are refused, and so no name means another object.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from poolhouse.local.storage.proxy import preconditions
from poolhouse.local.storage.proxy.preconditions import Precondition
from poolhouse.local.storage.proxy.requests import Request, StoredObject

#: Cloud Storage, Object naming.
MAX_NAME_BYTES = 1024
#: Upload sessions with preconditions that are remembered.
_SESSIONS = 10_000


@dataclass(frozen=True)
class Refusal:
    """An answer in the server's stead."""

    status: int
    reason: str
    message: str

    def body(self) -> bytes:
        """As Cloud Storage writes it (JSON API, Errors); a 304 has none."""
        if self.status == 304:
            return b""
        error = {
            "code": self.status,
            "message": self.message,
            "errors": [{"message": self.message, "reason": self.reason}],
        }
        return json.dumps({"error": error}).encode()


class Strictness:
    """Refuses what Cloud Storage would refuse. One for all connections of a proxy, on one event loop."""

    def __init__(self, look: Callable[[StoredObject], Awaitable[Mapping[str, Any] | None]]) -> None:
        """Args: look: returns the properties of an object; None where it is absent."""
        self._look = look
        self._sessions: OrderedDict[str, tuple[Precondition, ...]] = OrderedDict()
        self._locks: dict[StoredObject, tuple[asyncio.Lock, int]] = {}

    @contextlib.asynccontextmanager
    async def judged(self, request: Request) -> AsyncIterator[Refusal | None]:
        """Give the refusal of a request, or None where it is to be passed on within the block.

        Of requests with preconditions on one object, one at a time is judged and passed on. What writes it without any,
        or goes past the proxy, may come in between. The bytes of an upload in one request are not waited for.
        """
        refused = _name_refused(request)
        conditions = preconditions.of(request)
        if request.completes_session:
            conditions = self._sessions.get(request.session or "", ())
        if refused is not None or not conditions:
            yield refused
            return
        alone = self._alone(conditions[0].object) if not request.is_upload else contextlib.nullcontext()
        async with alone:
            yield await self._refusal(request, conditions)

    def opened(self, request: Request, location: str) -> None:
        """Remember the preconditions of an upload session for its end.

        Args:
            request: the one that opened it.
            location: its address.
        """
        session = Request("PUT", location).session
        conditions = preconditions.of(request)
        if session is not None and conditions:
            self._sessions[session] = conditions
            while len(self._sessions) > _SESSIONS:
                self._sessions.popitem(last=False)

    async def _refusal(self, request: Request, conditions: tuple[Precondition, ...]) -> Refusal | None:
        for condition in conditions:
            status = condition.refusal(request, await self._look(condition.object))
            if status is not None:
                return Refusal(
                    status, "conditionNotMet", "At least one of the pre-conditions you specified did not hold."
                )
        return None

    @contextlib.asynccontextmanager
    async def _alone(self, stored: StoredObject) -> AsyncIterator[None]:
        lock, users = self._locks.get(stored, (asyncio.Lock(), 0))
        self._locks[stored] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks.pop(stored)
            if users > 1:
                self._locks[stored] = (lock, users - 1)


def _name_refused(request: Request) -> Refusal | None:
    for name in request.names():
        if len(name.encode(errors="surrogatepass")) > MAX_NAME_BYTES:
            return Refusal(400, "invalid", f"The name of an object has at most {MAX_NAME_BYTES} bytes.")
        if not {"", ".", ".."}.isdisjoint(name.split("/")):
            return Refusal(
                400,
                "invalid",
                f"The object name {name!r} has an empty, '.' or '..' segment. Cloud Storage takes it; the local server "
                "would take it for another name.",
            )
    return None
