"""What a handler raises to say how to go on, and what it may see raised."""

from __future__ import annotations

from collections.abc import Iterator

from poolhouse.pipeline.errors import PoolhouseError
from poolhouse.pipeline.json_values import clean_text
from poolhouse.pipeline.timing.delays import check_delay_s


class Retry(PoolhouseError):
    """Try this task again, not before `after_s` seconds (up to ten years).

    Any other error retries too, under the backoff of the task type or the queue.

    Args:
        reason: kept with the attempt.
        after_s: seconds until the next attempt; None: the backoff's.
        counts: whether the attempt counts against the limit. False is for "busy": the task has not been tried.
    """

    after_s: float | None = None
    counts: bool = True

    def __init__(
        self, reason: str = "the handler asked for a retry", *, after_s: float | None = None, counts: bool = True
    ) -> None:
        super().__init__(reason)
        self.counts = counts
        try:
            self.after_s = None if after_s is None else check_delay_s(after_s)
        except ValueError as error:
            raise ValueError(f"after_s {error}") from None


class Reject(PoolhouseError):
    """No retry can help: the task fails for good, and its message goes to the dead letters with `reason`."""

    reason: str = "the handler refused the task"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class StepChanged(PoolhouseError):
    """The result of a recorded step is none that its function returns now: see `TaskContext.step`."""


class UnreadableError(PoolhouseError):
    """The handler raised an error whose class, text or members raise another when they are looked at."""


class Interrupted(BaseException):
    """Base of what `TaskContext.checkpoint` raises; a handler lets it pass, after tidying up.

    No `Exception`, for the reason that `KeyboardInterrupt` and `asyncio.CancelledError` are none: a handler that tries
    each row under `except Exception` must not take the wish to stop for a broken row.
    """


class TaskCancelled(Interrupted):
    """A client cancelled the task."""


class WorkerStopping(Interrupted):
    """The worker is told to stop: another one will start the task anew."""


class TaskTimeout(Interrupted):
    """The handler ran longer than its `timeout_s`; counts as a failed attempt."""


class LeaseLost(Interrupted):
    """Another worker has taken the task over: whatever this one makes would be a second result."""


def meaning_of(error: BaseException) -> BaseException:
    """What a handler meant to raise: the `Interrupted`, `Reject` or `Retry` in what it did raise, or the error itself.

    `asyncio.TaskGroup` wraps errors in groups, and a handler may raise another error while an interruption is on its
    way through it. A `Reject` or `Retry` counts where it is all that a group holds.
    """
    for each in _chain(error):
        if isinstance(each, Interrupted):
            return each
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def unreadable(failure: BaseException) -> UnreadableError:
    """Return what is kept in place of an error that can't be looked at.

    Args:
        failure: what looking at it has raised.
    """
    text = clean_text(failure)
    return UnreadableError(f"the error can't be read: {type(failure).__name__}{f': {text}' if text else ''}")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, its members where it is a group, and all that led to them."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
