"""Quotas of throughput, where they are asked for: bytes or calls a second, and when to try again.

Source: Quotas and limits (throughput quotas), and google/rpc/error_details.proto.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from google.protobuf import duration_pb2
from google.rpc import error_details_pb2

from poolhouse_pubsub import numbers
from poolhouse_pubsub.status import Code, StatusError

#: What can be limited, and in what unit a second: of a project, a subscription or an ordering key.
QUOTAS: Final[Mapping[str, str]] = {
    "publish": "bytes that a project publishes",
    "subscribe": "bytes that a project receives",
    "subscription": "bytes that one subscription delivers",
    "ordering_key": "bytes that are published with one ordering key",
    "admin": "calls of a project that make, change, show or delete resources",
}
_UNITS: Final = {"KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000, "": 1}


def parse_quota(text: str) -> tuple[str, float]:
    """Read `KIND=AMOUNT`, such as `publish=4MB`: so much a second.

    Raises:
        ValueError: It is none.
    """
    kind, _, amount = text.partition("=")
    digits = amount.rstrip("BGKM")
    unit = amount[len(digits) :]
    if kind not in QUOTAS or unit not in _UNITS:
        raise ValueError(f"{text!r} is no quota: it is KIND=AMOUNT, as publish=4MB; kinds are {', '.join(QUOTAS)}")
    try:
        rate = numbers.number(digits) * _UNITS[unit]
    except ValueError:
        rate = 0.0
    if not rate > 0:
        raise ValueError(f"{text!r} is no quota: the amount is a number above 0, with KB, MB or GB for bytes")
    return kind, rate


class Throughput:
    """Token buckets, each of which holds one second's worth.

    Args:
        rates: Amount a second by kind (`QUOTAS`).
        now: The time, in seconds.
    """

    def __init__(self, rates: Mapping[str, float], *, now: Callable[[], float]) -> None:
        unknown = set(rates) - set(QUOTAS)
        if unknown:
            raise ValueError(f"no such quota: {', '.join(sorted(unknown))}; there are {', '.join(QUOTAS)}")
        self._rates = dict(rates)
        self._now = now
        #: When the bucket of a kind and an owner will be full again.
        self._full_at: dict[tuple[str, str], float] = {}

    def check(self, kind: str, owner: str) -> None:
        """Refuse a call whose bucket is empty.

        Raises:
            StatusError: RESOURCE_EXHAUSTED, with when to try again.
        """
        rate = self._rates.get(kind)
        if rate is None:
            return
        missing_s = self._full_at.get((kind, owner), 0.0) - self._now() - 1.0
        if missing_s < 0:
            return
        delay = duration_pb2.Duration()
        delay.FromMicroseconds(int(missing_s * 1e6) + 1_000)
        raise StatusError(
            Code.RESOURCE_EXHAUSTED,
            f"Quota exceeded for {kind} of {owner}: {QUOTAS[kind]}, at most {rate:g} a second; "
            f"try again in {missing_s:.3f} s.",
            details=[
                error_details_pb2.RetryInfo(retry_delay=delay),
                error_details_pb2.ErrorInfo(
                    reason="RATE_LIMIT_EXCEEDED", domain="googleapis.com", metadata={"quota": kind, "consumer": owner}
                ),
            ],
        )

    def charge(self, kind: str, owner: str, amount: float) -> None:
        """Take an amount out of a bucket, which may go below empty: the next call waits for longer then."""
        rate = self._rates.get(kind)
        if rate is not None:
            now = self._now()
            self._full_at[kind, owner] = max(now, self._full_at.get((kind, owner), now)) + amount / rate
