"""Pages of a listing, with opaque tokens that stay valid while resources come and go."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

from poolhouse_pubsub.status import invalid

#: Most names on a page, and the default for page_size 0.
PAGE_SIZE = 1_000
DEFAULT_PAGE_SIZE = 100

_MARK = b"v1\x00"


def page(names: Iterable[str], *, size: int, token: str) -> tuple[list[str], str]:
    """One page of names in their order, and the token of the next one ("" after the last).

    A negative size is taken as 0: what the service does with it is not documented, and Google's emulator does this.

    Raises:
        StatusError: INVALID_ARGUMENT for a token that was not given by us.
    """
    after = _decode(token) if token else ""
    rest = sorted(name for name in names if name > after)
    count = min(size if size > 0 else DEFAULT_PAGE_SIZE, PAGE_SIZE)
    chosen = rest[:count]
    return chosen, _encode(chosen[-1]) if len(rest) > count else ""


def _encode(name: str) -> str:
    return base64.urlsafe_b64encode(_MARK + name.encode()).decode().rstrip("=")


def _decode(token: str) -> str:
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        if raw.startswith(_MARK):
            return raw[len(_MARK) :].decode()
    except (binascii.Error, ValueError):
        pass  # refused below, like any other token that is not ours
    raise invalid("Invalid page_token: pass the next_page_token of the page before, unchanged.")
