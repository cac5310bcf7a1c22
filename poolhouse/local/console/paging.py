"""Lists a page at a time: what an address asks for, and the addresses of the pages beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlencode

from starlette.requests import Request

_PAGE = "page_token"


@dataclass(frozen=True)
class Asked:
    """One page of a list."""

    #: The path of the list.
    path: str
    #: The filters that are set.
    chosen: Mapping[str, str]
    #: Which page, as the one before it named it; empty: the first.
    token: str = ""

    @classmethod
    def of(cls, request: Request, *filters: str) -> Self:
        """Read the address of a request.

        Args:
            request: for a page of the list.
            *filters: the parameters that choose what is listed; empty ones do not count.
        """
        asked = request.query_params
        chosen = {name: asked[name] for name in filters if asked.get(name)}
        return cls(request.url.path, chosen, asked.get(_PAGE, ""))

    @property
    def first(self) -> bool:
        """Whether it is the first page: the only one that is worth another look, since what is new comes there."""
        return not self.token

    def query(self, *, size: int) -> dict[str, str]:
        """The parameters of the API's call, which has the same names.

        Args:
            size: entries of a page.
        """
        return {**self.chosen, "page_size": str(size), **({_PAGE: self.token} if self.token else {})}

    def address(self, token: str = "") -> str:
        """The page that a token names, of the same list; by default the first one."""
        query = {**self.chosen, **({_PAGE: token} if token else {})}
        return f"{self.path}?{urlencode(query)}" if query else self.path
