"""The loops that the emulator itself runs as consumers of subscriptions: pushes and exports."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from poolhouse_pubsub.core.subscription import Subscription


class Loop(Protocol):
    """Delivers the messages of one subscription until it is stopped."""

    def start(self) -> None:
        """Connect to the subscription."""

    def stop(self) -> None:
        """Disconnect; what is under way is given up and stays in the subscription."""


L = TypeVar("L", bound=Loop)


class Loops(Generic[L]):
    """The running loops of one kind, one a subscription at most; a loop ends with its subscription."""

    def __init__(self) -> None:
        self._running: dict[Subscription, L] = {}

    def get(self, subscription: Subscription) -> L | None:
        """Return the loop that runs for a subscription."""
        return self._running.get(subscription)

    def start(self, subscription: Subscription, loop: L) -> None:
        """Start the loop of a subscription that has none."""
        self._running[subscription] = loop
        subscription.on_end[self] = lambda: self.end(subscription)
        loop.start()

    def end(self, subscription: Subscription) -> None:
        """Stop the loop of a subscription, if it has one."""
        subscription.on_end.pop(self, None)
        loop = self._running.pop(subscription, None)
        if loop is not None:
            loop.stop()

    def stop(self) -> None:
        """Stop all of them."""
        for subscription in list(self._running):
            self.end(subscription)
