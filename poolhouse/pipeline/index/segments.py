"""Where the index lies in the bucket: segments that each process writes, and a snapshot of what they add up to.

`index/DAY/MINUTE-PROCESS.N.jsonl` holds the changes that one process saw in a minute of the machine's time, whatever
clock the stack has; until that is over, or it is large, the process writes it again every few seconds. So who knows a
process also knows what it may have written since. `index/snapshot.jsonl.gz` holds all tasks as of some time.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from datetime import UTC, datetime

from poolhouse.pipeline.names import INDEX

_SEGMENT = re.compile(rf"{INDEX}\d{{8}}/\d{{4}}-[A-Za-z0-9-]+\.\d+\.jsonl")
SNAPSHOT = f"{INDEX}snapshot.jsonl.gz"


def process_name() -> str:
    """A name that no other process has, for people who look at the bucket."""
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40]
    return f"{host}-{os.getpid()}-{secrets.token_hex(3)}"


def segment(at: datetime, process: str, number: int = 0) -> str:
    """The name of a segment of a minute; `number` counts those of one minute."""
    return f"{since(at)}-{process}.{number}.jsonl"


def since(at: datetime) -> str:
    """What names of segments of a minute, and of later ones, are not below."""
    return f"{INDEX}{at.astimezone(UTC):%Y%m%d/%H%M}"


def origin(name: str) -> tuple[str, int]:
    """The process that wrote a segment, and the segment's number."""
    process, number, _ = name.rpartition("/")[2].partition("-")[2].rsplit(".", 2)
    return process, int(number)


def is_segment(name: str) -> bool:
    """Whether an object below `index/` is a segment."""
    return _SEGMENT.fullmatch(name) is not None
