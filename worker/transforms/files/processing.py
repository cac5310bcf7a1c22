"""One file task from upload to report."""

from __future__ import annotations

import time
from collections.abc import Callable

from poolhouse.pipeline import names
from poolhouse.pipeline.errors import ObjectNotFound
from poolhouse.worker.context import TaskContext
from poolhouse.worker.errors import Reject
from worker.transforms.files.contract import FileProcessing
from worker.transforms.files.hashes import Hashes
from worker.transforms.files.job import Job
from worker.transforms.files.media import sniff
from worker.transforms.files.report import FileReport
from worker.transforms.files.spool import scratch, spool
from worker.transforms.tables.opening import HEAD_BYTES

#: How often a simulation looks whether it is cancelled, in seconds.
SIMULATION_STEP_S = 0.1


def process(payload: FileProcessing, ctx: TaskContext) -> FileReport:
    """Run the task. Raises `Reject` where there is no such file, or it is broken."""
    started = time.perf_counter()
    with scratch() as directory:
        name, hashes = names.upload(payload.filename), Hashes()
        try:
            spooled = spool(ctx, name, directory / "input", hashes=hashes)
        except ObjectNotFound:
            if payload.processing_time is None:
                raise Reject(f"input not found: {name}") from None
            simulate(payload.processing_time, ctx)
            report = FileReport(filename=payload.filename, simulated=True, duration_s=_since(started))
        else:
            with spooled.path.open("rb") as source:
                media = sniff(source.read(HEAD_BYTES), payload.filename)
            job = Job(
                ctx=ctx,
                filename=payload.filename,
                spooled=spooled,
                hashes=hashes,
                media=media,
                directory=directory,
            )
            operations = payload.operations if payload.operations is not None else job.fitting()
            for operation in operations:
                ctx.checkpoint()
                job.run(operation)
            report = job.report(operations, duration_s=_since(started))
    ctx.store.put(names.processed(payload.filename) + ".report.json", report.model_dump_json(indent=1).encode())
    return report


def simulate(duration_s: float, ctx: TaskContext, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Take `duration_s` seconds, and do nothing else but report progress and heed cancellation."""
    left = duration_s
    while True:
        ctx.checkpoint()
        ctx.progress(duration_s - left, duration_s, "simulating")
        if left <= 0:
            return
        step = min(left, SIMULATION_STEP_S)
        sleep(step)
        left -= step


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)
