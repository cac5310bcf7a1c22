"""The restart fault: what clients see when the server goes away and comes back."""

from collections.abc import Callable
from dataclasses import dataclass

from poolhouse_pubsub.core.emulator import Emulator
from poolhouse_pubsub.status import StatusError


@dataclass(frozen=True, slots=True)
class Restart:
    """Ends what does not outlive a server.

    Attributes:
        emulator: The state.
        end_streams: Ends all open streams with an error.
    """

    emulator: Emulator
    end_streams: Callable[[StatusError], None]

    def now(self, error: StatusError) -> None:
        """Ends all streams with `error`, and all leases: their messages come again, their ack ids count no more."""
        self.end_streams(error)
        for subscription in self.emulator.subscriptions.values():
            subscription.replace(subscription.backlog.messages())
        self.emulator.commit()
