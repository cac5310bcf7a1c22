"""What must be true of an object for a request to take effect (Cloud Storage, Request preconditions). Pure.

fake-gcs-server heeds those of uploads in one request, as far as they are about a generation, and no others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from poolhouse.local.storage.proxy.requests import Request, StoredObject
from poolhouse.pipeline import numbers

#: By parameter of the query: the field of the object, and whether it is to be the one that is named, or another.
_OF_OBJECT: dict[str, tuple[str, bool]] = {
    "ifGenerationMatch": ("generation", True),
    "ifGenerationNotMatch": ("generation", False),
    "ifMetagenerationMatch": ("metageneration", True),
    "ifMetagenerationNotMatch": ("metageneration", False),
}
_OF_SOURCE: dict[str, tuple[str, bool]] = {
    name.replace("if", "ifSource", 1): wanted for name, wanted in _OF_OBJECT.items()
}


@dataclass(frozen=True)
class Precondition:
    """One that the server does not heed."""

    object: StoredObject
    field: str
    value: int
    equal: bool

    def refusal(self, request: Request, found: Mapping[str, Any] | None) -> Literal[304, 412] | None:
        """Return the code of the answer where it does not hold; None where the request may go on.

        Args:
            request: the one that has it.
            found: the object's properties; None where it is absent: a request that needs it learns so from the server.
        """
        writes = self.object == request.object and (request.method == "POST" or request.session is not None)
        if found is None and not writes:
            return None
        current = 0 if found is None else int(found[self.field])
        if (current == self.value) is self.equal:
            return None
        return 304 if request.method in {"GET", "HEAD"} and not self.equal else 412


def of(request: Request) -> tuple[Precondition, ...]:
    """Return the preconditions of a request that the server does not heed."""
    found = []
    for parameters, stored in ((_OF_OBJECT, request.object), (_OF_SOURCE, request.source)):
        for name, (field, equal) in parameters.items():
            value = numbers.digits(request.query.get(name, [""])[0])
            heeded = request.is_upload and not request.opens_session and field == "generation"
            if stored is not None and value is not None and not heeded:
                found.append(Precondition(stored, field, value, equal))
    return tuple(found)
