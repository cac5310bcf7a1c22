"""What docker-compose.yml has of pipeline.toml: a worker service for each queue, and the events of its triggers.

`./invoke compose-file` renews them in the file; `up` lays them over it, so that one that is out of date does no harm.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from poolhouse.local.compose.file import COMPOSE_FILE
from poolhouse.local.storage import object_events
from poolhouse.pipeline.config import topology
from poolhouse.pipeline.config.queue import Queue
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.errors import ConfigError
from poolhouse.project import ROOT

RENEW = "./invoke compose-file"
#: The setting of the service `setup` that lists the queues with workers.
VARIABLE = "QUEUES_WITH_WORKERS"
#: The setting of the service `setup` that says which objects the storage server tells of.
EVENTS = "OBJECT_EVENTS"
#: The storage server.
STORAGE = "gcs"
#: The project on the emulators, as docker-compose.yml has it.
_PROJECT = "${GOOGLE_CLOUD_PROJECT:-poolhouse-local}"
_LIST = re.compile(rf"(?<=^      {VARIABLE}: ).*$", re.MULTILINE)
_EVENTS = re.compile(rf"(?<=^      {EVENTS}: ).*$", re.MULTILINE)
_FLAGS = re.compile(r"(?<=renewed as the workers below are\. {\n).*?(?=^      # }$)", re.DOTALL | re.MULTILINE)
_BLOCK = re.compile(rf"(?<={re.escape(RENEW)}`\. {{\n).*?(?=^  # }}$)", re.DOTALL | re.MULTILINE)


def service(queue: str) -> str:
    """The service that works on a queue."""
    return f"worker-{queue}"


def definitions(declared: Topology, template: Mapping[str, Any]) -> dict[str, Any]:
    """The worker services as a part of a Compose document.

    Args:
        template: what all of them have in common, `x-worker` of docker-compose.yml.
    """
    return {service(queue.name): {**template, **_own(queue)} for queue in declared.queues}


def listed(declared: Topology) -> str:
    """The value of `VARIABLE`."""
    return ",".join(queue.name for queue in declared.queues)


def events(declared: Topology) -> str:
    """The value of `EVENTS`."""
    return " ".join(object_events.flags(declared, project=""))


def storage_command(declared: Topology, command: Sequence[str]) -> list[str]:
    """The storage server's arguments, with the events that `declared` needs in the place of others.

    Args:
        command: those of docker-compose.yml, their variables not put in.
    """
    others = [argument for argument in command if not argument.startswith(object_events.FLAG)]
    return [*others, *object_events.flags(declared, project=_PROJECT)]


def renewed(text: str, declared: Topology) -> str:
    """The text of docker-compose.yml with the queues of `declared`. Raises `ConfigError`: its marks are gone."""
    block = "\n".join(_yaml(queue) for queue in declared.queues)
    flags = "".join(f"      - {json.dumps(flag)}\n" for flag in object_events.flags(declared, project=_PROJECT))
    for pattern, content in (
        (_LIST, listed(declared)),
        (_EVENTS, json.dumps(events(declared))),
        (_FLAGS, flags),
        (_BLOCK, block),
    ):
        text, found = pattern.subn(lambda _, content=content: content, text)  # type: ignore[misc]  # mypy on defaults
        if found != 1:
            raise ConfigError(
                f"docker-compose.yml lacks the lines that {RENEW} renews ({VARIABLE}, {EVENTS}, and two blocks that "
                "end with `# }`): git checkout docker-compose.yml brings them back"
            )
    return text


def without_queues(text: str) -> str:
    """The text of docker-compose.yml without what `renewed` puts in."""
    for pattern in (_LIST, _EVENTS, _FLAGS, _BLOCK):
        text = pattern.sub("", text)
    return text


def renew(*, path: Path = COMPOSE_FILE, pipeline_file: Path = ROOT / "pipeline.toml") -> int:
    """`invoke compose-file`: bring docker-compose.yml up to date with pipeline.toml; returns the exit code."""
    before = path.read_text(encoding="utf-8")
    after = renewed(before, topology.load(pipeline_file))
    if after == before:
        print(f"{path.name} is up to date with {pipeline_file.name}")
    else:
        path.write_text(after, encoding="utf-8")
        print(f"{path.name} now has what {pipeline_file.name} declares")
    return 0


def _own(queue: Queue) -> dict[str, Any]:
    return {
        "command": ["python", "-m", "poolhouse.worker", "run", "--queue", queue.name],
        "mem_limit": f"{queue.workers.memory_mib}m",
        "cpus": queue.workers.cpu,
    }


def _yaml(queue: Queue) -> str:
    own = _own(queue)
    return (
        f"  {service(queue.name)}:\n"
        "    <<: *worker\n"
        f"    command: [{', '.join(own['command'])}]\n"
        f"    mem_limit: {own['mem_limit']}\n"
        f"    cpus: {own['cpus']:g}\n"
    )
