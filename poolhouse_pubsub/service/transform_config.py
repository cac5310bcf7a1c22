"""The message_transforms of a resource, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from poolhouse_pubsub.status import Code, StatusError, invalid
from poolhouse_pubsub.transforms.chain import step_of
from poolhouse_pubsub.transforms.errors import TransformError, UnavailableTransformError
from poolhouse_pubsub.transforms.inference import Models

#: Most transforms of a topic or subscription (Single Message Transforms (SMTs) overview).
MAX_TRANSFORMS: Final = 5


def check_transforms(configs: Sequence[Any], models: Models) -> None:
    """Check MessageTransforms, of a resource or to be tried out.

    Raises:
        StatusError: INVALID_ARGUMENT, or UNIMPLEMENTED for one that can't be run here and is not disabled.
    """
    if len(configs) > MAX_TRANSFORMS:
        raise invalid(f"Too many message_transforms: {len(configs)}; there are at most {MAX_TRANSFORMS}.")
    names = [config.javascript_udf.function_name for config in configs if config.HasField("javascript_udf")]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise invalid(f"Invalid message_transforms: function_name {twice[:100]!r} is used twice; each is unique.")
    for place, config in enumerate(configs):
        try:
            step_of(config, models).check()
        except UnavailableTransformError as error:
            if not config.disabled:
                raise StatusError(Code.UNIMPLEMENTED, f"message_transforms[{place}]: {error}") from None
        except TransformError as error:
            raise invalid(f"Invalid message_transforms[{place}]: {error}.") from None
