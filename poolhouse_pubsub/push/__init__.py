"""Push delivery: messages go out as HTTP requests. Imported once there is a push subscription."""

from __future__ import annotations

from poolhouse_pubsub.push.pusher import Pusher

__all__ = ["Pusher"]
