"""The errors that callers of Poolhouse may meet: one small tree under `PoolhouseError`."""

from __future__ import annotations


class PoolhouseError(Exception):
    """Base of every error that Poolhouse raises on purpose; its text says what failed and what to do."""


class ConfigError(PoolhouseError):
    """A setting or `pipeline.toml` is wrong: the text names the variable, or the file and line."""


class InvalidName(PoolhouseError, ValueError):
    """An object name or task id that clients may not use."""


class InvalidValue(PoolhouseError, ValueError):
    """A value that can't be kept as JSON; the text names the place in it."""


class MalformedMessage(PoolhouseError, ValueError):
    """A Pub/Sub message that is not a task message; the text is the reason kept with the dead letter."""


class MessageRefused(PoolhouseError, ValueError):
    """Pub/Sub will never take this message (too large, an attribute outside its limits)."""


class ServiceUnavailable(PoolhouseError):
    """A service behind us does not answer (queue or bucket): the caller may try again later."""


class QueueUnavailable(ServiceUnavailable):
    """Pub/Sub did not take the message in time."""


class StoreUnavailable(ServiceUnavailable):
    """Cloud Storage did not answer in time, or with a 5xx or 429."""


class BucketMissing(StoreUnavailable):
    """The bucket is not there: it was never made, or is gone."""


class StoreForbidden(StoreUnavailable):
    """Cloud Storage refuses us: a role is missing, or its grant is not in force yet (IAM takes minutes)."""


class ObjectNotFound(PoolhouseError, KeyError):
    """There is no object of that name in the bucket."""

    def __str__(self) -> str:  # KeyError would show the repr of its argument
        return str(self.args[0]) if self.args else ""


class PreconditionFailed(PoolhouseError):
    """Another process wrote the object first: read it again and decide anew."""


class TaskNotFound(PoolhouseError, KeyError):
    """This deployment never issued that task id, or its record has expired."""

    def __str__(self) -> str:  # as above
        return str(self.args[0]) if self.args else ""


class GroupNotFound(PoolhouseError, KeyError):
    """There is no group of that id, or it has expired."""

    def __str__(self) -> str:  # as above
        return str(self.args[0]) if self.args else ""


class ScheduleNotFound(PoolhouseError, KeyError):
    """`pipeline.toml` declares no schedule of that name."""

    def __str__(self) -> str:  # as above
        return str(self.args[0]) if self.args else ""


class RecordUnreadable(ConfigError):
    """The object of a task's record is none that this version can read."""

    def __init__(self, message: str, *, generation: int) -> None:
        super().__init__(message)
        self.generation = generation


class Conflict(PoolhouseError):
    """The call does not fit the present state (a finished task can't be cancelled, …)."""
