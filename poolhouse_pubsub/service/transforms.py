"""ValidateMessageTransform and TestMessageTransforms: transforms that are tried out before a resource has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from poolhouse_pubsub import limits, names
from poolhouse_pubsub.core.emulator import Emulator
from poolhouse_pubsub.service.transform_config import check_transforms
from poolhouse_pubsub.status import Code, invalid, not_found
from poolhouse_pubsub.transforms import TransformError, compile_transforms, requests


class Transforms:
    """The calls on transforms.

    Args:
        emulator: The state; topics and subscriptions whose transforms are tried are found there.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def validate_message_transform(self, request: Any) -> Any:
        """ValidateMessageTransform."""
        names.check_project(request.project)
        if not request.HasField("message_transform"):
            raise invalid("ValidateMessageTransform needs a message_transform.")
        check_transforms([request.message_transform], self._emulator.models)
        return requests.ValidateMessageTransformResponse()

    def test_message_transforms(self, request: Any) -> Any:
        """TestMessageTransforms: the message after each transform, up to one that fails or filters it out."""
        names.check_project(request.project)
        limits.check_messages([request.message])
        transforms = self._transforms(request)
        check_transforms(transforms, self._emulator.models)
        answer = requests.TestMessageTransformsResponse()
        draft = request.message
        try:
            for goes_on in compile_transforms(transforms, self._emulator.models).trace(draft):
                step = answer.transformed_messages.add()
                if goes_on:
                    step.transformed_message.CopyFrom(draft)
                else:
                    step.filtered_message.SetInParent()
        except TransformError as error:
            failure = answer.transformed_messages.add().failed_message.error
            failure.code, failure.message = int(Code.INVALID_ARGUMENT), str(error)
        return answer

    def _transforms(self, request: Any) -> Sequence[Any]:
        given = [name for name in ("topic", "subscription") if getattr(request, name)]
        if request.HasField("message_transforms"):
            given.append("message_transforms")
        if len(given) != 1:
            raise invalid(
                "TestMessageTransforms needs one of topic, subscription and message_transforms; "
                f"found {' and '.join(given) or 'none'}."
            )
        if given == ["message_transforms"]:
            found_transforms: Sequence[Any] = request.message_transforms.message_transforms
            return found_transforms
        kind = f"{given[0]}s"
        name = names.check(getattr(request, given[0]), kind)
        stores: dict[str, Any] = {"topics": self._emulator.topics, "subscriptions": self._emulator.subscriptions}
        resource = stores[kind].get(name)
        if resource is None:
            raise not_found(name)
        transforms: Sequence[Any] = resource.config.message_transforms
        return transforms
