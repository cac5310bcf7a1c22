"""Where the index lies in the bucket: segments that each process writes, and a snapshot of what they add up to.

`index/DAY/TIME-PROCESS.jsonl` holds the changes that one process saw from that time on, for a minute at the most; until
then the process writes it again every few seconds. `index/snapshot.jsonl.gz` holds all tasks as of some time. A
segment's name has the machine's time, whatever clock the stack has.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from datetime import UTC, datetime

from poolhouse.pipeline.names import INDEX

SNAPSHOT = f"{INDEX}snapshot.jsonl.gz"


def process_name() -> str:
    """A name that no other process has, for people who look at the bucket."""
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40]
    return f"{host}-{os.getpid()}-{secrets.token_hex(3)}"


def segment(at: datetime, process: str) -> str:
    """The name of a segment that begins at a time."""
    return f"{since(at)}-{process}.jsonl"


def since(at: datetime) -> str:
    """What names of segments that begin at a time or later are not below."""
    at = at.astimezone(UTC)
    return f"{INDEX}{at:%Y%m%d}/{at:%H%M%S}{at.microsecond // 1000:03d}"


def is_segment(name: str) -> bool:
    """Whether an object below `index/` is a segment."""
    return name.endswith(".jsonl")
