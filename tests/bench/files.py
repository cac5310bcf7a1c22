"""Memory and time of the file and data handlers on a large CSV, beside plain polars on the same file.

    python -m tests.bench.files [--gigabytes 2] [--rounds 1] [--directory DIR] [--check]

Each measurement runs in a process of its own, with a worker's imports, and reports its greatest resident memory; with
several rounds, the median of the times and the greatest memory of all. The bucket is a directory on local disk, so that
"transfer" is a copy (for files: and its hashes) to the scratch disk, and one back. The comparison leaves the transfer
out, in time and in CPU: plain polars reads and writes its files where they are. All else counts: finding out format and
types, checking every row, the statistics before and after. On a machine that is shared, CPU time compares better than
wall time.
With `--check`, exits 1 if a handler took more than 512 MiB, or more than 1.3 times plain polars' time.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil

MAX_RSS_MIB = 512
MAX_RATIO = 1.3
NOTES = ("", "plain note", '"a longer, quoted note"')
CITIES = ("Paris", "Rome", "Oslo", "Łódź", "São Paulo")


def generate(path: Path, size_bytes: int) -> int:
    """Write a CSV of about `size_bytes`: integers, floats, texts, nulls, quoted commas. Returns its rows."""
    rng = random.Random(7)
    # A block of random rows, repeated with new ids: generating every row would take longer than the benchmark.
    block = [
        f"{rng.choice(CITIES)},{rng.gauss(0, 1):.6f},{rng.gauss(10, 5):.4f},{rng.randrange(1000)},{rng.choice(NOTES)}\n"
        for _ in range(100_000)
    ]
    rows = 0
    with path.open("w", encoding="utf-8", newline="") as target:
        target.write("id,city,a,b,count,note\n")
        while target.tell() < size_bytes:
            target.write("".join(f"{rows + index},{rest}" for index, rest in enumerate(block)))
            rows += len(block)
    return rows


def inspect(directory: Path) -> dict[str, Any]:
    from worker.handlers.file_processing import file_processing
    from worker.transforms.files.contract import FileProcessing

    report = file_processing(FileProcessing(filename="big.csv", operations=["inspect"]), _context(directory))
    assert report.table is not None
    return {"rows": report.table.rows, "transfer_s": report.transfer_s}


def normalize(directory: Path) -> dict[str, Any]:
    from worker.handlers.data_transformation import data_transformation
    from worker.transforms.data.contract import DataTransformation

    payload = DataTransformation(source="big.csv", transformation=[{"name": "normalize", "columns": ["a", "b"]}])
    summary = data_transformation(payload, _context(directory))
    return {"rows": summary.rows_out, "transfer_s": summary.transfer_s}


def to_parquet(directory: Path) -> dict[str, Any]:
    from worker.handlers.file_processing import file_processing
    from worker.transforms.files.contract import FileProcessing

    payload = FileProcessing(filename="big.csv", operations=[{"name": "convert", "to": "parquet"}])
    report = file_processing(payload, _context(directory))
    return {"rows": None, "transfer_s": report.transfer_s}


def aggregate(directory: Path) -> dict[str, Any]:
    from worker.handlers.data_transformation import data_transformation
    from worker.transforms.data.contract import DataTransformation

    step = {"name": "aggregation", "group_by": ["city"], "aggregates": {"total": {"function": "sum", "column": "b"}}}
    summary = data_transformation(DataTransformation(source="big.csv", transformation=step), _context(directory))
    return {"rows": summary.rows_in, "transfer_s": summary.transfer_s}


def sample(directory: Path) -> dict[str, Any]:
    from worker.handlers.data_transformation import data_transformation
    from worker.transforms.data.contract import DataTransformation

    payload = DataTransformation(source="big.csv", transformation=[{"name": "sample", "rows": 1000}])
    summary = data_transformation(payload, _context(directory))
    return {"rows": summary.rows_in, "transfer_s": summary.transfer_s}


def polars_scan(directory: Path) -> dict[str, Any]:
    """The figures of an inspection, by plain polars."""
    import polars as pl

    frame = _polars_figures(pl.scan_csv(directory / "uploads/big.csv")).collect(engine="streaming")
    return {"rows": frame["rows"][0], "transfer_s": 0.0}


def polars_normalize(directory: Path) -> dict[str, Any]:
    """The same normalization, by plain polars: a scan for the figures, a scan for the output."""
    import polars as pl

    lazy = pl.scan_csv(directory / "uploads/big.csv")
    figures = _polars_figures(lazy).collect(engine="streaming").row(0, named=True)
    scaled = [
        (pl.col(name) - figures[f"{name}_min"]) / (figures[f"{name}_max"] - figures[f"{name}_min"]) for name in "ab"
    ]
    lazy.with_columns(scaled).sink_csv(directory / "polars.csv", engine="streaming")
    return {"rows": figures["rows"], "transfer_s": 0.0}


def _polars_figures(lazy: Any) -> Any:
    import polars as pl
    import polars.selectors as cs

    return lazy.select(
        pl.len().alias("rows"),
        pl.all().null_count().name.suffix("_nulls"),
        pl.all().min().name.suffix("_min"),
        pl.all().max().name.suffix("_max"),
        cs.numeric().mean().name.suffix("_mean"),
        cs.numeric().std().name.suffix("_std"),
    )


#: CPU time of this process within transfers, in seconds.
_transfer_cpu_s = 0.0


def _context(directory: Path) -> Any:
    from poolhouse.testing.doubles import DirectoryStore, FakeContext

    class Timed(DirectoryStore):
        def open_read(self, name: str) -> Any:
            return _TimedFile(directory / name)

        def upload(self, *args: Any, **options: Any) -> Any:
            started = time.process_time()
            try:
                return super().upload(*args, **options)
            finally:
                _add_transfer(time.process_time() - started)

    return FakeContext(Timed(directory))


class _TimedFile(io.FileIO):
    """A file of the bucket; nothing else runs in the process from its opening to its end."""

    def __init__(self, path: Path) -> None:
        self._started = time.process_time()
        super().__init__(path)

    def close(self) -> None:
        if not self.closed:
            _add_transfer(time.process_time() - self._started)
        super().close()


def _add_transfer(cpu_s: float) -> None:
    global _transfer_cpu_s  # noqa: PLW0603
    _transfer_cpu_s += cpu_s


RUNS: tuple[Callable[[Path], dict[str, Any]], ...] = (
    polars_scan,
    inspect,
    polars_normalize,
    normalize,
    aggregate,
    sample,
    to_parquet,
)


def measured(run: Callable[[Path], dict[str, Any]], directory: Path) -> dict[str, Any]:
    """Run in a fresh process; its figures, time in seconds and greatest resident memory in MiB."""
    receiver, sender = multiprocessing.get_context("spawn").Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_child, args=(run, directory, sender))
    process.start()
    sender.close()
    try:
        result: dict[str, Any] = receiver.recv()
    except EOFError:
        raise SystemExit(f"{run.__name__} failed") from None
    finally:
        process.join()
    return result


def _child(run: Callable[[Path], dict[str, Any]], directory: Path, sender: Connection) -> None:
    # What a worker has loaded besides.
    import google.cloud.pubsub_v1
    import google.cloud.storage  # noqa: F401
    import polars  # noqa: F401

    import poolhouse.testing.doubles  # noqa: F401
    import worker.transforms.data.running
    import worker.transforms.files.processing  # noqa: F401

    peak, base, ended = [0], psutil.Process().memory_info().rss, threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            peak[0] = max(peak[0], psutil.Process().memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started, started_cpu = time.perf_counter(), time.process_time()
    try:
        result = run(directory)
    finally:
        duration_s, cpu_s = time.perf_counter() - started, time.process_time() - started_cpu
        ended.set()
        watcher.join()
    figures = {
        "duration_s": duration_s,
        "cpu_s": cpu_s,
        "transfer_cpu_s": _transfer_cpu_s,
        "rss_mib": peak[0] / 2**20,
        "base_mib": base / 2**20,
    }
    sender.send(result | figures)


def main() -> int:
    """Run all, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=1, help="how often to measure each, one after the other")
    parser.add_argument("--directory", type=Path, default=None, help="where there is room for four times as much")
    parser.add_argument("--check", action="store_true", help="exit 1 where a limit is passed")
    parser.add_argument("--only", nargs="*", default=None, help=f"of {', '.join(run.__name__ for run in RUNS)}")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="poolhouse-bench-", dir=options.directory))
    try:
        (directory / "uploads").mkdir()
        rows = generate(directory / "uploads/big.csv", int(options.gigabytes * 10**9))
        print(f"{rows:,} rows, {(directory / 'uploads/big.csv').stat().st_size:,} bytes")
        runs = [run for run in RUNS if not options.only or run.__name__ in options.only]
        rounds: dict[str, list[dict[str, Any]]] = {run.__name__: [] for run in runs}
        for _ in range(options.rounds):
            for run in runs:
                figures = measured(run, directory)
                _clear(directory)
                rounds[run.__name__].append(figures)
                assert figures["rows"] in {rows, None}, f"{run.__name__} saw {figures['rows']} rows"
                print(_line(run.__name__, figures), flush=True)
        results = {name: _together(figures) for name, figures in rounds.items()}
        if options.rounds > 1:
            print(f"medians of {options.rounds} rounds, greatest memory:")
            print("\n".join(_line(name, figures) for name, figures in results.items()))
        return _judge(results) if options.check else 0
    finally:
        shutil.rmtree(directory)


def _clear(directory: Path) -> None:
    """Remove all but the upload: what one run left would take disk cache from the next."""
    for path in directory.iterdir():
        if path.is_dir() and path.name != "uploads":
            shutil.rmtree(path)
        elif path.is_file():
            path.unlink()


def _line(name: str, figures: dict[str, Any]) -> str:
    return (
        f"{name:17} {figures['duration_s']:7.1f} s, of it transfer {figures['transfer_s']:5.1f} s; "
        f"{figures['cpu_s']:6.1f} s of CPU, of it transfer {figures['transfer_cpu_s']:5.1f} s; "
        f"{figures['rss_mib']:5.0f} MiB at most ({figures['base_mib']:.0f} before)"
    )


def _together(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure, the greatest memory."""
    figures = {key: statistics.median(each[key] for each in rounds) for key in rounds[0] if key != "rows"}
    return figures | {"rss_mib": max(each["rss_mib"] for each in rounds)}


def _judge(results: dict[str, dict[str, Any]]) -> int:
    failures = [
        f"{name} took {figures['rss_mib']:.0f} MiB, more than {MAX_RSS_MIB}"
        for name, figures in results.items()
        if not name.startswith("polars") and figures["rss_mib"] > MAX_RSS_MIB
    ]
    for ours, plain in (("inspect", "polars_scan"), ("normalize", "polars_normalize")):
        if ours in results and plain in results:
            work_s = results[ours]["duration_s"] - results[ours]["transfer_s"]
            work_cpu_s = results[ours]["cpu_s"] - results[ours]["transfer_cpu_s"]
            ratio, cpu_ratio = work_s / results[plain]["duration_s"], work_cpu_s / results[plain]["cpu_s"]
            print(f"{ours}: {ratio:.2f} times plain polars' time, {cpu_ratio:.2f} times its CPU, transfer left out")
            if ratio > MAX_RATIO:
                failures.append(f"{ours} took {ratio:.2f} times as long as plain polars, more than {MAX_RATIO}")
    print(json.dumps(results))
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
