"""Which clients call, as far as their own headers tell: libraries, what they call, and their telemetry."""

import base64
import binascii
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from google.protobuf.message import DecodeError

from poolhouse_pubsub import protos

#: A serialised PubsubClientTelemetry, in base64 (pubsub.proto, PubsubClientTelemetry).
TELEMETRY_HEADER = "x-goog-pubsub-client-telemetry"
#: Most clients that are remembered; those that called longest ago are forgotten.
MOST_CLIENTS = 200
#: Most characters of a header that are kept.
_MOST_CHARACTERS = 300


@dataclass(slots=True)
class Client:
    """Calls with the same headers.

    Attributes:
        user_agent: The header of that name.
        library: The header `x-goog-api-client`: language, gRPC and client library with their versions.
        calls: How many of each RPC.
        last_seen: Time of the latest, seconds since the epoch.
        publishes_with_telemetry: Publishes with the telemetry header.
        hedged: Those of them that repeat a publish that was not answered soon enough.
        last_hedge: Number of the attempt in the latest of these.
        last_delay_s: Time between the start of the operation and the latest publish with telemetry; None when it does
            not say when that was.
        telemetry_error: What is wrong with the latest telemetry header, "" when it could be read.
    """

    user_agent: str
    library: str
    calls: Counter[str] = field(default_factory=Counter)
    last_seen: float = 0.0
    publishes_with_telemetry: int = 0
    hedged: int = 0
    last_hedge: int = 0
    last_delay_s: float | None = None
    telemetry_error: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        return asdict(self)


class Clients:
    """The clients that called since the start.

    Args:
        now: The emulator's time, seconds since the epoch.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._clients: dict[tuple[str, str], Client] = {}

    def note(self, method: str, headers: Iterable[tuple[str, Any]]) -> None:
        """Note a call.

        Args:
            method: Name of the RPC.
            headers: Its metadata, lower-case names; binary values are left out.
        """
        found = {name: value for name, value in headers if isinstance(value, str)}
        key = (found.get("user-agent", "")[:_MOST_CHARACTERS], found.get("x-goog-api-client", "")[:_MOST_CHARACTERS])
        client = self._clients.pop(key, None) or Client(*key)
        self._clients[key] = client
        if len(self._clients) > MOST_CLIENTS:
            del self._clients[next(iter(self._clients))]
        client.calls[method] += 1
        client.last_seen = self._now()
        telemetry = found.get(TELEMETRY_HEADER)
        if telemetry is not None:
            _read(client, telemetry)

    def all(self) -> list[Client]:
        """Return them, the one that called last first."""
        return list(reversed(self._clients.values()))


def _read(client: Client, telemetry: str) -> None:
    """Note what a telemetry header says. The service does not refuse a call for it, so neither do we."""
    try:
        operation = protos.PubsubClientTelemetry.FromString(
            base64.b64decode(telemetry, validate=True)
        ).publish_operation
        start = operation.publish_start_time
        if not 0 <= start.nanos < 1_000_000_000 or operation.hedged_attempt_count < 0:
            raise ValueError("the start time or the count of attempts is out of its range")
    except (binascii.Error, DecodeError, ValueError) as error:
        kind = "not base64" if isinstance(error, binascii.Error) else str(error) or "no PubsubClientTelemetry"
        client.telemetry_error = f"{TELEMETRY_HEADER}: {kind}"
        return
    client.telemetry_error = ""
    client.publishes_with_telemetry += 1
    if operation.hedged_attempt_count:
        client.hedged += 1
        client.last_hedge = operation.hedged_attempt_count
    has_start = operation.HasField("publish_start_time")
    client.last_delay_s = client.last_seen - (start.seconds + start.nanos / 1e9) if has_start else None
