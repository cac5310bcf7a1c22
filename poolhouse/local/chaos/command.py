"""`invoke chaos`: rounds of chaos until the time is over."""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

from poolhouse.local.chaos.plan import make_plan
from poolhouse.local.chaos.round import run_round
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import FAILED, OK

#: Tasks and length of one round, in seconds.
ROUND_TASKS, ROUND_S = 2000, 60.0


def chaos(
    *,
    minutes: float,
    seed: int | None = None,
    tasks: int = ROUND_TASKS,
    gcs_limits: bool = False,
    verbose: bool = False,
) -> int:
    """Run rounds, each from a seed of its own, until the time is over: at least one, and none is cut off.

    Args:
        seed: of the first round, the next ones count on from it; a random one where none is given. The seed that a
            report names makes the same plan again, alone: with the same `tasks`.
        gcs_limits: take changes of objects at the rates of Cloud Storage only.

    Returns:
        1 if a promise was broken; the logs of that round are kept, and the output names them.
    """
    if minutes <= 0 or tasks < 1:
        raise ConfigError("--minutes must be > 0 and --tasks >= 1")
    first = random.SystemRandom().randrange(10**6) if seed is None else seed
    deadline_s = time.monotonic() + 60 * minutes
    rounds = failed = 0
    while rounds == 0 or time.monotonic() < deadline_s:
        number = first + rounds
        directory = Path(tempfile.mkdtemp(prefix=f"poolhouse-chaos-{number}-"))
        print(f"round {rounds + 1}, seed {number}", flush=True)
        plan = make_plan(number, tasks=tasks, length_s=ROUND_S)
        report = run_round(
            plan, directory=directory, gcs_limits=gcs_limits, say=print if verbose else lambda line: None
        )
        print(report.summary(), flush=True)
        rounds += 1
        if report.problems:
            failed += 1
            again = f"./invoke chaos --seed {number} --tasks {tasks}{' --gcs-limits' * gcs_limits}"
            print(f"  logs: {directory}; again: {again}", file=sys.stderr)
        else:
            _remove(directory)
    print(f"{rounds} rounds, {failed} with a broken promise")
    return FAILED if failed else OK


def _remove(directory: Path) -> None:
    for file in directory.iterdir():
        file.unlink()
    directory.rmdir()
