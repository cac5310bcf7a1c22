"""What a deployment keeps for itself in its bucket: the keys behind its task ids.

The object holds the current key, and behind it those that were current before: a new key is put in front of the others,
and ids made with an old one stay known. Processes keep what they have read; one that meets an id it does not know reads
the object again (`reload_task_ids`).
"""

from __future__ import annotations

import contextlib

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import ConfigError, ObjectNotFound, PreconditionFailed
from poolhouse.pipeline.store import ABSENT, ObjectStore
from poolhouse.pipeline.tasks.task_ids import KEY_BYTES, TaskIds, new_key


def load_task_ids(store: ObjectStore) -> TaskIds:
    """Read the deployment's keys, or make one where there is none yet; of many that make it at once, one does.

    Raises:
        StoreUnavailable: the bucket does not answer.
        ConfigError: the object that holds the keys is not one.
    """
    try:
        return _read(store)[0]
    except ObjectNotFound:
        # Where another process made it, or our own answer was lost, what counts is what is there.
        _write(store, TaskIds(new_key()), ABSENT)
        return _read(store)[0]


def reload_task_ids(store: ObjectStore, known: TaskIds) -> TaskIds:
    """Read the keys again, and add those of `known` that are missing: the object was deleted while processes ran.

    Raises:
        StoreUnavailable: the bucket does not answer.
        ConfigError: the object that holds the keys is not one.
    """
    try:
        found, generation = _read(store)
    except ObjectNotFound:
        _write(store, known, ABSENT)
        found, generation = _read(store)
    missing = tuple(key for key in (known.key, *known.retired) if key not in {found.key, *found.retired})
    if missing:
        found = TaskIds(found.key, retired=(*found.retired, *missing))
        _write(store, found, generation)
    return found


def _read(store: ObjectStore) -> tuple[TaskIds, int]:
    data, info = store.get(names.TASK_ID_KEY)
    if not data or len(data) % KEY_BYTES:
        raise ConfigError(
            f"{names.TASK_ID_KEY} in the bucket has {len(data)} bytes, and keys have {KEY_BYTES} each: delete it"
        )
    key, *retired = (data[start : start + KEY_BYTES] for start in range(0, len(data), KEY_BYTES))
    return TaskIds(key, retired=tuple(retired)), info.generation


def _write(store: ObjectStore, ids: TaskIds, generation: int) -> None:
    with contextlib.suppress(PreconditionFailed):
        store.put(
            names.TASK_ID_KEY,
            b"".join((ids.key, *ids.retired)),
            content_type="application/octet-stream",
            if_generation=generation,
        )
