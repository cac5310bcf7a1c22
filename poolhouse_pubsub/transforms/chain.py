"""The transforms of one topic or subscription, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from poolhouse_pubsub.transforms.compression import CompressionTransform
from poolhouse_pubsub.transforms.errors import TransformError
from poolhouse_pubsub.transforms.inference import InferenceTransform, Models
from poolhouse_pubsub.transforms.javascript import JavaScriptTransform


class Transform(Protocol):
    """One step."""

    def check(self) -> None:
        """Raise a TransformError unless it is valid and can be run here."""

    def apply(self, message: Any, metadata: dict[str, str]) -> bool:
        """Change a PubsubMessage in place; False when it is filtered out. Raises a TransformError."""


class Chain:
    """Transforms that are applied one after the other.

    Args:
        steps: Those that are not disabled.
    """

    def __init__(self, steps: Sequence[Transform]) -> None:
        self._steps = steps

    def __bool__(self) -> bool:
        """Whether anything is done at all."""
        return bool(self._steps)

    def apply(self, message: Any, *, published: bool) -> bool:
        """Apply all of them.

        Args:
            message: A PubsubMessage, changed in place.
            published: Whether it has an id and a publish time already: that of a topic's transforms has none.

        Returns:
            Whether the message goes on; False when it is filtered out.

        Raises:
            TransformError: One failed; the message may be changed halfway.
        """
        metadata = metadata_of(message, published=published)
        return all(step.apply(message, metadata) for step in self._steps)

    def trace(self, message: Any) -> Iterator[bool]:
        """Apply them step by step, on a message in place: whether it goes on, after each. Raises as `apply`."""
        metadata = metadata_of(message, published=bool(message.message_id))
        for step in self._steps:
            goes_on = step.apply(message, metadata)
            yield goes_on
            if not goes_on:
                return


def metadata_of(message: Any, *, published: bool) -> dict[str, str]:
    """Return the metadata that a function gets with the message (JavaScriptUDF.code)."""
    metadata = {}
    if published:
        metadata["message_id"] = message.message_id
        metadata["publish_time"] = message.publish_time.ToDatetime().strftime("%Y-%m-%dT%H:%M:%SZ")
    if message.ordering_key:
        metadata["ordering_key"] = message.ordering_key
    return metadata


def step_of(config: Any, models: Models) -> Transform:
    """Return the step of one MessageTransform, not checked.

    Raises:
        TransformError: It says nothing of what to do.
    """
    match config.WhichOneof("transform"):
        case "javascript_udf":
            return JavaScriptTransform(config.javascript_udf.function_name, config.javascript_udf.code)
        case "compression":
            return CompressionTransform(config.compression.compression_algorithm, config.compression.compression_mode)
        case "ai_inference":
            return InferenceTransform(config.ai_inference, models)
        case _:
            raise TransformError("it has neither javascript_udf nor compression nor ai_inference")


def compile_transforms(configs: Sequence[Any], models: Models) -> Chain:
    """Make the chain of a resource's MessageTransforms, which were checked when they were set."""
    return Chain([step_of(config, models) for config in configs if not config.disabled])
