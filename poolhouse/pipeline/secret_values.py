"""Values of declared secrets, which a process replaces by the secrets' names in text that people read.

That is the text of errors, tracebacks, reasons and notes (`json_values.clean_text`), log lines (`logs`) and the errors
on spans (`telemetry.tracing`). Payloads, results and files are the handler's own data, and stay as they are.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

#: Shortest value that is replaced: shorter ones occur in ordinary words and figures.
LEAST_CHARACTERS = 6
#: Shortest line of a value of several lines that is replaced where it stands alone, as when a key is printed.
LEAST_LINE_CHARACTERS = 16


class SecretValues:
    """The values that are replaced: none until `learn` has been called."""

    def __init__(self) -> None:
        #: Each form of a value with what takes its place, the longest first: one may be a part of another.
        self._replacements: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self._replacements)

    def learn(self, names: Iterable[str], environment: Mapping[str, str]) -> None:
        """Replace the values of these secrets from now on, and no others.

        Args:
            names: of the secrets; those without a value here are left out.
            environment: has the values.
        """
        found: dict[str, str] = {}
        for name in names:
            for form in _forms(environment.get(name, "").strip()):
                found.setdefault(form, f"[secret {name}]")
        self._replacements = tuple(sorted(found.items(), key=lambda item: len(item[0]), reverse=True))

    def mask(self, text: str) -> str:
        """Return the text with each value replaced by `[secret NAME]`."""
        for form, shown in self._replacements:
            text = text.replace(form, shown)
        return text

    def mask_json(self, document: str) -> str:
        """As `mask`, of the texts and figures in a JSON document: it stays one."""
        if not any(form in document for form, _ in self._replacements):
            return document
        try:
            return json.dumps(self._masked(json.loads(document)))
        except RecursionError:  # nested too deeply to look at each value
            return self.mask(document)

    def _masked(self, value: Any) -> Any:
        match value:
            case str():
                return self.mask(value)
            case dict():
                return {self.mask(key): self._masked(item) for key, item in value.items()}
            case list():
                return [self._masked(item) for item in value]
            case None | bool():
                return value
        text = json.dumps(value)
        masked = self.mask(text)
        return value if masked == text else masked


def _forms(value: str) -> Iterator[str]:
    """A value as it may stand in a text: as it is, quoted as in URLs, Python and JSON, and in base64."""
    if len(value) < LEAST_CHARACTERS:
        return
    lines = [line.strip() for line in value.splitlines()]
    for text in (value, *(line for line in lines if len(line) >= LEAST_LINE_CHARACTERS)):
        data = text.encode(errors="surrogateescape")
        for form in (
            text,
            quote(data),
            quote(data, safe=""),
            quote_plus(data),
            repr(text)[1:-1],
            json.dumps(text)[1:-1],
            json.dumps(text, ensure_ascii=False)[1:-1],
            base64.b64encode(data).decode().rstrip("="),
            base64.urlsafe_b64encode(data).decode().rstrip("="),
        ):
            yield form
            yield json.dumps(form)[1:-1]  # in a line of JSON


#: Those of this process.
known = SecretValues()
