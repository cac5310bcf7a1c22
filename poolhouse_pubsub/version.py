"""The version of both distributions, poolhouse and poolhouse-pubsub."""

__version__ = "0.1.0"
