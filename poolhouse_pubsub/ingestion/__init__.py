"""Import topics: objects of a Cloud Storage bucket become messages. Imported once there is such a topic."""

from __future__ import annotations

from poolhouse_pubsub.ingestion.ingester import Ingester

__all__ = ["Ingester"]
