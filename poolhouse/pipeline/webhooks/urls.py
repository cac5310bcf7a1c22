"""Checking the URL of a webhook, as far as that goes without resolving its host."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from poolhouse.pipeline.config.webhook_options import Webhooks
from poolhouse.pipeline.webhooks import addresses

#: Pub/Sub, Quotas and limits: the value of an attribute has at most 1,024 bytes.
MAX_URL_LENGTH = 1024


def check_url(url: str) -> SplitResult:
    """The parts of a URL that a webhook can have.

    Raises:
        ValueError: says what is wrong, without the URL.
    """
    if len(url) > MAX_URL_LENGTH:
        raise ValueError(f"must not have more than {MAX_URL_LENGTH:,} characters")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("must have ASCII characters only, and no blanks: encode others")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("must be a URL, such as https://shop.example/hooks") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError("must be a URL, such as https://shop.example/hooks")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not have a user name or password: the signature proves who calls")
    if parts.fragment:
        raise ValueError("must not have a fragment (#)")
    return parts


def check_allowed(url: str, options: Webhooks) -> None:
    """Check a URL against `[webhooks]`: what can be seen of it now. Where its name leads is looked at with each call.

    Raises:
        ValueError: says what is wrong.
    """
    parts = check_url(url)
    host, tls = parts.hostname or "", parts.scheme == "https"
    try:
        refused = addresses.refusal(host, host=host, tls=tls, options=options)
    except ValueError:  # a name
        allowed = tls or options.allow_private is True or options.lists(host)
        refused = None if allowed else "must begin with https://, unless [webhooks] allow_private lists the host"
    if refused is not None:
        raise ValueError(refused)
