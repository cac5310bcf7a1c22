"""The RPCs, free of any transport: they take a request message, and answer or raise `StatusError`."""

from __future__ import annotations

from poolhouse_pubsub.service.service import Method, Service

__all__ = ["Method", "Service"]
