"""The restart fault: what clients see when the server goes away and comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from poolhouse_pubsub.core.emulator import Emulator
from poolhouse_pubsub.status import StatusError


@dataclass(frozen=True, slots=True)
class Restart:
    """Ends what does not outlive a server."""

    #: The state.
    emulator: Emulator
    #: Ends all open streams with an error.
    end_streams: Callable[[StatusError], None]

    def now(self, error: StatusError) -> None:
        """End all streams with `error`, and all leases: their messages come again, their ack ids count no more."""
        self.end_streams(error)
        for subscription in self.emulator.subscriptions.values():
            subscription.replace(subscription.backlog.messages())
        self.emulator.commit()
