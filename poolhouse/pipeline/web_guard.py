"""Which HTTP requests a service answers that web pages can reach. Pure.

Any page that is open in a browser can send requests to whatever that browser reaches, 127.0.0.1 included. Under a name
of its own that is made to resolve to 127.0.0.1 (DNS rebinding) it reads the answers too. Browsers say where a request
comes from (Host, Origin, Sec-Fetch-Site) and let no page forge that; other clients send neither Origin nor
Sec-Fetch-Site, so they pass. Sources: Fetch Standard, "CORS protocol"; W3C, Fetch Metadata Request Headers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol, Self
from urllib.parse import urlsplit

#: As a host: every name that no web page can have. An IP address is not resolved, so it can't be rebound; names
#: without a dot, or below `.localhost` and `.internal`, are not in the public DNS: containers call each other so.
LOCAL = "local"
_LOCAL = re.compile(r"(\d{1,3}\.){3}\d{1,3}|\[[0-9a-f:.]+\]|[a-z0-9_-]+|([a-z0-9_-]+\.)+(localhost|internal)", re.ASCII)
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\[\]]+)(:(?P<port>\d{1,5}))?", re.ASCII)
_READING = frozenset({"GET", "HEAD"})
#: Values of Sec-Fetch-Site that no other page is behind; None where no browser is, or an old one.
_OWN_SITES = frozenset({None, "none", "same-origin"})


class Headers(Protocol):
    """Header fields by lower-case name."""

    def get(self, name: str, /) -> str | None:
        """Return the value of a field, or None."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered."""

    #: The HTTP status: 421 for a foreign host, 403 for a foreign page.
    status: int
    #: What is wrong and what to do, in one line.
    reason: str


@dataclass(frozen=True, kw_only=True)
class WebGuard:
    """The rule of one service."""

    #: The names that it is called by: `local`, a name, `*.` and a domain, or `*` for any. None leaves the Host header
    #: to what stands in front of the service, and refuses of other pages only what they can send unasked.
    hosts: tuple[str, ...] | None = (LOCAL,)
    #: Of pages of other sites that may call it, as in `https://app.example`.
    origins: tuple[str, ...] = ()

    @classmethod
    def of(cls, *, hosts: str | None, origins: str | None) -> Self:
        """Read lists that are separated by commas.

        Raises:
            ValueError: an entry is no host or no origin.
        """
        return cls(
            hosts=None if hosts is None else tuple(_entries(hosts, r"(\*|(\*\.)?[\w.-]+|\[[0-9a-f:.]+\])", "host")),
            origins=tuple(_entries(origins or "", r"[a-z][a-z0-9+.-]*://[^\s/?#@]+", "origin")),
        )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read ALLOWED_HOSTS, by default `local`, and ALLOWED_ORIGINS. Raises `ValueError` as `of`."""
        hosts, origins = environment.get("ALLOWED_HOSTS") or LOCAL, environment.get("ALLOWED_ORIGINS") or None
        try:
            return cls.of(hosts=hosts, origins=origins)
        except ValueError as error:
            raise ValueError(f"ALLOWED_HOSTS or ALLOWED_ORIGINS: {error}") from None

    def refusal(
        self, method: str, headers: Headers, *, origins: Collection[str] = (), forwards_origin: bool = False
    ) -> Refusal | None:
        """Return why a request is refused; None where it is answered.

        Args:
            method: the HTTP method, upper case.
            headers: of the request.
            origins: further origins that may make this one.
            forwards_origin: whether programs make this call on behalf of a page and name its origin, as they do when
                they open an upload for it.
        """
        host = headers.get("host")
        if host is not None and not self._answers_to(host):
            return Refusal(
                421, f"the host {host[:100]!r} is not one of this service: ALLOWED_HOSTS lists those that are"
            )
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site in _OWN_SITES and (origin is None or self._is_own(origin, host, vouched=site == "same-origin")):
            return None
        page = origin or _origin_of(headers.get("referer"))
        if page is not None and page.lower() in (*self.origins, *origins):
            return None
        if self._lets_pass(method, headers, site, forwards_origin=forwards_origin):
            return None
        return Refusal(
            403,
            f"this request comes from a page of another site ({(page or site or '')[:100]!r}), and was not executed: "
            "ALLOWED_ORIGINS lists those that may call",
        )

    def _lets_pass(self, method: str, headers: Headers, site: str | None, *, forwards_origin: bool) -> bool:
        """Whether a request of another page can do no harm, or comes from no page at all."""
        # A page can't send JSON to another site without asking it first, and that question is answered with a no.
        kind = (headers.get("content-type") or "").partition(";")[0].strip().lower()
        asked = kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
        if self.hosts is None:
            return asked or method in _READING or method == "OPTIONS"
        if site is None:
            return forwards_origin and asked
        # A link that a user clicked: a page reads nothing of the window that opens.
        opened = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        return opened and method in _READING

    def _answers_to(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        return found is not None and (self.hosts is None or self._lists(found["name"]))

    def _lists(self, name: str) -> bool:
        assert self.hosts is not None
        name = name.lower().removesuffix(".")
        for entry in self.hosts:
            if entry in ("*", name) or (entry == LOCAL and _LOCAL.fullmatch(name)):
                return True
            if entry.startswith("*.") and name.endswith(entry[1:]):
                return True
        return False

    def _is_own(self, origin: str, host: str | None, *, vouched: bool) -> bool:
        """Whether an origin is that of the service.

        Args:
            origin: as the browser sends it.
            host: that the request names.
            vouched: whether the browser says so. Then a proxy of the page's own server may have changed the host, and
                a page that withholds its address sends the origin `null`.
        """
        authority = origin.lower().partition("://")[2]
        if vouched:
            return origin == "null" or self._answers_to(authority)
        return host is not None and _bare(authority) == _bare(host.lower()) != ""


def _bare(authority: str) -> str:
    """Return a host without the ports that are left out or written alike."""
    return authority.removesuffix(":80").removesuffix(":443")


def _origin_of(url: str | None) -> str | None:
    if not url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return f"{parts.scheme}://{parts.netloc}"


def _entries(text: str, pattern: str, what: str) -> list[str]:
    found = [part.strip().lower().removesuffix("/") for part in text.split(",") if part.strip()]
    for entry in found:
        if not re.fullmatch(pattern, entry, re.ASCII):
            raise ValueError(f"{entry!r} is no {what}")
    return found
