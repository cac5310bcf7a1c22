"""Export subscriptions: messages are written to Cloud Storage, BigQuery or Bigtable, or to what stands in for them.

Imported once there is such a subscription.
"""

from __future__ import annotations

from poolhouse_pubsub.exports.exporter import Exporter

__all__ = ["Exporter"]
