"""`pipeline.toml` as frozen types: what both stacks (local and Google Cloud) realise."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, PrivateAttr, ValidationError, field_validator, model_validator

from poolhouse.pipeline import text_files
from poolhouse.pipeline.config import environment, stages
from poolhouse.pipeline.config.api_access import ApiKey
from poolhouse.pipeline.config.base import NAME_PATTERN, Name, Table
from poolhouse.pipeline.config.bucket import Bucket, Index, Payloads
from poolhouse.pipeline.config.console_options import Console
from poolhouse.pipeline.config.deploy_options import Accounts, Api, Deploy, Vpc
from poolhouse.pipeline.config.environment import Env, Secrets, Version
from poolhouse.pipeline.config.objectives import Objectives
from poolhouse.pipeline.config.queue import Queue, Workers
from poolhouse.pipeline.config.schedule import Schedule
from poolhouse.pipeline.config.stages import Stage, StageError
from poolhouse.pipeline.config.triggers import Trigger
from poolhouse.pipeline.config.webhook_options import Webhooks
from poolhouse.pipeline.errors import ConfigError

#: Tables of tables: each entry has its name as a key, and its place in a tuple once it is validated.
_NAMED = ("queues", "schedules", "triggers")
#: What a field with a pattern takes, by its name; or what everything in a table of that name takes.
_PATTERNS = {
    "handlers": "the name of a module, such as worker.handlers",
    "api": "a function in a module, such as api.app:create",
    "hooks": "a class or function in a module, such as shop.hooks:Metrics",
    "e2e": "the name of a module, such as local.e2e.cases",
    "env": "a variable has capital letters, digits and _, at most 100, and starts with a letter or _",
    "secrets": "a variable has capital letters, digits and _, at most 100, and starts with a letter or _",
    "fair_by": "the name of a field of the payload: letters, digits and _",
    "region": "a region, such as europe-west1",
    "build_region": "a region, such as us-central1",
    "channel": "the full name of a channel: projects/P/notificationChannels/N",
    "origins": "an origin, such as https://app.example.com, or *",
    "sha256": "64 hexadecimal digits, as `./invoke new-key` prints them",
    "network": "the name of a network, such as backend; of a Shared VPC projects/HOST/global/networks/NAME",
    "subnet": "the name of a subnet, such as backend-eu; of a Shared VPC projects/HOST/regions/REGION/subnetworks/NAME",
    "tags": "a network tag has 1 to 63 lowercase letters, digits and -, and starts with a letter",
    "cloud_sql": "the name of a Cloud SQL instance, such as orders; elsewhere PROJECT:REGION:NAME",
    "worker_roles": "a role, such as roles/bigquery.jobUser or projects/P/roles/NAME",
    "accounts": "the e-mail address of a service account: NAME@PROJECT.iam.gserviceaccount.com",
    "kms_key": "the full name of a key: projects/P/locations/REGION/keyRings/RING/cryptoKeys/KEY",
    "viewers": "user:ADDRESS, group:ADDRESS, serviceAccount:ADDRESS or domain:DOMAIN",
    "operators": "user:ADDRESS, serviceAccount:ADDRESS or domain:DOMAIN",
    "labels": "a label has at most 63 lowercase letters, digits, _ and -, and its key starts with a letter",
}
#: What a value of another form is told, in words of TOML instead of Python's.
_FORMS = {
    "too_short": "there must be at least one",
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
}
#: A message of a check of several tables, which begins with the place of the mistake.
_PLACED = re.compile(r"(?P<place>[a-z_]+(\.[\w-]+)+): (?P<text>.*)", re.DOTALL)
#: A dotted module name.
_MODULE = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*"


class Topology(Table):
    """All that `pipeline.toml` declares, for one stage."""

    #: Name of the pipeline: prefix of its topics, subscriptions and Cloud Run services. Google Cloud refuses names that
    #: begin with `goog` or contain `google`.
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
    #: The deployed console.
    console: Console = Console()
    #: Variables of the API and of all workers.
    env: Env = Field(default_factory=dict)
    #: Secrets of the API and of all workers: by variable, the version.
    secrets: Secrets = Field(default_factory=dict)
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

    @property
    def environments(self) -> tuple[Mapping[str, str], ...]:
        """Variables of the API, and of each queue's workers."""
        return (self.env, *(self.env_of(queue) for queue in self.queues))

    def secrets_of(self, queue: Queue) -> Mapping[str, Version]:
        """Secrets of a queue's workers."""
        return {**self.secrets, **queue.secrets}

    @property
    def secrets_of_hooks(self) -> Mapping[str, Version]:
        """Secrets of a part that runs hooks and no handler: any of them may be a hook's."""
        return self.secrets if self.hooks else {}

    @property
    def all_secrets(self) -> tuple[str, ...]:
        """Names of all secrets, each once."""
        return tuple(dict.fromkeys([*self.secrets, *(name for queue in self.queues for name in queue.secrets)]))

    @field_validator("name")
    @classmethod
    def _not_googles(cls, name: str) -> str:
        # Pub/Sub, Resource names; Cloud Storage, Bucket names.
        if name.startswith("goog") or "google" in name:
            raise ValueError(f"{name}: Google Cloud refuses names that begin with goog or contain google")
        return name

    @model_validator(mode="after")
    def _names_apart(self) -> Self:
        jobs = ("dead-letters", *self.by_name)
        for queue in self.by_name:
            if queue == "dead-letters" or queue.removesuffix("-dead-letters") in self.by_name.keys() - {queue}:
                raise ValueError(f"queues.{queue}: what keeps dead letters has that name: rename the queue")
        for schedule in self.schedules:
            if schedule.name.removeprefix("run-") in jobs and schedule.name.startswith("run-"):
                raise ValueError(f"schedules.{schedule.name}: what starts jobs has that name: rename the schedule")
        return self

    @model_validator(mode="after")
    def _gpus_are_for_pools(self) -> Self:
        for queue in self.queues:
            if queue.workers.gpu is not None and self.deploy.workers == "job":
                raise ValueError(
                    f'queues.{queue.name}.workers.gpu: GPUs are for workers = "pool". A stage with jobs can\'t take '
                    "one away: declare it in those that have pools"
                )
        return self

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
        for table, entries in (("schedules", self.schedules), ("triggers", self.triggers)):
            for entry in entries:
                if entry.queue is not None and entry.queue not in self.by_name:
                    names = ", ".join(self.by_name)
                    place = f"{table}.{entry.name}.queue"
                    raise ValueError(f"{place}: there is no queue {entry.queue!r} (queues: {names})")
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
    except (tomllib.TOMLDecodeError, RecursionError) as error:
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
    for table in _NAMED:
        extra = {"prefix": prefix} if table == "queues" else {}
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
    problems = error.errors()
    for problem in problems:
        keys = list(problem["loc"])
        within = any(other["loc"][: len(keys)] == problem["loc"] != other["loc"] for other in problems)
        if (keys[:1] == ["queues"] and keys[-1] == "prefix") or (problem["type"] == "too_short" and within):
            continue  # what is wrong is told by another: of the pipeline's name, or of what the list holds
        if len(keys) >= 2 and keys[0] in _NAMED and isinstance(keys[1], int):  # the tuple's index to the table's name
            keys[1] = document[str(keys[0])][keys[1]]["name"]
        path = tuple(str(key) for key in keys)
        message = problem["msg"].removeprefix("Value error, ")
        if not path and (placed := _PLACED.fullmatch(message)):  # what the tables say together
            path, message = tuple(placed["place"].split(".")), placed["text"]
        if problem["type"] == "extra_forbidden":
            message = f"unknown field (allowed: {', '.join(_fields(path[:-1]))})"
        elif problem["type"] in _FORMS:
            message = _FORMS[problem["type"]]
        elif problem["type"] == "string_pattern_mismatch":
            message = _pattern(path, problem["ctx"]["pattern"])
        where = (*under, *path)
        lines.append(f"{source}:{_line(text, where)}: {'.'.join(where) or 'pipeline'}: {message}")
    return "\n".join(lines)


def _pattern(path: tuple[str, ...], pattern: str) -> str:
    """What a field with a pattern takes, in words."""
    if pattern == NAME_PATTERN:
        return "a name has 1 to 30 lowercase letters, digits and -, and starts with a letter"
    known = next((_PATTERNS[key] for key in reversed(path) if key in _PATTERNS), "")
    return known or f"must match {pattern}"


def _fields(path: tuple[str, ...]) -> list[str]:
    models: dict[str, type[BaseModel]] = {"queues": Queue, "schedules": Schedule, "triggers": Trigger, "bucket": Bucket}
    models |= {"payloads": Payloads, "deploy": Deploy, "console": Console, "webhooks": Webhooks}
    model = models.get(path[0], Topology) if path else Topology
    if path[-1:] == ("workers",):
        model = Workers
    if path[-1:] == ("slo",):
        model = Objectives
    if path == ("deploy", "api"):
        model = Api
    if path == ("deploy", "accounts"):
        model = Accounts
    if path == ("deploy", "vpc"):
        model = Vpc
    if path[:2] == ("deploy", "keys"):
        model = ApiKey
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
