from __future__ import annotations

from collections.abc import Callable

import pytest

from poolhouse.cloud.gcloud.release_tracks import ReleaseTracks
from poolhouse.cloud.options import Options
from poolhouse.cloud.plan import desired
from poolhouse.cloud.resource import Resource
from poolhouse.pipeline.config.topology import Topology, parse

PIPELINE = """
name = "shop"

[queues.mail]
ack_deadline_s = 30
retry_min_backoff_s = 2
retry_max_backoff_s = 300
max_attempts = 5
retention_s = 86400

[queues.mail.workers]
cpu = 1
memory_mib = 512
concurrency = 4
min_instances = 0
max_instances = 3
target_backlog = 10

[schedules.nightly]
cron = "30 3 * * *"
time_zone = "Europe/Berlin"
task_type = "send_mail"
payload = { to = "all, really" }

[bucket.lifecycle_days]
uploads = 30
"""
NUMBER = "123456789012"
TAG = "src-0123456789abcdef"
OLD = ReleaseTracks(
    worker_pools=("beta", "run", "worker-pools"),
    instances_flag="scaling",
    policies=("alpha", "monitoring", "policies"),
)

#: Makes the resources of a topology, with options changed at will.
Make = Callable[..., tuple[Resource, ...]]


@pytest.fixture
def topology() -> Topology:
    return parse(PIPELINE)


@pytest.fixture
def make(topology: Topology) -> Make:
    def resources(
        topology: Topology = topology, image: str | None = None, bill: str = "", **choices: object
    ) -> tuple[Resource, ...]:
        options = Options(project="some-project", name=topology.name, **choices)  # type: ignore[arg-type]
        path = image or f"{options.repository}@sha256:aaaa"
        return desired.resources(
            topology, options=options, tracks=OLD, project_number=NUMBER, tag=TAG, image=path, bill=bill
        )

    return resources
