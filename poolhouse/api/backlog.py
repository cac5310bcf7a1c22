"""How much waits in each queue: from the source that the settings name, or nothing; never a guess."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from urllib.parse import quote

import google.auth
import google.auth.transport.requests
import requests

from poolhouse.pipeline.config.queue import Queue
from poolhouse.pipeline.config.settings import Settings
from poolhouse.pipeline.errors import PoolhouseError

#: Longest time of one look-up, in seconds.
TIMEOUT_S = 5
#: Cloud Monitoring's figures are sampled once a minute, and visible two to four minutes later.
_WINDOW = timedelta(minutes=10)


class BacklogUnavailable(PoolhouseError):
    """The source of the figures does not answer."""


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """Figures of one queue; None where the source has none."""

    #: Messages not finished yet: waiting ones, those that wait for a retry, and those in flight.
    backlog: int | None = None
    #: Messages that workers hold.
    in_flight: int | None = None
    #: Age of the oldest message not finished yet, in seconds.
    oldest_age_s: float | None = None


class BacklogSource(Protocol):
    """Where figures come from."""

    def look(self, queue: Queue) -> Backlog:
        """The figures of a queue. Raises `BacklogUnavailable`."""


class NoBacklog:
    """Knows nothing."""

    def look(self, queue: Queue) -> Backlog:
        return Backlog()


class EmulatorBacklog:
    """Asks the inspection call of Poolhouse's Pub/Sub emulator."""

    def __init__(self, host: str, *, project: str) -> None:
        self._url = f"http://{host}/admin/subscriptions/{quote(project, safe='')}"

    def look(self, queue: Queue) -> Backlog:
        return _together([self._look(tier.subscription) for tier in queue.tiers])

    def _look(self, subscription: str) -> Backlog:
        url = f"{self._url}/{subscription}"
        try:
            answer = requests.get(url, timeout=TIMEOUT_S)
            answer.raise_for_status()
            figures: Mapping[str, Any] = answer.json()
            waiting = int(figures["undelivered"]) + int(figures["delayed"])
            in_flight = int(figures["outstanding"])
            oldest = figures["oldest_unacked_age_s"]
        except (requests.RequestException, ValueError, KeyError, TypeError) as error:
            raise BacklogUnavailable(f"the emulator returned no backlog ({url}): {error}") from None
        return Backlog(
            backlog=waiting + in_flight, in_flight=in_flight, oldest_age_s=None if oldest is None else float(oldest)
        )


class MonitoringBacklog:
    """Asks Cloud Monitoring, whose figures are some minutes old; it has none of messages in flight."""

    def __init__(self, project: str, *, session: requests.Session | None = None) -> None:
        self._url = f"https://monitoring.googleapis.com/v3/projects/{project}/timeSeries"
        self._session = session

    def look(self, queue: Queue) -> Backlog:
        return _together([self._look(tier.subscription) for tier in queue.tiers])

    def _look(self, subscription: str) -> Backlog:
        backlog = self._newest(subscription, "num_undelivered_messages")
        age = self._newest(subscription, "oldest_unacked_message_age")
        return Backlog(backlog=None if backlog is None else int(backlog), oldest_age_s=age)

    def _newest(self, subscription: str, metric: str) -> float | None:
        now = datetime.now(UTC)
        query = {
            "filter": f'metric.type="pubsub.googleapis.com/subscription/{metric}"'
            f' AND resource.labels.subscription_id="{subscription}"',
            "interval.startTime": (now - _WINDOW).isoformat(),
            "interval.endTime": now.isoformat(),
            "pageSize": "1",
        }
        try:
            answer = self._authorized().get(self._url, params=query, timeout=TIMEOUT_S)
            answer.raise_for_status()
            series = answer.json().get("timeSeries", [])
            if not series:
                return None
            value = series[0]["points"][0]["value"]  # points come newest first
            return float(value["int64Value"] if "int64Value" in value else value["doubleValue"])
        except (requests.RequestException, google.auth.exceptions.GoogleAuthError) as error:
            raise BacklogUnavailable(f"Cloud Monitoring returned no {metric} of {subscription}: {error}") from None
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise BacklogUnavailable(
                f"Cloud Monitoring returned {metric} of {subscription} in an unknown form: {error!r}"
            ) from None

    def _authorized(self) -> requests.Session:
        if self._session is None:
            credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/monitoring.read"])
            self._session = google.auth.transport.requests.AuthorizedSession(credentials)
        return self._session


def _together(tiers: Sequence[Backlog]) -> Backlog:
    """The figures of a queue from those of its tiers; unknown where one is."""
    counts = [tier.backlog for tier in tiers if tier.backlog is not None]
    flying = [tier.in_flight for tier in tiers if tier.in_flight is not None]
    ages = [tier.oldest_age_s for tier in tiers if tier.oldest_age_s is not None]
    return Backlog(
        backlog=sum(counts) if len(counts) == len(tiers) else None,
        in_flight=sum(flying) if len(flying) == len(tiers) else None,
        oldest_age_s=max(ages, default=None),
    )


def open_source(settings: Settings) -> BacklogSource:
    """The source that the settings name."""
    match settings.backlog_source:
        case "emulator":
            return EmulatorBacklog(
                os.environ.get("PUBSUB_EMULATOR_HOST", "localhost:8085"), project=settings.google_cloud_project
            )
        case "monitoring":
            return MonitoringBacklog(settings.google_cloud_project)
        case _:
            return NoBacklog()
