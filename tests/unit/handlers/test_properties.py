"""What holds for every table."""

from __future__ import annotations

import csv
import gzip
import io
import math
import tarfile
import zipfile
from itertools import pairwise
from typing import Any

import polars as pl
import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from poolhouse.worker.errors import Reject
from tests.tally import Tally
from tests.unit.handlers.desk import Desk
from tests.unit.handlers.test_files import pdf
from worker.transforms.tables import blocks
from worker.transforms.tables.compression import Expanded
from worker.transforms.tables.parquet_footer import read_footer
from worker.transforms.tables.summary import Summary

numbers = st.floats(-1e9, 1e9) | st.integers(-(10**9), 10**9).map(float)
#: Texts that no reader of CSV takes for anything else; with quotes, separators and line breaks.
texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], include_characters='\n",;'), min_size=1, max_size=12
).map(lambda text: f"t{text}")
bounded = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    rows = draw(st.integers(1, 30))
    kinds = {
        "int": st.none() | st.integers(-(2**63), 2**63 - 1),
        "float": st.none() | numbers,
        "text": st.none() | texts,
        "flag": st.none() | st.booleans(),
    }
    dtypes: dict[str, Any] = {"int": pl.Int64, "float": pl.Float64, "text": pl.String, "flag": pl.Boolean}
    names = draw(st.lists(st.sampled_from(sorted(kinds)), min_size=2, max_size=6))
    columns = [
        pl.Series(f"{kind} {index}", draw(st.lists(kinds[kind], min_size=rows, max_size=rows)), dtype=dtypes[kind])
        for index, kind in enumerate(names)
    ]
    # A column with no value at all has no type in CSV.
    return pl.DataFrame([column for column in columns if column.null_count() < rows] + [pl.Series("id", range(rows))])


@bounded
@given(table=tables())
def test_csv_to_parquet_to_csv_gives_the_same_table(table: pl.DataFrame) -> None:
    desk = Desk()
    desk.upload("t.csv", table.write_csv())
    desk.process("t.csv", {"name": "convert", "to": "parquet"})
    parquet = desk.read("processed/t.csv.parquet")
    assert pl.read_parquet(io.BytesIO(parquet)).equals(table)
    desk.upload("t.parquet", parquet)
    desk.process("t.parquet", {"name": "convert", "to": "csv"})
    assert desk.read("processed/t.parquet.csv") == table.write_csv().encode()


@bounded
@example(values=[-1.7e308, 1.7e308, 0.0])
@example(values=[0.0, 5e-324, None])
@example(values=[0.0, 2.2733655865374917e20])
@given(values=st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_normalized_values_lie_between_0_and_1_and_reach_both(values: list[float | None]) -> None:
    desk = Desk()
    desk.upload("t.parquet", _parquet(pl.DataFrame({"x": pl.Series(values, dtype=pl.Float64)})))
    summary = desk.transform("normalize", source="t.parquet")
    found = desk.read_parquet(summary.output_object)["x"].to_list()
    assert [value is None for value in found] == [value is None for value in values]
    present = [value for value in found if value is not None]
    assert all(0 <= value <= 1 for value in present)
    if len({value for value in values if value is not None}) > 1:
        assert (min(present), max(present)) == (0, 1)
    order = sorted((before, after) for before, after in zip(values, found, strict=True) if before is not None)
    assert all(first[1] <= second[1] for first, second in pairwise(order)), "order is kept"


@bounded
@given(rows=st.lists(st.tuples(st.sampled_from("abc"), st.integers(-(10**12), 10**12)), min_size=1, max_size=60))
def test_sums_of_groups_add_up_to_the_total(rows: list[tuple[str, int]]) -> None:
    desk = Desk()
    desk.upload("t.csv", "group,amount\n" + "".join(f"{group},{amount}\n" for group, amount in rows))
    figures = {"total": {"function": "sum", "column": "amount"}, "rows": {"function": "count"}}
    step = {"name": "aggregation", "group_by": ["group"], "aggregates": figures}
    found = desk.read_csv(desk.transform(step, source="t.csv").output_object)
    assert found["total"].sum() == sum(amount for _, amount in rows)
    assert found["rows"].sum() == len(rows)
    assert sorted(found["group"]) == sorted({group for group, _ in rows})


@bounded
@given(
    values=st.lists(st.none() | st.floats(-1e6, 1e6) | st.just(math.nan), min_size=1, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=5),
)
def test_figures_are_the_same_however_the_table_is_cut(values: list[float | None], cuts: list[int]) -> None:
    whole, pieces = Summary(), Summary()
    frame = pl.DataFrame({"x": pl.Series(values, dtype=pl.Float64)})
    whole.add(frame)
    edges = sorted({0, len(values), *(cut for cut in cuts if cut < len(values))})
    for start, stop in pairwise(edges):
        pieces.add(frame[start:stop])
    one, other = whole.columns["x"], pieces.columns["x"]
    assert (one.rows, one.nulls, one.not_finite, one.least, one.greatest) == (
        other.rows,
        other.nulls,
        other.not_finite,
        other.least,
        other.greatest,
    )
    for figure, again, tolerance in ((one.mean, other.mean, 1e-6), (one.std(), other.std(), 1e-3)):
        assert (figure is None) == (again is None)
        assert math.isclose(figure or 0.0, again or 0.0, rel_tol=1e-9, abs_tol=tolerance)


@bounded
@given(
    fields=st.lists(
        st.lists(st.text(st.sampled_from('ab"\n,'), max_size=8), min_size=2, max_size=2), min_size=1, max_size=40
    ),
    block_bytes=st.integers(1, 50),
)
def test_blocks_hold_whole_rows_wherever_the_stream_is_cut(fields: list[list[str]], block_bytes: int) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(fields)
    data = text.getvalue().encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", block_bytes)
        found = list(blocks.blocks(io.BytesIO(data)))
    assert b"".join(block.data for block in found) == data
    assert [block.start for block in found] == [sum(len(b.data) for b in found[:index]) for index in range(len(found))]
    rows = [row for block in found for row in csv.reader(io.StringIO(block.data.decode(), newline=""))]
    assert rows == fields


@bounded
@given(
    fields=st.lists(
        st.lists(st.sampled_from(["", "x", '"a,"', '"\n"', '",\n"', '""', '"q""q"']), min_size=1, max_size=4),
        min_size=1,
        max_size=12,
    )
)
def test_a_row_of_another_width_is_named_whatever_is_around_it(fields: list[list[str]]) -> None:
    lines = ["first,second,third", *(",".join(row) for row in fields)]
    kept = [row for row in fields if row != [""]]  # a blank line is none
    odd = next((row for row in kept if len(row) != 3), None)
    desk = Desk()
    desk.upload("t.csv", "\n".join(lines) + "\n")
    if odd is None:
        table = desk.process("t.csv", "inspect").table
        assert table is not None
        assert table.rows == len(kept)
        return
    before = lines[: 1 + next(index for index, row in enumerate(fields) if row is odd)]
    line = 1 + sum(1 + text.count("\n") for text in before)
    with pytest.raises(Reject, match=rf"^line {line}: the row has {len(odd)} fields, the header 3$"):
        desk.process("t.csv", "inspect")


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_compressed_stream_is_expanded_or_rejected(kind: Any) -> None:
    magic = b"\x1f\x8b\x08\0" if kind == "gzip" else b"\x28\xb5\x2f\xfd"
    compress = gzip.compress if kind == "gzip" else zstandard.compress
    tally = Tally(Reject)

    @settings(max_examples=60, deadline=None)
    @given(data=st.binary(max_size=500), cut=st.integers(0, 3), garbage=st.booleans())
    def expand(data: bytes, cut: int, garbage: bool) -> None:
        whole = compress(data)
        sent = magic + data if garbage else whole[: len(whole) - cut]
        stream = Expanded(io.BytesIO(sent), kind, compressed_bytes=len(sent))
        with tally:
            found = b"".join(iter(lambda: stream.read(1000), b""))
            assert garbage or found == data

    expand()
    tally.check()


def test_any_bytes_give_a_report_or_a_reason() -> None:
    tally = Tally(Reject)

    @settings(max_examples=60, deadline=None)
    @example(data=b"\t", name="x.ndjson")
    @given(
        data=st.binary(max_size=300), name=st.sampled_from(["x", "x.csv", "x.ndjson", "x.parquet", "x.gz", "x.html"])
    )
    def report(data: bytes, name: str) -> None:
        _report_or_reason(name, data, tally)

    report()
    tally.check()


# fmt: off
MAGICS = [
    b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"%PDF-1.7\n", b"PK\x03\x04", b"PAR1", b"BM", b"II*\0",
    b"RIFF0000WEBP",
]
# fmt: on


@bounded
@given(magic=st.sampled_from(MAGICS), data=st.binary(max_size=300))
def test_files_broken_behind_their_first_bytes_give_a_report_or_a_reason(magic: bytes, data: bytes) -> None:
    _report_or_reason("x", magic + data, Tally(Reject))


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def _samples() -> dict[str, bytes]:
    """A valid file of each kind."""
    table = pl.DataFrame({"n": range(40), "t": [f'a "{n}",' for n in range(40)], "l": [[n, 1] for n in range(40)]})
    flat = table.drop("l").write_csv().encode()
    rolled, zipped = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=rolled, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("n" * 150))
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("a.txt", "aaa")
    images = {}
    for form in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"):
        buffer = io.BytesIO()
        Image.effect_noise((30, 20), 50).convert("RGB").save(buffer, form)
        images[f"x.{form.lower()}"] = buffer.getvalue()
    return images | {
        "x.csv": flat,
        "x.csv.gz": gzip.compress(flat),
        "x.csv.zst": zstandard.compress(flat),
        "x.ndjson": table.write_ndjson().encode(),
        "x.parquet": _parquet(table),
        "x.pdf": pdf("One page", "another", title="Title"),
        "x.tar": rolled.getvalue(),
        "x.zip": zipped.getvalue(),
    }


SAMPLES = _samples()


@pytest.mark.parametrize("name", SAMPLES)
@settings(bounded, max_examples=15)
@example(changes=[])
@given(
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.sampled_from(["set", "cut", "twice"]), st.integers(0, 255)),
        min_size=1,
        max_size=6,
    )
)
def test_a_file_with_some_bytes_changed_gives_a_report_or_a_reason(name: str, changes: list[Any]) -> None:
    data, tally = bytearray(SAMPLES[name]), Tally(Reject)
    for where, what, value in changes:
        at = int(where * len(data))
        if what == "set":
            data[at] = value
        else:
            data[at : at + value % 32] = b"" if what == "cut" else data[at : at + value % 32] * 2
        data = data or bytearray(b"\0")
    _report_or_reason(name, bytes(data), tally)
    assert changes or tally.accepted


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_a_parquet_footer_with_any_byte_changed_gives_a_report_or_a_reason(mask: int) -> None:
    data = _parquet(pl.DataFrame({"n": [1, 2, 3], "t": ["a", "b", None]}))
    length = int.from_bytes(data[-8:-4], "little")
    tally = Tally(Reject)
    for at in range(len(data) - 8 - length, len(data)):
        changed = data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]
        desk = Desk()
        desk.upload("x.parquet", changed)
        with tally:
            desk.process("x.parquet", "inspect")
    tally.check()


@bounded
@given(rows=st.integers(0, 500), size=st.integers(1, 100), nested=st.booleans())
def test_the_footer_of_a_parquet_file_describes_its_row_groups(rows: int, size: int, nested: bool) -> None:
    frame = pl.DataFrame({"n": range(rows), "t": [f"text {row}" for row in range(rows)]})
    if nested:
        frame = frame.with_columns(pl.concat_list("n", "n").alias("l"), pl.struct("n", "t").alias("s"))
    buffer = io.BytesIO()
    frame.write_parquet(buffer, row_group_size=size)
    found = read_footer(buffer).group_bytes
    assert len(found) == -(-rows // size)
    # Numbers take 8 bytes, texts 16 and their own bytes, repeated ones of a dictionary included.
    least = rows * ((8 * 4 + 16 * 2) if nested else (8 + 16))
    assert least <= sum(found) <= least + 200 * (len(found) + rows) * 8


def test_a_footer_is_read_or_rejected() -> None:
    whole = _parquet(pl.DataFrame({"n": [1, 2, 3]}))
    length = int.from_bytes(whole[-8:-4], "little")
    tally = Tally(Reject)

    @settings(max_examples=60, deadline=None)
    @example(data=whole[-8 - length : -8])
    @given(data=st.binary(max_size=200))
    def read(data: bytes) -> None:
        footer = data + len(data).to_bytes(4, "little") + b"PAR1"
        with tally:
            assert all(isinstance(size, int) for size in read_footer(io.BytesIO(b"PAR1" + footer)).group_bytes)

    read()
    tally.check()


def _report_or_reason(name: str, data: bytes, tally: Tally) -> None:
    """Process a file; any error but `Reject` would be retried, in vain."""
    desk = Desk()
    desk.upload(name, data)
    with tally:
        assert desk.process(name).size_bytes == len(data)
