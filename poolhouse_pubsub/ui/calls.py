"""What the pages do to the emulator: the RPCs themselves, past grants, quotas and faults, as its administrator."""

from __future__ import annotations

import inspect
import json
import urllib.parse
from collections.abc import Mapping
from typing import Any

from poolhouse_pubsub import limits, numbers
from poolhouse_pubsub.http import HttpRequest, HttpResponse
from poolhouse_pubsub.service import Service
from poolhouse_pubsub.status import invalid

_FORM = "application/x-www-form-urlencoded"
#: Most fields of a form.
_MOST_FIELDS = 100


async def run(service: Service, rpc: str, **fields: Any) -> Any:
    """Make a call.

    Args:
        service: The RPCs.
        rpc: `Publisher/Publish` and so on.
        **fields: Of its request.

    Returns:
        Its response message.

    Raises:
        StatusError: It is refused.
    """
    method = service.methods[f"google.pubsub.v1.{rpc}"]
    try:
        request = method.request(**fields)
    except (ValueError, TypeError) as error:  # a number out of the range of its type
        raise invalid(f"Not a valid request: {error}.") from None
    if method.most_bytes is not None:
        limits.check_size(request.ByteSize(), method.most_bytes)
    answer = method.run(request)
    if inspect.isawaitable(answer):
        answer = await answer
    return method.response.FromString(answer) if isinstance(answer, bytes) else answer


class Form(dict[str, str]):
    """The fields of a form, the last value of each."""

    @classmethod
    def of(cls, request: HttpRequest) -> Form:
        """Read a request's body.

        Raises:
            StatusError: INVALID_ARGUMENT, it is no form.
        """
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
            raise invalid(f"A form is sent as {_FORM}.")
        try:
            fields = urllib.parse.parse_qsl(
                request.body.decode("ascii"), keep_blank_values=True, max_num_fields=_MOST_FIELDS
            )
        except ValueError as error:
            raise invalid(f"Not a form: {error}.") from None
        # Browsers send every line break of a text field as CRLF.
        return cls((name, value.replace("\r\n", "\n")) for name, value in fields)

    def text(self, name: str) -> str:
        """Return a field without the spaces around it, "" for one that is missing."""
        return self.get(name, "").strip()

    def number(self, name: str, *, default: float) -> float:
        """Return a field as a number.

        Raises:
            StatusError: INVALID_ARGUMENT.
        """
        text = self.text(name)
        try:
            number = numbers.number(text) if text else default
            if number - number == 0:  # neither infinite nor no number
                return number
        except ValueError:
            pass
        raise invalid(f"Invalid {name}: {text[:100]!r} is not a number.")

    def whole(self, name: str, *, default: int, most: int) -> int:
        """Return a field as a whole number from 1 to `most`.

        Raises:
            StatusError: INVALID_ARGUMENT.
        """
        number = self.number(name, default=default)
        if number != int(number) or not 1 <= number <= most:
            raise invalid(f"Invalid {name}: it is a whole number from 1 to {most}.")
        return int(number)

    def attributes(self, name: str) -> Mapping[str, str]:
        """Return a field with a `key=value` on each line, or with a JSON object of strings.

        Raises:
            StatusError: INVALID_ARGUMENT.
        """
        found: dict[str, str] = {}
        if self.text(name).startswith("{"):
            return _json_object(self.text(name), name)
        for line in self.get(name, "").split("\n"):
            if line.strip():
                key, is_pair, value = line.partition("=")
                if not is_pair:
                    raise invalid(f"Invalid {name}: {line[:100]!r} is not of the form key=value.")
                found[key.strip()] = value
        return found


def attribute_lines(attributes: Mapping[str, str]) -> str:
    """Return attributes as `Form.attributes` reads them."""
    lines = [f"{key}={value}" for key, value in sorted(attributes.items())]
    if any("\n" in line or "\r" in line or line.startswith("{") for line in lines) or not all(
        map(_is_plain, attributes)
    ):
        return json.dumps(attributes, indent=2, ensure_ascii=False, sort_keys=True)
    return "\n".join(lines)


def _is_plain(key: str) -> bool:
    return "=" not in key and key == key.strip()


def _json_object(text: str, name: str) -> Mapping[str, str]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid(f"Invalid {name}: not JSON: {error}.") from None
    if not all(isinstance(value, str) for value in found.values()):
        raise invalid(f"Invalid {name}: every value is a string.")
    return dict(found)


def go_to(path: str, *, done: str = "") -> HttpResponse:
    """Answer a form: the page that shows what it did, with a line about it.

    Args:
        path: Of the page.
        done: What was done, one of `app.DONE`.
    """
    if done:
        path += f"?done={done}"
    return HttpResponse(303, b"", "text/plain; charset=utf-8", (("location", path),))
