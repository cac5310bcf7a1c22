"""What pipeline.toml declares for Google Cloud alone, said where a local stack does without."""

from __future__ import annotations

from collections.abc import Iterator

from poolhouse.pipeline.config.topology import Topology


def notes(declared: Topology) -> Iterator[str]:
    """Lines for a person about what is not there locally; none where nothing is missing."""
    gpus = [f"{queue.name} ({queue.workers.gpu})" for queue in declared.queues if queue.workers.gpu]
    if gpus:
        yield f"GPUs are for Google Cloud alone: local workers run without, also those of {', '.join(gpus)}"
