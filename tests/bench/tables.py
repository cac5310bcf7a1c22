"""CPU of a data transformation by rows, from ten to ten million, beside plain polars on the same rows.

    ./invoke bench --name tables -- [--rows 10 500 10000 …] [--repeat 5]

Each is a made-up data set with `aggregation`, into a CSV in a bucket in memory. Plain polars gets the same frames, and
does what is asked with nothing checked or reported: the four figures of each numeric column, and the write.
Both run in this process by turns, and the least of several runs counts: the ratio says what the task costs beyond
polars, on a machine of whatever load. Figures of one run are not to be compared with those of another.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl

from poolhouse.testing.doubles import FakeContext
from worker.handlers.data_transformation import data_transformation
from worker.transforms.data.contract import DataTransformation
from worker.transforms.data.dataset import GeneratedTable

ROWS = (10, 100, 500, 10_000, 100_000, 1_000_000, 10_000_000)
_NUMBERS = ("id", "value", "score", "quantity")


def task(rows: int) -> None:
    """Run the whole task."""
    payload = DataTransformation(dataset_size=rows, transformation="aggregation", output_format="csv")
    assert data_transformation(payload, FakeContext()).rows_in == rows


def plain(rows: int) -> None:
    """Do the same with polars alone, in one query over all frames."""
    frames = GeneratedTable(rows).frames(lambda done, total: None)
    lazy = pl.concat([frame.lazy() for frame in frames])
    figures = [
        getattr(pl.col(name), function)().alias(f"{name}_{function}")
        for name in _NUMBERS
        for function in ("sum", "mean", "min", "max")
    ]
    with tempfile.TemporaryDirectory() as directory:
        lazy.select(pl.len().alias("rows"), *figures).collect().write_csv(Path(directory) / "output")


def cpu_s(run: Callable[[int], None], rows: int) -> float:
    """CPU of all threads of this process in one run, in seconds."""
    started = time.process_time()
    run(rows)
    return time.process_time() - started


def main() -> None:
    """Print a line for each number of rows."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--repeat", type=int, default=5, help="runs of each; of large sets, fewer")
    options = parser.parse_args()
    for run in (task, plain):
        run(10)  # what the first run imports
    print(f"{'rows':>12} {'task':>10} {'polars':>10}  ratio")
    for rows in options.rows:
        repeat = options.repeat if rows <= 100_000 else 1
        pairs = [(cpu_s(task, rows), cpu_s(plain, rows)) for _ in range(repeat)]
        ours, theirs = (min(figures) for figures in zip(*pairs, strict=True))
        print(f"{rows:>12,} {ours * 1_000:>7.1f} ms {theirs * 1_000:>7.1f} ms  {ours / theirs:.1f}", flush=True)


if __name__ == "__main__":
    main()
