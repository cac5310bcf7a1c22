"""The worker services of docker-compose.yml: one for each queue of pipeline.toml, with the limits that it declares.

`./invoke compose-file` renews them in the file; `up` lays them over it, so that one that is out of date does no harm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from poolhouse.local.compose.file import COMPOSE_FILE
from poolhouse.pipeline.config import topology
from poolhouse.pipeline.config.topology import Queue, Topology
from poolhouse.pipeline.errors import ConfigError
from poolhouse.project import ROOT

RENEW = "./invoke compose-file"
#: The setting of the service `setup` that lists the queues with workers.
VARIABLE = "QUEUES_WITH_WORKERS"
_LIST = re.compile(rf"(?<=^      {VARIABLE}: ).*$", re.MULTILINE)
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


def renewed(text: str, declared: Topology) -> str:
    """The text of docker-compose.yml with the queues of `declared`. Raises `ConfigError`: its marks are gone."""
    block = "\n".join(_yaml(queue) for queue in declared.queues)
    for pattern, content in ((_LIST, listed(declared)), (_BLOCK, block)):
        text, found = pattern.subn(lambda _, content=content: content, text)  # type: ignore[misc]  # mypy on defaults
        if found != 1:
            raise ConfigError(
                f"docker-compose.yml lacks the lines that {RENEW} renews ({VARIABLE}: and `# }}` after the workers): "
                "git checkout docker-compose.yml brings them back"
            )
    return text


def without_queues(text: str) -> str:
    """The text of docker-compose.yml without what `renewed` puts in."""
    return _LIST.sub("", _BLOCK.sub("", text))


def renew(*, path: Path = COMPOSE_FILE, pipeline_file: Path = ROOT / "pipeline.toml") -> int:
    """`invoke compose-file`: bring docker-compose.yml up to date with pipeline.toml; returns the exit code."""
    before = path.read_text(encoding="utf-8")
    after = renewed(before, topology.load(pipeline_file))
    if after == before:
        print(f"{path.name} is up to date with {pipeline_file.name}")
    else:
        path.write_text(after, encoding="utf-8")
        print(f"{path.name} now has the workers that {pipeline_file.name} declares")
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
