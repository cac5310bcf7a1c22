"""What a proxy has seen: one request and what the server made of it."""

from __future__ import annotations

from dataclasses import dataclass

#: Bodies longer than this are passed on piece by piece, and not shown.
SHOWN_BYTES = 256 * 1024


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One request that reached the server, and the server's answer, whatever the client got of it.

    Attributes:
        method: the HTTP method.
        target: path and query.
        sent: the request's body; None where it is longer than `SHOWN_BYTES` or comes in chunks.
        status: the code of the server's answer.
        answer: the answer's body; None as for `sent`.
        delivered: whether the client was sent the whole answer.
    """

    method: str
    target: str
    sent: bytes | None
    status: int
    answer: bytes | None
    delivered: bool
