"""AI inference (AIInference in google/pubsub/v1/pubsub.proto): no model runs here, but a test may answer for one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from google.protobuf import json_format

from poolhouse_pubsub.transforms.errors import TransformError, UnavailableTransformError

_ENDPOINT: Final = re.compile(
    r"projects/[^/]+/locations/[^/]+/(endpoints/[^/]+|publishers/[^/]+/models/[^/]+)",
)

#: Stand-ins by endpoint: each gets the request's JSON object and returns the JSON value that becomes the data.
Models = dict[str, Callable[[dict[str, Any]], Any]]


class InferenceTransform:
    """A call of a model with the message's data.

    Args:
        config: An `AIInference`.
        models: Stand-ins that a test registered.
    """

    def __init__(self, config: Any, models: Models) -> None:
        self._config = config
        self._models = models

    def check(self) -> None:
        """Check the endpoint, and that something answers for it.

        Raises:
            TransformError: The endpoint is malformed, or no inference mode is set.
            UnavailableTransformError: There is no stand-in.
        """
        endpoint = self._config.endpoint
        if not _ENDPOINT.fullmatch(endpoint):
            raise TransformError(
                f"ai_inference.endpoint {endpoint[:300]!r} is not projects/PROJECT/locations/LOCATION/endpoints/ID "
                "nor projects/PROJECT/locations/LOCATION/publishers/PUBLISHER/models/MODEL"
            )
        if self._config.WhichOneof("inference_mode") is None:
            raise TransformError("ai_inference needs unstructured_inference")
        if endpoint not in self._models:
            raise UnavailableTransformError(
                f"no model can be asked offline: register what stands in for {endpoint} with "
                "EmulatorServer.models, or leave the transform disabled"
            )

    def apply(self, message: Any, metadata: dict[str, str]) -> bool:
        """Call the stand-in; its answer becomes the data.

        Raises:
            TransformError: The data is not a JSON object, or the stand-in failed.
        """
        model = self._models.get(self._config.endpoint)
        if model is None:
            raise UnavailableTransformError(f"nothing stands in for {self._config.endpoint}")
        try:
            request = json.loads(message.data)
        except ValueError as error:
            raise TransformError(f"the data is not JSON: {error}") from None
        if not isinstance(request, dict):
            raise TransformError("the data is not a JSON object")
        parameters = json_format.MessageToDict(self._config.unstructured_inference.parameters)
        if parameters:
            own = request.get("parameters", {})
            if not isinstance(own, dict):
                raise TransformError("the data's parameters are not a JSON object")
            request = {**request, "parameters": {**parameters, **own}}
        try:
            message.data = json.dumps(model(request)).encode()
        except Exception as error:
            raise TransformError(f"the stand-in for {self._config.endpoint} failed: {error}") from error
        return True
