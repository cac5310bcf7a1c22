"""Message transforms (Single Message Transforms): what changes or filters a message on its way.

`compile_transforms` makes a `Chain` of a resource's transforms; imported only where a resource has some.
"""

from __future__ import annotations

from poolhouse_pubsub.transforms.chain import Chain, compile_transforms
from poolhouse_pubsub.transforms.errors import TransformError
from poolhouse_pubsub.transforms.inference import Models

__all__ = ["Chain", "Models", "TransformError", "compile_transforms"]
