"""What a start imports: nothing of Poolhouse, and nothing that only some resources need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[4]

#: Each with who needs it.
LATE = {
    "google.pubsub_v1": "nobody: api.binpb stands for it",
    "google.api_core": "nobody",
    "requests": "nobody",
    "quickjs": "a JavaScript transform",
    "zstandard": "a ZSTD transform",
    "fastavro": "an Avro file",
    "jwt": "a push with a token",
    "poolhouse_pubsub.push": "a push subscription",
    "poolhouse_pubsub.exports": "an export subscription",
    "poolhouse_pubsub.ingestion": "an import topic",
    "poolhouse_pubsub.persistence.storage": "--data-dir",
}


def test_a_start_imports_only_what_it_needs() -> None:
    code = "import sys, poolhouse_pubsub.__main__, poolhouse_pubsub.transport.introspection; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=_ROOT, capture_output=True, text=True, check=True)
    modules = set(done.stdout.split())
    assert {name: LATE[name] for name in LATE if name in modules} == {}
    assert {name for name in modules if name.partition(".")[0] in ("poolhouse", "worker", "api", "local")} == set()
