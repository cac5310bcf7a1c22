"""The first rows of a Parquet file, where this project has polars; the kit itself does without."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from typing import Any

#: What such a file begins with.
SIGNATURE = b"PAR1"
#: The largest file that is read for a preview: its table of contents is at its end.
MOST_BYTES = 32 * 1000**2


def read(whole: Callable[[int], bytes | None], *, most_rows: int) -> tuple[list[str], list[list[str]], bool] | str:
    """Read the first rows.

    Args:
        whole: reads the file, given the most bytes; None where it has more.
        most_rows: how many.

    Returns:
        Header, rows, and whether there are more; or why there are none.
    """
    try:
        polars: Any = importlib.import_module("polars")
    except ImportError:
        return "A Parquet file is shown as a table where polars is installed."
    data = whole(MOST_BYTES)
    if data is None:
        return "This Parquet file is too large to be shown here: download it."
    try:
        frame = polars.read_parquet(io.BytesIO(data), n_rows=most_rows + 1)
        rows = [[_text(value) for value in row] for row in frame.head(most_rows).iter_rows()]
        return [str(name) for name in frame.columns], rows, frame.height > most_rows
    except (Exception, polars.exceptions.PanicException) as error:  # noqa: BLE001 - broken, in whichever way
        return f"This Parquet file can't be read ({type(error).__name__})."


def _text(value: Any) -> str:
    return "" if value is None else str(value)
