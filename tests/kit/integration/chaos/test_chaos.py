"""A few hundred tasks while workers are killed, all are replaced by a deploy, and Pub/Sub and storage fail."""

from __future__ import annotations

import os
import random
from pathlib import Path

from poolhouse.local.chaos import make_plan, run_round


def test_every_accepted_task_ends_once_with_one_result_whatever_goes_wrong(tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))
    report = run_round(make_plan(seed, tasks=300, length_s=12, workers=2), directory=tmp_path)
    print(report.summary())
    again = f"again: CHAOS_SEED={seed} ./invoke test -- tests/kit/integration/chaos"
    assert not report.problems, f"{report.summary()}\n{again}"
    assert report.accepted == 300
    # It was no fair weather: processes died, and both servers failed. (Which faults strike how often is chance.)
    assert report.starts > 3
    assert report.deploys == 1
    assert report.told > 20
    for server in ("pubsub", "storage"):
        assert sum(count for name, count in report.faults.items() if name.startswith(server)) >= 10, report.summary()
