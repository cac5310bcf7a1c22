"""The console of the emulator: pages under `/ui` that show its state and change it by hand."""

from poolhouse_pubsub.control.clients import Clients
from poolhouse_pubsub.control.restart import Restart
from poolhouse_pubsub.service import Service
from poolhouse_pubsub.ui.app import Ui
from poolhouse_pubsub.ui.console import Console


def serve_ui(service: Service, restart: Restart, *, project: str) -> Ui:
    """Return the application of an emulator; it notes who calls from now on.

    Args:
        service: The RPCs.
        restart: Ends streams and leases.
        project: Project of what is named by an id alone.
    """
    clients = service.clients = Clients(service.emulator.clock.now)
    return Ui(Console(service=service, restart=restart, clients=clients, project=project))
