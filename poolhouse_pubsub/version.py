"""The version of both distributions, poolhouse and poolhouse-pubsub."""

from __future__ import annotations

__version__ = "0.1.0"
