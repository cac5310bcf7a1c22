"""What a deployment keeps for itself in its bucket: the key behind its task ids."""

from __future__ import annotations

import contextlib

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import ConfigError, ObjectNotFound, PreconditionFailed
from poolhouse.pipeline.store import ABSENT, ObjectStore
from poolhouse.pipeline.task_ids import KEY_BYTES, TaskIds, new_key


def load_task_ids(store: ObjectStore) -> TaskIds:
    """Read the deployment's key, or make it where there is none yet; of many that make it at once, one does.

    Raises:
        StoreUnavailable: the bucket does not answer.
        ConfigError: the object that holds the key is not one.
    """
    try:
        key, _ = store.get(names.TASK_ID_KEY)
    except ObjectNotFound:
        # Where somebody else made it, or our own answer was lost, what counts is what is there.
        with contextlib.suppress(PreconditionFailed):
            store.put(names.TASK_ID_KEY, new_key(), content_type="application/octet-stream", if_generation=ABSENT)
        key, _ = store.get(names.TASK_ID_KEY)
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{names.TASK_ID_KEY} in the bucket has {len(key)} bytes, not {KEY_BYTES}: delete it")
    return TaskIds(key)
