"""Where requests begin and end, however their bytes are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poolhouse.local.storage.proxy.http import NotHttp
from poolhouse.local.storage.proxy.request_stream import MAX_HEAD_BYTES, RequestHead, RequestStream

PLAIN = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nX-Two: 1\r\nx-two: 2\r\n\r\n"
WITH_BODY = b"POST /b HTTP/1.1\r\nContent-Length: 24\r\n\r\nGET /evil HTTP/1.1\r\n\r\nxy"
CHUNKED = (
    b"PUT /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;name=value\r\nGET /\r\n1a\r\nGET /evil HTTP/1.1\r\nHost: x\r\n0\r\nTrailer: GET / HTTP/1.1\r\n\r\n"
)
ALL = PLAIN + WITH_BODY + CHUNKED + PLAIN


def read(pieces: list[bytes]) -> tuple[list[str], bytes]:
    stream, heads, passed = RequestStream(), [], b""
    for piece in pieces:
        for part in stream.feed(piece):
            if isinstance(part, RequestHead):
                heads.append(f"{part.method} {part.target}")
                passed += part.raw
            else:
                passed += part
    return heads, passed


@given(cuts=st.lists(st.integers(0, len(ALL)), max_size=20))
def test_heads_are_found_and_every_byte_is_kept_however_they_are_cut(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(ALL)]
    heads, passed = read([ALL[start:end] for start, end in pairwise(places)])
    assert heads == ["GET /a?b=c", "POST /b", "PUT /c", "GET /a?b=c"]
    assert passed == ALL


def test_a_field_that_occurs_twice_has_both_values() -> None:
    (head,) = RequestStream().feed(PLAIN)
    assert isinstance(head, RequestHead)
    assert head.headers == {"host": "x", "x-two": "1, 2"}


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nno field\r\n\r\n",
        b"GET / HTTP/1.1\r\n Folded: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nnine\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD_BYTES,
    ],
)
def test_what_is_not_clear_is_refused(request_bytes: bytes) -> None:
    with pytest.raises(NotHttp):
        read([request_bytes])
