"""Whether a streaming pull is alive inside."""

from __future__ import annotations

import threading
from typing import Any

#: The client library's helpers of one stream: without the first no ack is sent, without the second no lease extended.
_HELPERS = ("_dispatcher", "_leaser", "_heartbeater")


def is_pulling(stream: Any) -> bool:
    """Whether messages can come through a stream: it has not ended, and neither has a thread that it consists of.

    A thread of the client library that ends leaves the stream's future as it was: nothing comes any more, and nothing
    is said. The library has no public call for its threads; where its inside has changed, they count as alive.

    Args:
        stream: what `SubscriberClient.subscribe` returned.
    """
    if stream.done():
        return False
    manager = getattr(stream, "_StreamingPullFuture__manager", None)
    if not getattr(manager, "is_active", True):
        return False
    threads = (getattr(getattr(manager, helper, None), "_thread", None) for helper in _HELPERS)
    return all(thread.is_alive() for thread in threads if isinstance(thread, threading.Thread))
