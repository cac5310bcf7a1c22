"""A deployed pipeline with a canary of the API and of one pool, its log, and what is run in it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from poolhouse.cloud.canary.outcomes import Outcomes
from poolhouse.cloud.canary.parts import Part
from poolhouse.cloud.canary.watch import Clock, Comparison, watch
from poolhouse.cloud.options import Options
from poolhouse.cloud.resource import Command, Json, Read

OPTIONS = Options(project="some-project", name="shop")
API = Part(kind="service", name="shop-api", new="shop-api-2", old="shop-api-1", percent=10)
MAIL = Part(kind="pool", name="shop-mail", new="shop-mail-2", old="shop-mail-1", percent=50)
START = datetime(2026, 11, 29, 12, tzinfo=UTC)


def outcomes(failed: int, ended: int) -> Outcomes:
    return Outcomes(failed=failed, ended=ended)


def line(revision: str, **payload: object) -> Json:
    return {"resource": {"labels": {"revision_name": revision}}, "jsonPayload": payload}


class Log:
    """Cloud Logging, and a clock that moves as it is waited for."""

    def __init__(self, *looks: dict[str, Outcomes]) -> None:
        """Args: looks: the outcomes that each look finds."""
        self.looks, self.now, self.waits, self.asked = list(looks), START, list[float](), list[Read]()

    def read_all(self, reads: Sequence[Read]) -> dict[tuple[str, ...], Json]:
        self.asked += reads
        found = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return {read.arguments: [*self.entries(read.arguments[2], found)] for read in reads}

    def entries(self, condition: str, found: dict[str, Outcomes]) -> list[Json]:
        return [
            line(revision, status=500 if number < seen.failed else 200)
            for revision, seen in found.items()
            if f'"{revision}"' in condition
            for number in range(seen.ended)
        ]

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += timedelta(seconds=seconds)

    def watch(self, *watched: Part, length_s: float = 70) -> tuple[Comparison, ...]:
        clock = Clock(now=lambda: self.now, sleep=self.sleep)
        return watch(self, watched, length_s=length_s, clock=clock, say=lambda text: None)  # type: ignore[arg-type]


def item(name: str, *, shares: list[Json], newest: str, kind: str = "traffic", image: str = "old@sha256:1") -> Json:
    """A service or pool as a listing shows it; all but shares and labels is as no deploy would leave it."""
    return {
        "metadata": {"name": name, "labels": {"poolhouse": "shop"}},
        "spec": {kind: shares, "template": {"spec": {"containers": [{"image": image}]}}},
        "status": {"latestReadyRevisionName": newest},
    }


LATEST = [{"latestRevision": True, "percent": 100}]
DIVIDED = [{"revisionName": "shop-api-1", "percent": 90}, {"latestRevision": True, "percent": 10}]


class Gcloud:
    """A project with a canary of the API and of one pool, and what is run in it."""

    program = "gcloud"

    def __init__(self) -> None:
        """Begin with nothing run."""
        self.commands = list[Command]()

    def read_all(self, reads: Sequence[Read]) -> dict[tuple[str, ...], Json]:
        pool = [{"revisionName": "shop-mail-1", "percent": 50}, {"latestRevision": True, "percent": 50}]
        listed = {
            "services": [item("shop-api", shares=DIVIDED, newest="shop-api-2")],
            "worker-pools": [item("shop-mail", shares=pool, newest="shop-mail-2", kind="instanceSplits")],
        }
        return {read.arguments: next(listed[word] for word in read.arguments if word in listed) for read in reads}

    def run(self, command: Command, **_: Any) -> str:
        self.commands.append(command)
        return ""

    def threads(self, name: str) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(2, thread_name_prefix=name)
