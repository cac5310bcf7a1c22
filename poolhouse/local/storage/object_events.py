"""What makes fake-gcs-server tell Pub/Sub of new objects, where pipeline.toml has triggers.

It publishes to one topic; on Google Cloud each queue with a trigger is notified of its own objects (`poolhouse.cloud`).
To workers this is the same: one that receives an event of another queue forwards it.
"""

from __future__ import annotations

import os.path

from poolhouse.pipeline.config.topology import Topology

#: What these arguments begin with.
FLAG = "-event."


def flags(declared: Topology, *, project: str) -> tuple[str, ...]:
    """Arguments of the server; none without triggers.

    Args:
        declared: pipeline.toml.
        project: the project on the Pub/Sub emulator, which the server finds by PUBSUB_EMULATOR_HOST.
    """
    if not declared.triggers:
        return ()
    topic = declared.queue_of(declared.triggers[0]).topic
    # Of names, not of paths: `uploads/a` is a prefix too.
    prefix = os.path.commonprefix([trigger.prefix for trigger in declared.triggers])  # noqa: RUF071
    return (
        f"-event.pubsub-project-id={project}",
        f"-event.pubsub-topic={topic}",
        f"-event.object-prefix={prefix}",
        "-event.list=finalize",
    )
