"""What was done, told on the page that comes after it."""

from __future__ import annotations

import secrets
import threading

#: Notes that are kept; an older one is not told any more.
MOST_NOTES = 50


class Notes:
    """Lines by a key that goes into an address: a link from elsewhere can't make the page say anything."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, text: str) -> str:
        """Keep a line; returns its key."""
        key = secrets.token_urlsafe(6)
        with self._lock:
            self._texts[key] = text
            while len(self._texts) > MOST_NOTES:
                del self._texts[next(iter(self._texts))]
        return key

    def read(self, key: str) -> str:
        """The line; empty where there is none."""
        return self._texts.get(key, "")
