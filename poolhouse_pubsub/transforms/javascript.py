"""JavaScript user-defined functions, run by QuickJS within the limits of the service.

Sources: JavaScriptUDF in google/pubsub/v1/pubsub.proto, and User-Defined Functions (UDFs) overview.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from poolhouse_pubsub.transforms.errors import TransformError, UnavailableTransformError

#: Longest code, in bytes, and longest run for one message, in seconds (UDFs overview).
MAX_CODE_BYTES: Final = 20_000
MAX_RUN_S: Final = 0.5
#: Memory and stack of one function. The service's own limit is not documented: this holds a message of 10 MB, its
#: parsed form and what a function makes of it.
_MEMORY_BYTES: Final = 256 * 1024 * 1024
_STACK_BYTES: Final = 512 * 1024

_NAME: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_INSTALL: Final = "JavaScript transforms need the package quickjs-ng: pip install quickjs-ng."

# The function is looked up by its name, so that `const f = …` counts as much as `function f`. Data goes in and comes
# out as JSON: one call each way, and the function gets objects of its own each time.
_CALLER: Final = """
(function (found) {
  if (typeof found !== "function") throw new TypeError("it is not a function");
  return function (message, metadata) {
    const result = found(JSON.parse(message), JSON.parse(metadata));
    return result === undefined ? "undefined" : JSON.stringify(result);
  };
})(%s)
"""


class JavaScriptTransform:
    """One function.

    Args:
        name: Of the function in the code.
        code: JavaScript that declares it.
    """

    def __init__(self, name: str, code: str) -> None:
        self._name = name
        self._code = code
        self._call: Any = None
        self._errors: tuple[type[Exception], ...] = ()

    def check(self) -> None:
        """Check name and code, and that the code declares the function.

        Raises:
            TransformError: It is not valid.
            UnavailableTransformError: QuickJS is not installed.
        """
        if not _NAME.fullmatch(self._name):
            raise TransformError(f"javascript_udf.function_name {self._name[:100]!r} is not a JavaScript identifier")
        size_bytes = len(self._code.encode())
        if not self._code.strip():
            raise TransformError("javascript_udf.code is empty: it declares the function")
        if size_bytes > MAX_CODE_BYTES:
            raise TransformError(f"javascript_udf.code has {size_bytes} bytes; at most {MAX_CODE_BYTES} are allowed")
        self._call = self._load()

    def apply(self, message: Any, metadata: dict[str, str]) -> bool:
        """Run the function on a PubsubMessage, changed in place.

        Returns:
            Whether the message goes on; False when the function filters it out.

        Raises:
            TransformError: The function failed, took too long, or returned something else than a message.
        """
        try:
            data = message.data.decode()
        except UnicodeDecodeError:
            raise TransformError(
                f"{self._name} can't get the message: its data is not UTF-8, and a function gets it as a string"
            ) from None
        if self._call is None:
            self._call = self._load()
        given = json.dumps({"data": data, "attributes": dict(message.attributes)})
        try:
            answer = self._call(given, json.dumps(metadata))
        except self._errors as error:
            # What ran out of memory or time may have left anything behind: the next message gets a fresh engine.
            self._call = None
            raise TransformError(f"{self._name} failed: {_reason(error)}") from None
        self._take(answer, message)
        return bool(answer != "null")

    def _load(self) -> Any:
        try:
            import quickjs  # noqa: PLC0415 - optional, and only where a transform is
        except ImportError:
            raise UnavailableTransformError(_INSTALL) from None
        self._errors = (quickjs.JSException, quickjs.StackOverflow)
        context = quickjs.Context()
        context.set_memory_limit(_MEMORY_BYTES)
        context.set_max_stack_size(_STACK_BYTES)
        context.set_time_limit(MAX_RUN_S)
        try:
            context.eval(self._code)
            return context.eval(_CALLER % self._name)
        except self._errors as error:
            raise TransformError(f"javascript_udf.code does not declare {self._name}: {_reason(error)}") from None

    def _take(self, answer: Any, message: Any) -> None:
        if answer == "null":
            return
        result = json.loads(answer) if isinstance(answer, str) and answer != "undefined" else None
        if not isinstance(result, dict) or not isinstance(result.get("data"), str):
            raise TransformError(
                f"{self._name} must return null, or an object whose `data` is a string; it returned {_short(answer)}"
            )
        attributes = result.get("attributes")
        if attributes is not None and not (
            isinstance(attributes, dict) and all(isinstance(value, str) for value in attributes.values())
        ):
            raise TransformError(f"{self._name} must return `attributes` whose values are strings")
        message.data = _well_formed(result["data"]).encode()
        if attributes is not None:
            message.attributes.clear()
            message.attributes.update({_well_formed(key): _well_formed(value) for key, value in attributes.items()})


def _well_formed(text: str) -> str:
    """Replace halves of surrogate pairs, which UTF-8 can't carry, as JavaScript's own TextEncoder does."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _short(answer: Any) -> str:
    text = str(answer)
    return text if len(text) <= 100 else f"{text[:100]}…"


def _reason(error: Exception) -> str:
    text = str(error)
    if "InternalError: interrupted" in text:
        return f"it ran for more than {MAX_RUN_S * 1000:.0f} ms"
    return " ".join(text.split())[:500]
