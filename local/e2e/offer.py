"""The task types that an API offers, by its OpenAPI document: their examples, and the kinds of work that they name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_REF = "#/components/schemas/"
_PREFIX = "NewTask."
#: Task types with cases of their own.
_SHIPPED = frozenset({"file_processing", "data_transformation"})
_SAMPLES = "sample."


@dataclass(frozen=True)
class Offer:
    """One task type."""

    task_type: str
    #: The schema of its payload, and all schemas of the document.
    payload: Mapping[str, Any]
    schemas: Mapping[str, Any]

    @property
    def is_own(self) -> bool:
        """Whether it is neither one that ships nor one of the local stack's."""
        return self.task_type not in _SHIPPED and not self.task_type.startswith(_SAMPLES)

    def example(self, *, upload: str) -> dict[str, Any]:
        """The example of its payload; fields that name an upload name this one."""
        shown = dict(self.schemas[f"{_PREFIX}{self.task_type}"]["examples"][0].get("payload") or {})
        uploads = {
            name: upload
            for name, field in self.payload.get("properties", {}).items()
            if name in shown and any(part.get("format") == "upload" for part in self._parts(field))
        }
        return shown | uploads

    @property
    def kinds(self) -> frozenset[str]:
        """The names of the operations or steps that its payload may hold, if it holds any."""
        return frozenset(
            name
            for field in self.payload.get("properties", {}).values()
            for part in self._parts(field)
            for name in part.get("discriminator", {}).get("mapping", {})
        )

    def _parts(self, schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """A schema, and all that its values may be made of."""
        yield schema
        if "$ref" in schema:
            yield from self._parts(self.schemas[str(schema["$ref"]).removeprefix(_REF)])
        for key in ("anyOf", "oneOf", "allOf"):
            for part in schema.get(key, ()):
                yield from self._parts(part)
        if "items" in schema:
            yield from self._parts(schema["items"])


def offers(openapi: Mapping[str, Any]) -> list[Offer]:
    """All task types."""
    schemas = openapi["components"]["schemas"]
    found = []
    for name, schema in schemas.items():
        if name.startswith(_PREFIX):
            reference = schema["properties"]["payload"]["$ref"].removeprefix(_REF)
            found.append(Offer(name.removeprefix(_PREFIX), schemas[reference], schemas))
    return found
