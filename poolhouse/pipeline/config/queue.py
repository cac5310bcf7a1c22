"""`[queues.NAME]` of pipeline.toml, and the workers of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from poolhouse.pipeline.config.base import Name, Table
from poolhouse.pipeline.config.environment import Env, Secrets
from poolhouse.pipeline.config.objectives import Objectives
from poolhouse.pipeline.messaging.fair_tiers import TIERS
from poolhouse.pipeline.nearest import did_you_mean

#: What the names of a fair queue's further topics and subscriptions go on with; no queue's name has a dot.
TIER_SUFFIX = ".tier-"
#: Least and most memory by vCPUs, in MiB (Cloud Run, memory limits for worker pools).
MEMORY_MIB: Mapping[int, tuple[int, int]] = {
    1: (512, 4096),
    2: (512, 8192),
    4: (2048, 16_384),
    6: (4096, 24_576),
    8: (4096, 32_768),
}


#: By GPU, the same for instances that have one (Cloud Run, GPU support for worker pools: an L4 needs 4 vCPU and 16 GiB
#: at least, an RTX PRO 6000 20 and 80; what more the latter may have is not said).
GPU_MEMORY_MIB: Mapping[str, Mapping[int, tuple[int, int]]] = {
    "nvidia-l4": {4: (16_384, 16_384), 6: (16_384, 24_576), 8: (16_384, 32_768)},
    "nvidia-rtx-pro-6000": {20: (81_920, 81_920)},
}


class Workers(Table):
    """The workers of one queue: size of an instance and how many of them."""

    #: vCPUs of an instance: 1, 2, 4, 6 or 8 (Cloud Run, CPU limits for worker pools; jobs take the same).
    cpu: int = 1
    #: Memory of an instance, in MiB. 512 to 4,096 with 1 vCPU, up to 8,192 with 2; 2,048 to 16,384 with 4; 4,096 to
    #: 24,576 with 6; 4,096 to 32,768 with 8.
    memory_mib: int = 1024
    #: The GPU of an instance on Google Cloud, for `workers = "pool"`: `nvidia-l4`, with 4, 6 or 8 vCPU and 16,384 MiB
    #: at least, or `nvidia-rtx-pro-6000`, with 20 vCPU and 81,920 MiB. Local workers run without.
    gpu: str | None = None
    #: Tasks that one instance runs at the same time.
    concurrency: int = Field(default=8, ge=1, le=1000)
    #: Fewest instances; above 0 a queue never waits for the first one to start.
    min_instances: int = Field(default=0, ge=0, le=1000)
    #: Most instances, whatever the backlog.
    max_instances: int = Field(default=10, ge=1, le=1000)
    #: Backlog that one instance should have: the backlog divided by this is the wanted number of instances.
    target_backlog: int = Field(default=100, ge=1)

    @field_validator("cpu")
    @classmethod
    def _whole_cpus(cls, value: int) -> int:
        if not any(value in sizes for sizes in (MEMORY_MIB, *GPU_MEMORY_MIB.values())):
            raise ValueError(f"an instance of a worker pool has {_choice(MEMORY_MIB)} vCPU, not {value}")
        return value

    @field_validator("gpu")
    @classmethod
    def _known_gpu(cls, value: str | None) -> str | None:
        if value is not None and value not in GPU_MEMORY_MIB:
            raise ValueError(
                f"{value!r} is no GPU of Cloud Run, which are {' and '.join(GPU_MEMORY_MIB)}."
                f"{did_you_mean(value, GPU_MEMORY_MIB)}"
            )
        return value

    @model_validator(mode="after")
    def _size_fits(self) -> Self:
        sizes = MEMORY_MIB if self.gpu is None else GPU_MEMORY_MIB[self.gpu]
        with_gpu = f" with {self.gpu}" if self.gpu else ""
        if self.cpu not in sizes:
            raise ValueError(f"an instance of a worker pool{with_gpu} has {_choice(sizes)} vCPU, not {self.cpu}")
        least, most = sizes[self.cpu]
        if not least <= self.memory_mib <= most:
            taken = f"{least} to {most}" if least < most else f"{least}"
            raise ValueError(
                f"memory_mib is {self.memory_mib}: with {self.cpu} vCPU a worker pool{with_gpu} takes {taken} MiB"
            )
        return self

    @model_validator(mode="after")
    def _least_before_most(self) -> Self:
        if self.min_instances > self.max_instances:
            raise ValueError(f"min_instances ({self.min_instances}) is above max_instances ({self.max_instances})")
        return self


class Tier(NamedTuple):
    """A topic of a queue, and the subscription that its workers pull."""

    topic: str
    subscription: str


class Queue(Table):
    """One priority level: topic, subscription, dead-letter topic and subscription, and its own workers.

    Ranges are Pub/Sub's (Subscription properties). The names derive from the pipeline's name and the queue's.
    """

    #: Name of the queue, from the table's name.
    name: Name
    #: The pipeline's name: prefix of the resources.
    prefix: Name
    #: Lease of a task, in seconds, extended while its handler runs: after it, a task of a dead worker is redelivered.
    ack_deadline_s: int = Field(default=30, ge=10, le=600)
    #: Seconds before the first retry; the pause grows exponentially from here.
    retry_min_backoff_s: float = Field(default=2, ge=0, le=600)
    #: Longest pause between two attempts, in seconds.
    retry_max_backoff_s: float = Field(default=300, ge=0, le=600)
    #: Attempts before a task becomes a dead letter.
    max_attempts: int = Field(default=5, ge=1, le=100)
    #: How long an unprocessed message is kept, in seconds: 10 minutes to 31 days.
    retention_s: int = Field(default=604_800, ge=600, le=2_678_400)
    #: Pub/Sub's exactly-once delivery: fewer duplicates, slower acks. Records recognise duplicates either way.
    exactly_once: bool = False
    #: Field of the payload that names the tenant: tasks of one tenant don't keep those of another waiting. Unset: first
    #: in, first out, as far as Pub/Sub keeps that.
    fair_by: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    #: By tenant, how many of its tasks count as one of the others; only with `fair_by`.
    fair_weights: dict[str, Annotated[float, Field(strict=True, gt=0, le=1000)]] = Field(default_factory=dict)
    #: Size and number of its workers.
    workers: Workers = Workers()
    #: What is promised of its tasks.
    slo: Objectives = Objectives()
    #: Variables of this queue's workers, on top of those of all.
    env: Env = Field(default_factory=dict)
    #: Secrets of this queue's workers, on top of those of all: by variable, the version.
    secrets: Secrets = Field(default_factory=dict)

    @model_validator(mode="after")
    def _backoff_in_order(self) -> Self:
        if self.retry_min_backoff_s > self.retry_max_backoff_s:
            raise ValueError(
                f"retry_min_backoff_s ({self.retry_min_backoff_s:g}) is above "
                f"retry_max_backoff_s ({self.retry_max_backoff_s:g})"
            )
        return self

    @model_validator(mode="after")
    def _weights_of_tenants(self) -> Self:
        if self.fair_weights and self.fair_by is None:
            raise ValueError("fair_weights has no meaning without fair_by: name the field of the payload")
        return self

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """Where its tasks wait, the first tier first; one tier without `fair_by`."""
        first = Tier(topic=self.topic, subscription=self.subscription)
        more = range(1, TIERS if self.fair_by is not None else 1)
        return (
            first,
            *(
                Tier(topic=f"{self.topic}{TIER_SUFFIX}{n}", subscription=f"{self.subscription}{TIER_SUFFIX}{n}")
                for n in more
            ),
        )

    @property
    def topic(self) -> str:
        """Topic id (the last part of its path)."""
        return f"{self.prefix}-{self.name}"

    @property
    def subscription(self) -> str:
        """Id of the subscription that the workers pull."""
        return f"{self.topic}-workers"

    @property
    def dead_letter_topic(self) -> str:
        """Id of the topic that takes what failed for good."""
        return f"{self.topic}-dead-letters"

    @property
    def dead_letter_subscription(self) -> str:
        """Id of the subscription that the dead-letter worker pulls."""
        return self.dead_letter_topic

    @property
    def max_delivery_attempts(self) -> int:
        """The subscription's own limit, 5 to 100 (Pub/Sub, DeadLetterPolicy).

        The records count attempts; Pub/Sub also counts deliveries that were none (a duplicate that waits for the
        attempt in hand, a worker told to stop). So Pub/Sub's limit is the backstop behind the records', not the rule.
        """
        return min(100, max(5, 3 * self.max_attempts))


def _choice(values: Iterable[object]) -> str:
    """The values as a person lists them: 1, 2 or 3."""
    *most, last = map(str, values)
    return f"{', '.join(most)} or {last}" if most else last
