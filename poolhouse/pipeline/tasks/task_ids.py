"""Task ids that prove themselves: who knows the deployment's key can tell an issued id from an invented one.

So a submit call writes nothing to storage, and an id that no worker has touched yet still reads as `queued`.

An id has 30 characters of Crockford's base 32 (lower case, no i, l, o, u): 10 of time, 12 of chance, 8 of proof.
The time counts down, so that a bucket listing, which is alphabetical, shows the newest task first.

The ids of a group's tasks share all but the last 4 characters of chance, which are the task's place in the group: a
listing shows them together and in order, and none of them has to be kept.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_TIME, _CHANCE, _PROOF = 10, 12, 8
#: Characters of chance that are the place of a task in its group.
_PLACE = 4
_LAST_MS = 32**_TIME - 1
#: The place of a group's own id; those of its tasks are below.
GROUP_PLACE = 32**_PLACE - 1
#: The first of the places that are for tasks which follow a group's members.
FIRST_AFTER_MEMBERS = GROUP_PLACE - 2
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
        return self._seal(at, _no_group(secrets.randbits(5 * _CHANCE)))

    def derive(self, seed: str, at: datetime) -> str:
        """The one id that belongs to `seed` (an idempotency key, a message id, a parent task and a position)."""
        return self._seal(at, _no_group(self._digest(seed)))

    def new_group(self, at: datetime) -> str:
        """A fresh id for a group made at `at`."""
        return self._group(at, secrets.randbits(5 * _CHANCE))

    def derive_group(self, seed: str, at: datetime) -> str:
        """The one group's id that belongs to `seed`, as `derive`."""
        return self._group(at, self._digest(seed))

    def in_group(self, group_id: str, place: int) -> str:
        """The id of the task at a place of a group.

        Raises:
            ValueError: `group_id` is no group's of this deployment.
        """
        key = self._key_of(group_id)
        if key is None or not is_group(group_id):
            raise ValueError(f"not a group of this deployment: {group_id}")
        body = group_prefix(group_id) + _encode(place, _PLACE)
        return body + _proof(key, body)

    def place_of(self, task_id: str) -> tuple[str, int]:
        """The group, if there is one of that id, that an issued id belongs to, and its place there.

        Any id has a place; that of a task that belongs to no group names a group that was never made.

        Raises:
            ValueError: this deployment never issued that id.
        """
        key = self._key_of(task_id)
        if key is None:
            raise ValueError(f"not an id of this deployment: {task_id}")
        prefix = group_prefix(task_id)
        body = prefix + _encode(GROUP_PLACE, _PLACE)
        return body + _proof(key, body), _decode(task_id[len(prefix) : len(body)])

    def issued(self, task_id: str) -> bool:
        """Return whether this deployment made that id."""
        return self._key_of(task_id) is not None

    def submitted_at(self, task_id: str) -> datetime:
        """When an issued id was made, to the millisecond. Raises `ValueError` for any other id."""
        if not self.issued(task_id):
            raise ValueError(f"not an id of this deployment: {task_id}")
        return _EPOCH + timedelta(milliseconds=_LAST_MS - _decode(task_id[:_TIME]))

    def _digest(self, seed: str) -> int:
        digest = hmac.digest(self.key, b"derive\0" + seed.encode(), hashlib.sha256)
        return int.from_bytes(digest[:8], "big") & ((1 << 5 * _CHANCE) - 1)

    def _group(self, at: datetime, chance: int) -> str:
        return self._seal(at, chance | GROUP_PLACE)

    def _key_of(self, task_id: str) -> bytes | None:
        """The key that an id was made with; None if this deployment never made it."""
        if not well_formed(task_id):
            return None
        body, proof = task_id[:-_PROOF], task_id[-_PROOF:]
        keys = (key for key in (self.key, *self.retired) if hmac.compare_digest(_proof(key, body), proof))
        return next(keys, None)

    def _seal(self, at: datetime, chance: int) -> str:
        body = _encode(_LAST_MS - (at - _EPOCH) // timedelta(milliseconds=1), _TIME) + _encode(chance, _CHANCE)
        return body + _proof(self.key, body)


def well_formed(task_id: str) -> bool:
    """Return whether some deployment may have made that id."""
    return len(task_id) == _TIME + _CHANCE + _PROOF and all(character in _ALPHABET for character in task_id)


def _no_group(chance: int) -> int:
    """Chance that makes no id of a group."""
    return chance ^ 1 if chance & GROUP_PLACE == GROUP_PLACE else chance


def is_group(task_id: str) -> bool:
    """Return whether an issued id is a group's."""
    return task_id[: _TIME + _CHANCE].endswith(_encode(GROUP_PLACE, _PLACE))


def group_prefix(group_id: str) -> str:
    """What the ids of a group's tasks begin with."""
    return group_id[: _TIME + _CHANCE - _PLACE]


def members_between(group_id: str) -> tuple[str, str]:
    """What the ids of a group's members are not before, and what they are all before."""
    prefix = group_prefix(group_id)
    return prefix, prefix + _encode(FIRST_AFTER_MEMBERS, _PLACE)


def _proof(key: bytes, body: str) -> str:
    digest = hmac.digest(key, b"proof\0" + body.encode(), hashlib.sha256)
    return _encode(int.from_bytes(digest[:5], "big"), _PROOF)


def _encode(value: int, length: int) -> str:
    characters = []
    for _ in range(length):
        value, digit = divmod(value, 32)
        characters.append(_ALPHABET[digit])
    return "".join(reversed(characters))


def _decode(text: str) -> int:
    value = 0
    for character in text:
        value = value * 32 + _ALPHABET.index(character)
    return value
