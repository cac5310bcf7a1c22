"""What a receiver's answer means for a delivery."""

from __future__ import annotations

from collections.abc import Mapping

from poolhouse import Reject, Retry

#: Request Timeout, Too Early, Too Many Requests: the same request may be taken later (RFC 9110, RFC 8470, RFC 6585).
_LATER = frozenset({408, 425, 429})
#: The longest wait that a receiver may ask for, in seconds.
MAX_WAIT_S = 24 * 3600


def check(status: int, headers: Mapping[str, str]) -> None:
    """Return where the event was taken.

    Args:
        status: the answer's.
        headers: the answer's, whose names are found in any case.

    Raises:
        Retry: it may be taken later, not before the receiver's `Retry-After`.
        Reject: it won't be taken, however often it is sent.
    """
    if 200 <= status < 300:
        return
    if status in _LATER or status >= 500:
        raise Retry(f"the receiver answered {status}", after_s=_wait_s(headers.get("Retry-After", "")))
    raise Reject(f"the receiver answered {status}")


def _wait_s(retry_after: str) -> float | None:
    """Return the seconds of a Retry-After; None for the queue's own backoff, as where it is a date."""
    return min(int(retry_after), MAX_WAIT_S) if retry_after.isascii() and retry_after.isdigit() else None
