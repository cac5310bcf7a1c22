"""The stack that the console shows: looked up anew each time, since one may end and another come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from local.backend import Backend, Endpoints
from local.cli.client import Api
from local.console.emulator import Emulator

#: Longest time of a call to the API, in seconds: a person waits.
TIMEOUT_S = 10.0
#: Calls that only look are not told in the API's log (`api.access`): a page that is open makes one every second or two.
_WATCHING = {"X-Watching": "console"}


class Stack:
    """Access to whatever stack is up. Every method may raise `NoStack`."""

    def __init__(self, find: Callable[[], Backend]) -> None:
        """Looks at nothing yet.

        Args:
            find: gives the backend of the stack that is up; may raise `NoStack`.
        """
        self._find = find
        #: Whether the emulator is ours, by what tells one stack from another.
        self._ours: dict[Endpoints, bool] = {}

    def backend(self) -> Backend:
        """The backend of the stack that is up."""
        return self._find()

    def endpoints(self) -> Endpoints:
        """Where it can be reached."""
        return self.backend().endpoints()

    @contextmanager
    def api(self) -> Iterator[Api]:
        """A client of its API, closed in the end: threads of several requests must not share one."""
        api = Api(self.endpoints().api_url, timeout_s=TIMEOUT_S, headers=_WATCHING)
        try:
            yield api
        finally:
            api.close()

    def emulator(self) -> Emulator | None:
        """The administration of its Pub/Sub emulator; None where that is another's, or does not answer."""
        endpoints = self.endpoints()
        emulator = Emulator(endpoints.pubsub_host)
        if endpoints not in self._ours:
            answers = emulator.is_ours()
            if answers is None:
                return None
            self._ours = {endpoints: answers}
        return emulator if self._ours[endpoints] else None
