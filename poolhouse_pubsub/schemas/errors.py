"""What goes wrong with schemas."""

from __future__ import annotations


class SchemaError(ValueError):
    """A definition, a revision or a message that the schema service refuses; the text says where and why."""
