"""`data_transformation`: a table from `uploads/`, or one made up, through a chain of steps into `results/`."""

from __future__ import annotations

from poolhouse import TaskContext, task
from worker.transforms.data.contract import DataSummary, DataTransformation


@task("data_transformation", result_file="data_transform")
def data_transformation(payload: DataTransformation, ctx: TaskContext) -> DataSummary:
    """Transform a table: normalize, aggregate, filter, sort and more.

    Files of any size: memory does not grow with them, scratch space on disk does (see `worker.transforms.files.spool`).
    """
    # polars costs half a second to import; the API imports this module too, for the payload.
    from worker.transforms.data.running import transform  # noqa: PLC0415

    return transform(payload, ctx)
