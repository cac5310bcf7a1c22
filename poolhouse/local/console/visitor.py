"""Who looks at the console, where that is known."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

#: Where a request's scope has its visitor.
_VISITOR = "poolhouse.visitor"


@dataclass(frozen=True, kw_only=True)
class Visitor:
    """A person, or a service account."""

    #: The e-mail address.
    address: str
    may_act: bool

    @property
    def role(self) -> str:
        """In a word, what the visitor may do."""
        return "operator" if self.may_act else "viewer"


def enter(request: Request, visitor: Visitor) -> None:
    """Note who makes a request."""
    request.scope[_VISITOR] = visitor


def of(request: Request) -> Visitor | None:
    """Return who makes a request; None on a laptop, where whoever reaches the console may act."""
    found: Visitor | None = request.scope.get(_VISITOR)
    return found
