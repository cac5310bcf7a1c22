"""Faults that a test orders: calls to the bucket and the queues that fail, or whose answers are lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from poolhouse.pipeline.errors import ObjectNotFound, PreconditionFailed, QueueUnavailable, StoreUnavailable

if TYPE_CHECKING:
    from poolhouse.testing.calls import Calls

#: The calls that may fail. `queue.ack` is lost where it fails: Pub/Sub promises nothing of acks.
OPERATIONS = (
    *("storage.read", "storage.list", "storage.write", "storage.delete"),
    *("queue.publish", "queue.ack"),
)
_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(kw_only=True)
class Fault:
    """One order. `happened` counts how often it struck."""

    operation: str
    error: int | Exception = 503
    #: How often it strikes; None: always.
    times: int | None = None
    #: A part of the object's name, or of the topic's id, without which it does not strike.
    contains: str = ""
    #: Whether the call takes effect, and only its answer is lost.
    lose_answer: bool = False
    happened: int = 0

    def strikes(self, operation: str, target: str) -> bool:
        """Whether this call meets it; counts."""
        left = self.times is None or self.happened < self.times
        if not left or operation != self.operation or self.contains not in target:
            return False
        self.happened += 1
        return True

    def exception(self, target: str) -> Exception:
        """What the caller sees: the error of the kit that its client makes of such an answer."""
        if isinstance(self.error, Exception):
            return self.error
        text = f"{target}: the test lets {self.operation} fail with {self.error}"
        if self.operation.startswith("queue."):
            return QueueUnavailable(text)
        return {404: ObjectNotFound, 412: PreconditionFailed}.get(self.error, StoreUnavailable)(text)


class Faults:
    """The faults of a pipeline under test: `pipeline.faults`."""

    def __init__(self, calls: Calls, *, duplicate: Callable[[str, int], None]) -> None:
        self._calls = calls
        self._duplicate = duplicate

    def on(
        self,
        operation: str,
        *,
        error: int | Exception = 503,
        times: int | None = 1,
        contains: str = "",
        lose_answer: bool = False,
    ) -> Fault:
        """Let calls fail, those of the API, of the workers and of handlers alike.

        An error is what is left of it once the client library has tried again.

        Args:
            operation: one of `OPERATIONS`, or a name given to `wrap`.
            error: the status that the service answers with, or the exception to raise.
            times: how often; None: always, until `clear`.
            contains: a part of the object's name or topic's id; others don't fail.
            lose_answer: let the call take effect before it fails.

        Raises:
            ValueError: there is no such operation, or no error of that status.
        """
        known = (*OPERATIONS, *self._calls.wrapped)
        if operation not in known:
            raise ValueError(f"there is no operation {operation!r} that could fail (there are: {', '.join(known)})")
        if isinstance(error, int):
            if operation in self._calls.wrapped:
                raise ValueError(f"{operation} is a function of yours: give the exception that it raises as error")
            if not (error in {429, 404, 412} or 500 <= error <= 599):
                raise ValueError(f"error is 404, 412, 429, 5xx or an exception, not {error}")
        fault = Fault(operation=operation, error=error, times=times, contains=contains, lose_answer=lose_answer)
        self._calls.faults.append(fault)
        return fault

    def duplicate(self, queue: str, *, times: int = 1) -> None:
        """Let Pub/Sub deliver messages of a queue twice."""
        self._duplicate(queue, times)

    def wrap(self, name: str, function: Callable[_P, _T]) -> Callable[_P, _T]:
        """Return a function of yours under a name, so that it can fail (`on`) and is a crash point.

        Use it for what a handler does to the outside: `monkeypatch.setattr(mail, "send", faults.wrap("mail.send", …))`.
        """
        self._calls.wrapped.add(name)

        def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            return self._calls.act(name, lambda: function(*args, **kwargs), by=self._calls.worker)

        return wrapped

    def clear(self) -> None:
        """Take back what `on` has ordered."""
        self._calls.faults.clear()


def refuse(reason: str) -> Callable[..., Any]:
    """A function that skips the test: its level can't do what it wants."""

    def skip(*_: object, **__: object) -> Any:
        import pytest  # noqa: PLC0415 - the doubles work without it

        pytest.skip(reason)

    return skip
