"""Task ids that prove themselves: who knows the deployment's key can tell an issued id from an invented one.

So a submit call writes nothing to storage, and an id that no worker has touched yet still reads as `queued`.

An id has 30 characters of Crockford's base 32 (lower case, no i, l, o, u): 10 of time, 12 of chance, 8 of proof.
The time counts down, so that a bucket listing, which is alphabetical, shows the newest task first.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME, _CHANCE, _PROOF = 10, 12, 8
_LAST_MS = 32**_TIME - 1
#: Size of the deployment's key, in bytes.
KEY_BYTES = 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def new_key() -> bytes:
    """A fresh random key for a deployment."""
    return secrets.token_bytes(KEY_BYTES)


@dataclass(frozen=True)
class TaskIds:
    """Makes and recognises the task ids of one deployment."""

    key: bytes = field(repr=False)
    #: Keys that ids were made with before: their ids are still known.
    retired: tuple[bytes, ...] = field(default=(), repr=False)

    def new(self, at: datetime) -> str:
        """A fresh id for a task submitted at `at`."""
        return self._seal(at, secrets.randbits(5 * _CHANCE))

    def derive(self, seed: str, at: datetime) -> str:
        """The one id that belongs to `seed` (an idempotency key, a message id, a parent task and a position)."""
        digest = hmac.digest(self.key, b"derive\0" + seed.encode(), hashlib.sha256)
        return self._seal(at, int.from_bytes(digest[:8], "big") & ((1 << 5 * _CHANCE) - 1))

    def issued(self, task_id: str) -> bool:
        """Return whether this deployment made that id."""
        if not well_formed(task_id):
            return False
        body, proof = task_id[:-_PROOF], task_id[-_PROOF:]
        return any(hmac.compare_digest(_proof(key, body), proof) for key in (self.key, *self.retired))

    def submitted_at(self, task_id: str) -> datetime:
        """When an issued id was made, to the millisecond. Raises `ValueError` for any other id."""
        if not self.issued(task_id):
            raise ValueError(f"not an id of this deployment: {task_id}")
        value = 0
        for character in task_id[:_TIME]:
            value = value * 32 + _ALPHABET.index(character)
        return _EPOCH + timedelta(milliseconds=_LAST_MS - value)

    def _seal(self, at: datetime, chance: int) -> str:
        body = _encode(_LAST_MS - (at - _EPOCH) // timedelta(milliseconds=1), _TIME) + _encode(chance, _CHANCE)
        return body + _proof(self.key, body)


def well_formed(task_id: str) -> bool:
    """Return whether some deployment may have made that id."""
    return len(task_id) == _TIME + _CHANCE + _PROOF and all(character in _ALPHABET for character in task_id)


def _proof(key: bytes, body: str) -> str:
    digest = hmac.digest(key, b"proof\0" + body.encode(), hashlib.sha256)
    return _encode(int.from_bytes(digest[:5], "big"), _PROOF)


def _encode(value: int, length: int) -> str:
    characters = []
    for _ in range(length):
        value, digit = divmod(value, 32)
        characters.append(_ALPHABET[digit])
    return "".join(reversed(characters))
