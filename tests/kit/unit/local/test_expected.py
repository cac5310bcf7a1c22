"""What the e2e checks with must itself be right: against values from elsewhere."""

from __future__ import annotations

import gzip

import google_crc32c
import polars as pl
import pytest
import zstandard

from local.e2e import cases, data_cases, expected
from local.samples import make
from poolhouse.local.e2e import compare


def test_the_committed_samples_are_what_the_generator_makes() -> None:
    made = make.files()
    found = {name: (make.FOLDER / name).read_bytes() for name in made}
    assert {path.name for path in make.FOLDER.iterdir()} == set(made)
    # Compressed bytes may differ between versions of zlib.
    assert gzip.decompress(found.pop("events.ndjson.gz")) == gzip.decompress(made.pop("events.ndjson.gz"))
    assert expected.png_size(found.pop("tiles.png")) == expected.png_size(made.pop("tiles.png")) == (48, 32)
    assert found == made


def test_crc32c_is_that_of_the_rfc_and_of_googles_library() -> None:
    assert expected.crc32c(b"123456789") == 0xE3069283  # RFC 3720, B.4
    data = (make.FOLDER / "orders.csv").read_bytes()
    assert expected.crc32c(data) == google_crc32c.value(data)


def test_figures_of_groups_are_those_of_polars() -> None:
    data = (make.FOLDER / "orders.csv").read_bytes()
    frame = (
        pl.read_csv(data)
        .group_by("category")
        .agg(orders=pl.len(), total=pl.sum("unit_price"), mean=pl.mean("unit_price"), median=pl.median("unit_price"))
    )
    groups = expected.grouped(data, by="category", column="unit_price")
    assert compare.differences({row["category"]: row for row in frame.to_dicts()}, groups) == []


def test_typed_rows_are_those_of_polars() -> None:
    data = (make.FOLDER / "orders.csv").read_bytes()
    assert expected.typed(data) == pl.read_csv(data).to_dicts()


def test_rows_differ_in_their_number_columns_or_first_other_value() -> None:
    wanted = [{"a": "1.50", "b": ""}, {"a": "2", "b": "x"}]
    assert expected.row_differences([{"a": "1.5", "b": ""}, {"a": "2.0", "b": "x"}], wanted) == []
    assert expected.row_differences(wanted[:1], wanted) == ["1 rows, expected 2"]
    assert expected.row_differences([wanted[0], {"a": "2", "b": ""}], wanted) == ["row 2, b: '', expected 'x'"]
    assert expected.row_differences([{"a": "1.5"}, {"a": "2"}], wanted) == ["columns a, expected a, b"]
    assert expected.row_differences([{"a": "1.5"}, {"a": "2"}], wanted, columns=["a"]) == []


def test_the_samples_made_for_a_run_are_what_they_say() -> None:
    files = cases.samples()
    assert files.keys() == cases.CONTENT_TYPES.keys()
    assert zstandard.ZstdDecompressor().decompressobj().decompress(files["notes.txt.zst"]) == files["notes.txt"]
    halves = [expected.rows(files[part]) for part in data_cases.PARTS]
    assert all(len(half) > 1_000 for half in halves)
    assert halves[0] + halves[1] == expected.rows(files["orders.csv"])


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        ({"a": 1, "b": {"c": 0.1 + 0.2}}, []),
        ({"a": 1, "b": {"c": 0.3001}}, ["b.c: 0.3001, expected 0.3"]),
        ({"a": 1, "b": {}}, ["b.c: missing, expected 0.3"]),
        ({"a": "1", "b": {"c": 0.3}}, ["a: '1', expected 1"]),
        ({"b": {"c": None}}, ["a: missing, expected 1", "b.c: None, expected 0.3"]),
    ],
)
def test_every_difference_is_named_with_its_path(found: dict[str, object], lines: list[str]) -> None:
    assert compare.differences(found, {"a": 1, "b": {"c": 0.3}}) == lines


def test_series_differ_in_their_length_or_at_their_first_other_value() -> None:
    assert expected.series_differences([1.0, 2.0], [1.0, 2.0 + 1e-13], "x") == []
    assert expected.series_differences([1.0], [1.0, 2.0], "x") == ["x: 1 values, expected 2"]
    assert expected.series_differences([1.0, 3.0], [1.0, 2.0], "x") == ["x: value 1 is 3.0, expected 2.0"]
