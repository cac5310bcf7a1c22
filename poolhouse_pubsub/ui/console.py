"""What every page stands on."""

from dataclasses import dataclass, field

from poolhouse_pubsub.control.clients import Clients
from poolhouse_pubsub.control.restart import Restart
from poolhouse_pubsub.service import Service
from poolhouse_pubsub.ui.rates import Rates


@dataclass(frozen=True, kw_only=True)
class Console:
    """The emulator as the pages see it.

    Attributes:
        service: Its RPCs and its state.
        restart: Ends streams and leases.
        clients: Who called.
        project: Project of what is named by an id alone.
        rates: Messages a second.
    """

    service: Service
    restart: Restart
    clients: Clients
    project: str
    rates: Rates = field(default_factory=Rates)
