"""The end of a streaming pull."""

from __future__ import annotations

from typing import Any


def half_close(stream: Any) -> None:
    """End the request side of a streaming pull, as gRPC has it, before `cancel` cuts the stream.

    Google's Pub/Sub emulator (0.8.20) never forgets a stream that is cut alone: it goes on handing it every second
    message, each of which then waits for its ack deadline, once or several times. One that ends in order is forgotten
    at once. The client library has no public call for it; where its inside has changed, nothing happens.

    Args:
        stream: what `SubscriberClient.subscribe` returned.
    """
    manager = getattr(stream, "_StreamingPullFuture__manager", None)
    requests = getattr(getattr(manager, "_rpc", None), "_request_queue", None)
    if requests is not None:
        requests.put(None)
