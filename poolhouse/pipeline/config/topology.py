"""`pipeline.toml` as frozen types: what both stacks (local and Google Cloud) realise."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator

from poolhouse.pipeline import text_files
from poolhouse.pipeline.config import cron_expression, environment, stages
from poolhouse.pipeline.config.deploy_options import Api, Deploy
from poolhouse.pipeline.config.environment import Env, Secrets, Version
from poolhouse.pipeline.config.payload import DeclaredPayload
from poolhouse.pipeline.config.stages import Stage, StageError
from poolhouse.pipeline.config.triggers import Trigger
from poolhouse.pipeline.config.webhook_options import Webhooks
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.messaging.fair_tiers import TIERS
from poolhouse.pipeline.tasks.large_values import INLINE_BYTES

Name = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$")]
LifecyclePrefix = Literal[
    "uploads", "processed", "results", "tasks", "dead-letters", "idempotency", "payloads", "groups", "limits", "index"
]


#: What the names of a fair queue's further topics and subscriptions go on with; no queue's name has a dot.
TIER_SUFFIX = ".tier-"
#: What a field with a pattern takes, by its name; the others are names.
_PATTERNS = {
    "handlers": "the name of a module, such as worker.handlers",
    "api": "a function in a module, such as api.app:create",
    "hooks": "a class or function in a module, such as shop.hooks:Metrics",
    "e2e": "the name of a module, such as local.e2e.cases",
}
#: A dotted module name.
_MODULE = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*"
#: Least and most memory by vCPUs, in MiB (Cloud Run, memory limits for worker pools).
MEMORY_MIB: Mapping[int, tuple[int, int]] = {
    1: (512, 4096),
    2: (512, 8192),
    4: (2048, 16_384),
    6: (4096, 24_576),
    8: (4096, 32_768),
}


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Workers(_Model):
    """The workers of one queue: size of an instance and how many of them."""

    #: vCPUs of an instance: 1, 2, 4, 6 or 8 (Cloud Run, CPU limits for worker pools; jobs take the same).
    cpu: int = 1
    #: Memory of an instance, in MiB. 512 to 4,096 with 1 vCPU, up to 8,192 with 2; 2,048 to 16,384 with 4; 4,096 to
    #: 24,576 with 6; 4,096 to 32,768 with 8.
    memory_mib: int = 1024
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
        if value not in MEMORY_MIB:
            raise ValueError(f"an instance of a worker pool has {_choice(MEMORY_MIB)} vCPU, not {value}")
        return value

    @model_validator(mode="after")
    def _memory_fits(self) -> Self:
        least, most = MEMORY_MIB[self.cpu]
        if not least <= self.memory_mib <= most:
            raise ValueError(
                f"memory_mib is {self.memory_mib}: with {self.cpu} vCPU a worker pool takes {least} to {most} MiB"
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


class Queue(_Model):
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
    fair_weights: dict[str, Annotated[float, Field(gt=0, le=1000)]] = {}
    #: Size and number of its workers.
    workers: Workers = Workers()
    #: Variables of this queue's workers, on top of those of all.
    env: Env = {}
    #: Secrets of this queue's workers, on top of those of all: by variable, the version.
    secrets: Secrets = {}

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


class Schedule(_Model):
    """A task submitted at the times of a cron expression."""

    #: Name of the schedule, from the table's name.
    name: Name
    #: Cron expression with five fields, such as `30 3 * * *`.
    cron: str
    #: IANA time zone that the expression is read in, such as `Europe/Berlin`.
    time_zone: str = "Etc/UTC"
    #: Task type to submit.
    task_type: str = Field(min_length=1)
    #: Queue of the task; unset: the task type's own.
    queue: str | None = None
    #: Payload of the task.
    payload: DeclaredPayload = {}
    #: Runs missed while nothing was running: `skip` drops them, `once` makes up for the latest (on Google Cloud: within
    #: a day).
    missed_runs: Literal["skip", "once"] = "skip"

    @field_validator("cron")
    @classmethod
    def _cron(cls, value: str) -> str:
        return cron_expression.normalized(value)

    @field_validator("time_zone")
    @classmethod
    def _time_zone(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError("not a time zone of the IANA database, such as Europe/Berlin or Etc/UTC")
        return value

    @property
    def zone(self) -> ZoneInfo:
        """The time zone that the expression is read in."""
        return ZoneInfo(self.time_zone)


class Bucket(_Model):
    """The bucket's lifecycle."""

    #: By prefix, days after which its objects are deleted; an unnamed prefix is kept for ever.
    lifecycle_days: dict[LifecyclePrefix, Annotated[int, Field(ge=1, le=36_500)]] = {}

    @model_validator(mode="after")
    def _payloads_outlive_letters(self) -> Self:
        payloads, letters = self.lifecycle_days.get("payloads"), self.lifecycle_days.get("dead-letters")
        if payloads is not None and (letters is None or payloads < letters):
            kept = "for ever" if letters is None else f"for {letters} days"
            raise ValueError(f"lifecycle_days: payloads go after {payloads} days, but dead letters are kept {kept}")
        return self


class Payloads(_Model):
    """How large payloads may be, and from when on they are objects of the bucket instead of parts of their messages."""

    #: Bytes, as JSON, up to which a payload travels in its message and is kept in its task's record. A larger one is
    #: written to the bucket once, and message and record refer to it. A message holds 10 MB, its attributes included.
    inline_bytes: int = Field(default=INLINE_BYTES, ge=1000, le=9_900_000)
    #: Longest body of a request to the API, in bytes, and so the largest payload. An instance of the API holds bodies
    #: of this many bytes at the same time, and takes up to thirteen times as much memory for them (`memory_mib` of
    #: `[deploy.api]`). Cloud Run takes requests of 32 MiB.
    max_bytes: int = Field(default=20_000_000, ge=100_000, le=256_000_000)

    @model_validator(mode="after")
    def _inline_before_most(self) -> Self:
        if self.inline_bytes > self.max_bytes:
            raise ValueError(f"inline_bytes ({self.inline_bytes}) is above max_bytes ({self.max_bytes})")
        return self


class Index(_Model):
    """The index of tasks, which listings and figures are made of (docs/task-index.md)."""

    #: Least time between two writes of one process to it, in seconds: how old a listing may be, and what it costs.
    write_interval_s: float = Field(default=2.0, ge=1, le=3600)


class Topology(_Model):
    """All that `pipeline.toml` declares, for one stage."""

    #: Name of the pipeline: prefix of its topics, subscriptions and Cloud Run services.
    name: Name = "poolhouse"
    #: Modules that register handlers, and packages of such modules. The variable TASK_HANDLERS takes their place.
    handlers: tuple[Annotated[str, Field(pattern=f"{_MODULE}$")], ...] = Field(
        default=("worker.handlers",), min_length=1
    )
    #: Hooks, as `module:Name`: a class derived from `poolhouse.Hook`, or a function that makes one. API, workers,
    #: scheduler and handler processes each have their own; the first is outermost.
    hooks: tuple[Annotated[str, Field(pattern=f"{_MODULE}:[A-Za-z_][A-Za-z0-9_]*$")], ...] = ()
    #: The API to serve, as `module:function`: the function takes nothing and returns a FastAPI application.
    api: Annotated[str, Field(pattern=f"{_MODULE}:[A-Za-z_][A-Za-z0-9_]*$")] = "poolhouse.api.app:create_app"
    #: Modules with cases of `invoke e2e`, as `poolhouse.local.e2e.case` describes them.
    e2e: tuple[Annotated[str, Field(pattern=f"{_MODULE}$")], ...] = ()
    #: Where and how it is deployed.
    deploy: Deploy = Deploy()
    #: Variables of the API and of all workers.
    env: Env = {}
    #: Secrets of the API and of all workers: by variable, the version.
    secrets: Secrets = {}
    #: One table per queue; the first has the highest priority.
    queues: tuple[Queue, ...] = Field(min_length=1)
    #: One table per schedule.
    schedules: tuple[Schedule, ...] = ()
    #: One table per trigger.
    triggers: tuple[Trigger, ...] = ()
    #: Sizes of payloads.
    payloads: Payloads = Payloads()
    #: The bucket's lifecycle.
    bucket: Bucket = Bucket()
    #: The index of tasks.
    index: Index = Index()
    #: Completion webhooks; without the table there are none.
    webhooks: Webhooks | None = None

    #: Which stage this is; set by `parse`.
    _stage: Stage | None = PrivateAttr(default=None)

    @property
    def stage(self) -> Stage:
        """Which stage of the declaration this is."""
        return self._stage or Stage(pipeline=self.name, family=self.name)

    def handlers_under(self, variables: Mapping[str, str]) -> tuple[str, ...]:
        """The modules that register handlers where these variables are set: TASK_HANDLERS comes before `handlers`."""
        return module_names(variables.get("TASK_HANDLERS", "")) or self.handlers

    @cached_property
    def by_name(self) -> Mapping[str, Queue]:
        """The queues by name, in the order of the file: the first one has the highest priority."""
        return {queue.name: queue for queue in self.queues}

    @property
    def default_queue(self) -> Queue:
        """Where a task goes that names no queue: `default` where declared, else the first."""
        return self.by_name.get("default", self.queues[0])

    @property
    def longest_wait(self) -> timedelta:
        """The time after which no message of a task is left in any queue."""
        return timedelta(seconds=max(queue.retention_s for queue in self.queues))

    def queue_of(self, trigger: Trigger) -> Queue:
        """The queue of a trigger's tasks."""
        return self.default_queue if trigger.queue is None else self.by_name[trigger.queue]

    def env_of(self, queue: Queue) -> Mapping[str, str]:
        """Variables of a queue's workers."""
        return {**self.env, **queue.env}

    def secrets_of(self, queue: Queue) -> Mapping[str, Version]:
        """Secrets of a queue's workers."""
        return {**self.secrets, **queue.secrets}

    @property
    def all_secrets(self) -> tuple[str, ...]:
        """Names of all secrets, each once."""
        return tuple(dict.fromkeys([*self.secrets, *(name for queue in self.queues for name in queue.secrets)]))

    @model_validator(mode="after")
    def _either_variable_or_secret(self) -> Self:
        environment.check(self.env, self.secrets)
        for queue in self.queues:
            environment.check(self.env_of(queue), self.secrets_of(queue))
        return self

    @model_validator(mode="after")
    def _webhooks_can_be_sent(self) -> Self:
        options = self.webhooks
        if options is None:
            return self
        if options.queue is not None and options.queue not in self.by_name:
            names = ", ".join(self.by_name)
            raise ValueError(f"webhooks.queue: there is no queue {options.queue!r} (queues: {names})")
        secrets = self.secrets if options.queue is None else self.secrets_of(self.by_name[options.queue])
        if options.secret not in secrets:
            raise ValueError(f"webhooks.secret: {options.secret} is not declared: add it under [secrets]")
        return self

    @model_validator(mode="after")
    def _queues_exist(self) -> Self:
        for kind, entries in (("schedule", self.schedules), ("trigger", self.triggers)):
            for entry in entries:
                if entry.queue is not None and entry.queue not in self.by_name:
                    names = ", ".join(self.by_name)
                    raise ValueError(f"{kind} {entry.name}: there is no queue {entry.queue!r} (queues: {names})")
        return self


def load(path: str | Path, *, stage: str = "") -> Topology:
    """Read `pipeline.toml`.

    Args:
        path: the file.
        stage: which of its stages; empty: the declaration as it stands.

    Raises:
        ConfigError: no such file, not TOML, or a value outside its rules: with file, line and what is allowed.
    """
    path = Path(path)
    return parse(_read(path), source=str(path), stage=stage)


def module_names(text: str) -> tuple[str, ...]:
    """The modules that a value of TASK_HANDLERS names, separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def line_of(path: str | Path, *keys: str) -> str:
    """Where a file declares something, as `FILE:LINE`; the table that is nearest where it has no line of its own."""
    return f"{path}:{_line(_read(Path(path)), keys)}"


def _read(path: Path) -> str:
    try:
        return text_files.read(path)
    except ConfigError as error:
        raise ConfigError(f"{error}. PIPELINE_FILE names the file to read.") from None


def parse(text: str, *, source: str = "pipeline.toml", stage: str = "") -> Topology:
    """Read the text of a `pipeline.toml`; `source` is the name used in errors. Raises `ConfigError`.

    The declaration as it stands and every stage are checked, whichever is asked for: a mistake in one that is seldom
    deployed is seen on the day that it is made.
    """
    document = _document(text, source)
    found = _every(document, text, source)
    return _parse(document, stage, text, source) if stage else found[0]


def load_all(path: str | Path) -> tuple[Topology, ...]:
    """The declaration as it stands, then each of its stages; one of a pattern as an example. Raises `ConfigError`."""
    path = Path(path)
    return _every(_document(_read(path), str(path)), _read(path), str(path))


def _document(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source}: not TOML: {error}") from None


def _every(document: dict[str, Any], text: str, source: str) -> tuple[Topology, ...]:
    base = _parse(document, "", text, source)
    examples = [key[:-1] + "1" if key.endswith("*") else key for key in document.get("stages", {})]
    found = (base, *(_parse(document, name, text, source) for name in examples))
    try:
        stages.check_apart(
            (each.stage, [*(queue.name for queue in each.queues), *(entry.name for entry in each.schedules)])
            for each in found
        )
    except StageError as error:
        raise ConfigError(f"{source}:{_line(text, error.path)}: {'.'.join(error.path)}: {error}") from None
    return found


def _parse(document: Mapping[str, Any], name: str, text: str, source: str) -> Topology:
    """The declaration of one stage. Raises `ConfigError`."""
    try:
        stage, merged = stages.choose(document, name)
    except StageError as error:
        raise ConfigError(f"{source}:{_line(text, error.path)}: {'.'.join(error.path)}: {error}") from None
    topology = _validate(merged, text, source, ("stages", stage.key) if stage.key else ())
    topology._stage = stage
    return topology


def _validate(document: dict[str, Any], text: str, source: str, under: tuple[str, ...]) -> Topology:
    prefix = document.get("name", "poolhouse")
    for table, extra in (("queues", {"prefix": prefix}), ("schedules", {}), ("triggers", {})):
        named = document.get(table, {})
        if not isinstance(named, dict) or not all(isinstance(entry, dict) for entry in named.values()):
            raise ConfigError(f"{source}:{_line(text, (table,))}: write one table for each, as in [{table}.NAME]")
        for name, entry in named.items():
            for fixed in ("name", *extra):
                if fixed in entry:
                    raise ConfigError(f"{source}:{_line(text, (table, name, fixed))}: {fixed} is not set by hand")
        document[table] = tuple({"name": name, **extra, **entry} for name, entry in named.items())
    try:
        return Topology.model_validate(document)
    except ValidationError as error:
        raise ConfigError(_explain(error, document, text, source, under)) from None


def _explain(error: ValidationError, document: dict[str, Any], text: str, source: str, under: tuple[str, ...]) -> str:
    lines = []
    for problem in error.errors():
        keys = list(problem["loc"])
        if len(keys) >= 2 and isinstance(keys[1], int):  # the tuple's index back to the table's name
            keys[1] = document[str(keys[0])][keys[1]]["name"]
        path = tuple(str(key) for key in keys)
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = f"unknown field (allowed: {', '.join(_fields(path[:-1]))})"
        elif problem["type"] == "string_pattern_mismatch":
            message = _PATTERNS.get(
                path[0], "a name has 1 to 30 lowercase letters, digits and -, and starts with a letter"
            )
        where = (*under, *path)
        lines.append(f"{source}:{_line(text, where)}: {'.'.join(where) or 'pipeline'}: {message}")
    return "\n".join(lines)


def _choice(values: Iterable[object]) -> str:
    """The values as a person lists them: 1, 2 or 3."""
    *most, last = map(str, values)
    return f"{', '.join(most)} or {last}" if most else last


def _fields(path: tuple[str, ...]) -> list[str]:
    models: dict[str, type[BaseModel]] = {"queues": Queue, "schedules": Schedule, "triggers": Trigger, "bucket": Bucket}
    models |= {"payloads": Payloads, "deploy": Deploy, "webhooks": Webhooks}
    model = models.get(path[0], Topology) if path else Topology
    if path[-1:] == ("workers",):
        model = Workers
    if path == ("deploy", "api"):
        model = Api
    fixed = {Queue: {"name", "prefix"}, Schedule: {"name"}, Trigger: {"name"}}.get(model, set())
    return [name for name in model.model_fields if name not in fixed]


def _line(text: str, path: tuple[str, ...]) -> int:
    """The line that a mistake is on: the deepest part of `path` that the text shows."""
    table: tuple[str, ...] = ()
    best, depth = 1, 0
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line)
        if header:
            table = tuple(part.strip().strip("\"'") for part in header[1].split("."))
            found = table
        else:
            key = re.match(r"\s*([\w.\"'-]+)\s*=", line)
            if not key:
                continue
            found = (*table, *(part.strip("\"'") for part in key[1].split(".")))
        if found == path[: len(found)] and len(found) > depth:
            best, depth = number, len(found)
    return best
