"""No value of a table becomes another one: it is kept, kept as text, or refused, and a refusal is final."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
import zstandard

from poolhouse.worker.errors import Reject
from tests.unit.handlers.desk import Desk
from worker.transforms.tables.compression import Expanded
from worker.transforms.tables.ndjson_lines import deep_line

PADDED = '{"a":1,"p":"' + "x" * 100 + '"}\n'
TEXT_BEYOND = "1234567890123456789"


def parquet(columns: Mapping[str, Any], schema: Any = None) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(columns, schema=schema).write_parquet(buffer)
    return buffer.getvalue()


def _converted(desk: Desk, name: str, data: bytes | str, to: str) -> str:
    desk.upload(name, data)
    desk.process(name, {"name": "convert", "to": to})
    return desk.read(f"processed/{name}.{to}").decode()


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        ("zip,n\n" + "10001,1\n" * 10_001 + "00501,2\n", "00501,2"),
        ("phone,n\n" + "491701,1\n" * 10_001 + "+491702,2\n", "+491702,2"),
        ("n,x\n" + "7,1\n" * 10_001 + "-0,2\n", "-0.0,2"),
        ("icd9,n\n001.0,1\n250.01,2\n", "001.0,1"),
        ("id,n\n" + TEXT_BEYOND + ",1\nnan,2\n", TEXT_BEYOND),
        ("id,n\n" + "1.5,1\n" * 10_001 + TEXT_BEYOND + ",2\n", TEXT_BEYOND),
        ("id,n\n" + TEXT_BEYOND + ",1\n" + "1,1\n" * 10_001 + "0.5,2\n", TEXT_BEYOND),
        ("id,n\n12345678901234567890,1\n5,2\n", "12345678901234567890"),
        ("id,n\n1,1\n1E5,2\n", "1E5,2"),
        ("id,n\n" + "1,1\n" * 10_001 + "12E4,2\n", "12E4,2"),
        ("x,n\n1e400,1\n2.5,2\n", "1e400,1"),
        ("x,n\n" + "2.5,1\n" * 10_001 + "1e400,2\n", "1e400,2"),
        ("id,bits\n1," + "01" * 30 + "\n2," + "10" * 30 + "\n", "01" * 30),
        ("v,n\n٣,1\n٤,2\n", "٣,1"),
        ('a,n\n1,say "hi" now\n', 'say ""hi"" now'),
        ("a,b\n1,x\x0bz\n2,y\x00\n", "x\x0bz"),
        ("flag,n\ntrue,1\n1,2\n", "true,1"),
        ("a,b\n1,x\ry\n", "x\ry"),
    ],
)
def test_a_csv_value_is_written_as_it_was(desk: Desk, data: str, kept: str) -> None:
    assert kept in _converted(desk, "t.csv", data, "csv")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("t.csv", 'id,note\n1,"say "hi" now"\n2,x\n', "line 2: a quote stands in the middle"),
        ("t.csv", 'id,note\n1,"a,"b",c"\n2,x\n', "line 2: "),
        ("t.csv", 'id,note\n1,x\n2,"a\\"b\\"c"\n', "line 3: a quote stands in the middle"),
        ("t.csv", 'id,note\n1,5" pipe\n2,x\n', "line 2: a quote is not closed"),
        ("t.csv", 'id,"name\n1,x\n2,y\n', "line 1: a quote is not closed"),
        ("t.csv", 'id,na"me\n1,x\n2,y"\n', "line 1: a quote of the header"),
        ("t.csv", 'a,b\n1, "x,y"\n', "line 2: "),
        ("t.csv", "Report 2026\nid;name;x\n1;a;5\n2;b;6\n", "line 2: the row has 3 fields, the header 1"),
        ("t.tsv", "# made by a tool\nid\tname\n1\ta\n2\tb\n", "line 2: the row has 2 fields, the header 1"),
        ("t.csv", "sep=;\nid;name\n1;a\n", "note to Excel"),
        ("t.csv", "id,name\n1,Ann\n2,Bob".encode("utf-16-le"), "UTF-16"),
        ("t.csv", "id,name\n1,Ann\n2,Bob".encode("utf-16-be"), "UTF-16"),
        ("t.csv", "id,name\n1,Ann\n".encode("utf-16"), "UTF-16"),
        ("t.csv", "id,name\n1,Ann\n".encode("utf-32"), "UTF-32"),
        ("t.csv", "id,name\n1,Zoë\n".encode("latin-1"), "line 2: byte 5 of the row is not UTF-8"),
        ("t.csv", "a,b\r1,2\r3,4\r", "carriage returns alone"),
        ("t.csv", b"a,b\n1,x\n2,y\n\x1a", "line 4: the row has 1 fields"),
        ("t.csv", b"BZh91AY&SY" + bytes(50), "bzip2"),
        ("t.ndjson", '{"step":1,"loss":0.5}\n{"step":2,"loss":NaN}\n', "line 2: not JSON: NaN"),
        ("t.ndjson", '{"a":5}\n{"a":true}\n', "line 2: 'a' holds true or false where earlier lines have numbers"),
        ("t.ndjson", '{"a":"x"}\n{"a":[1]}\n', "line 2: 'a' holds a list or an object"),
        ("t.ndjson", '{"a":"\\ud800"}\n', "line 1: .* is half a character"),
        ("t.ndjson", '{"a":[1234567890123456789,0.5]}\n', "line 1: 'a' holds an integer beyond"),
        ("t.ndjson", '{"a":1,"b":2,"a":3}\n', "line 1: the key 'a' is there twice"),
        (
            "t.ndjson",
            '{"a":' + '{"b":' * 100 + "1" + "}" * 100 + "}\n",
            "line 1: lists or objects are nested more than 32 deep",
        ),
        ("t.ndjson", '{"a":1e400}\n', "line 1: 'a' holds a number that no float is large enough for"),
        ("t.ndjson", '{"a":' + "9" * 50 + "}\n", "line 1: 'a' holds a number of too many digits"),
        ("t.ndjson", '{"a":' + "[" * 5_000 + "]" * 5_000 + "}\n", "line 1: it is nested too deeply|line 1"),
    ],
)
def test_a_table_that_would_lose_something_is_refused(desk: Desk, name: str, data: bytes | str, reason: str) -> None:
    desk.upload(name, data)
    with pytest.raises(Reject, match=reason):
        desk.transform("deduplicate", source=name)


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (PADDED * 50_000 + '{"a":11898508762506083287,"p":"q"}\n', "11898508762506083287"),
        ('{"a":1234567890123456789}\n{"a":0.5}\n', TEXT_BEYOND),
        (PADDED * 50_000 + '{"a":0.5}\n{"a":' + TEXT_BEYOND + "}\n", TEXT_BEYOND),
        ('{"a":{"x":1}}\n{"a":{"y":"s"}}\n', '{"a":{"x":null,"y":"s"}}'),
        ('\ufeff{"a":1}\n{"a":2}\n', '{"a":2}'),
        ('{"a":"\\ud83d\\ude00"}\n', "😀"),
    ],
)
def test_an_ndjson_value_is_written_as_it_was(desk: Desk, data: str, kept: str) -> None:
    assert kept in _converted(desk, "t.ndjson", data, "ndjson")


def test_a_header_of_more_than_64_kib_still_shows_its_separator(desk: Desk) -> None:
    names = "\t".join(["gene"] + [f"sample_number_{number:06d}" for number in range(4_000)])
    desk.upload("t.tsv", names + "\n" + "\t".join(["g", *["1"] * 4_000]) + "\n")
    table = desk.process("t.tsv", "inspect").table
    assert table is not None
    assert len(table.columns) == 4_001


def test_json_lines_are_a_table_by_what_is_inside_of_gzip(desk: Desk) -> None:
    desk.upload("t.json.gz", gzip.compress(b'{"a":1}\n{"a":2}\n'))
    desk.process("t.json.gz", {"name": "convert", "to": "csv"})
    assert desk.read("processed/t.json.gz.csv") == b"a\n1\n2\n"


PACKED = zstandard.compress(b"a,b\n" + b"".join(b"%d,%d\n" % (i, i * 7919) for i in range(300_000)))


@pytest.mark.parametrize("cut", [1, 100, len(PACKED) // 2, len(PACKED) * 2 // 3])
def test_a_zstd_file_that_is_cut_off_is_refused(desk: Desk, cut: int) -> None:
    desk.upload("t.csv.zst", PACKED[:-cut])
    for operation in ("decompress", {"name": "convert", "to": "csv"}):
        with pytest.raises(Reject, match=r"the zstd data is broken .* it is cut off"):
            desk.process("t.csv.zst", operation)


@pytest.mark.parametrize("end", [b"\0", b"garbage after it", zstandard.compress(b"x")[:-3]])
def test_what_follows_the_last_zstd_frame_is_not_left_out(end: bytes) -> None:
    packed = zstandard.compress(b"x" * 1_000) + zstandard.compress(b"")
    for data, is_whole in ((packed, True), (packed + end, False)):
        stream = Expanded(io.BytesIO(data), "zstd", compressed_bytes=len(data))
        assert stream.read(1_000) == b"x" * 1_000
        if is_whole:
            assert stream.read(1_000) == b""
        else:
            with pytest.raises(Reject, match="zstd data is broken"):
                stream.read(1_000)


@pytest.mark.parametrize(
    ("files", "column", "values"),
    [
        (
            {"a.parquet": parquet({"v": [1]}, {"v": pl.Int32}), "b.parquet": parquet({"v": [2**53 + 1]})},
            "v",
            [1, 2**53 + 1],
        ),
        (
            {"a.ndjson": '{"v":{"x":1}}\n', "b.ndjson": '{"v":{"y":"s"}}\n'},
            "v",
            [{"x": 1, "y": None}, {"x": None, "y": "s"}],
        ),
        ({"a.ndjson": '{"v":[1]}\n', "b.ndjson": '{"v":[1.5]}\n'}, "v", [[1.0], [1.5]]),
        ({"a.csv": "v,w\n1,2\n", "b.csv": "v,w\n"}, "v", [1]),
        ({"a.csv": "v,w\n,2\n", "b.csv": "v,w\ntrue,3\n"}, "v", [None, True]),
        ({"a.csv": "v,w\n1.50,2\n", "b.csv": "v,w\nx,3\n"}, "v", ["1.50", "x"]),
        ({"a.csv": "v,w\n1,2\n", "b.csv": f"v,w\n0.5,2\n{TEXT_BEYOND},3\n"}, "v", ["1", "0.5", TEXT_BEYOND]),
        (
            {"a.parquet": parquet({"v": [Decimal("1.50")]}), "b.parquet": parquet({"v": [7]})},
            "v",
            [Decimal("1.50"), Decimal("7.00")],
        ),
    ],
)
def test_a_folder_keeps_the_values_of_all_its_files(
    desk: Desk, files: dict[str, Any], column: str, values: list[Any]
) -> None:
    for name, data in files.items():
        desk.upload(f"f/{name}", data)
    summary = desk.transform({"name": "sample", "rows": 9}, source="f/", output_format="parquet")
    assert desk.read_parquet(summary.output_object)[column].to_list() == values


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (PADDED * 50_000 + '{"a":1,"p":"x","late":5}\n', "differ in their columns: 'late'"),
        ('{"a":[1],"p":"x"}\n', "'a' holds list where the files before have int64"),
    ],
)
def test_a_folder_of_files_that_do_not_go_together_is_refused(desk: Desk, second: str, reason: str) -> None:
    desk.upload("f/a.ndjson", PADDED)
    desk.upload("f/b.ndjson", second)
    with pytest.raises(Reject, match=reason):
        desk.transform({"name": "filter", "where": "p = 'x'"}, source="f/", output_format="ndjson")


def test_markers_and_hidden_files_are_no_part_of_a_folder(desk: Desk) -> None:
    for name in ("_SUCCESS", ".part-0.csv.crc", "day=1/.DS_Store"):
        desk.upload(f"f/{name}", b"" if name == "_SUCCESS" else b"\0\1")
    desk.upload("f/_orders.csv", "a\n1\n")
    desk.upload("f/day=1/part-0.csv", "a\n2\n")
    summary = desk.transform({"name": "sort", "by": ["a"]}, source="f/")
    assert summary.inputs == ["uploads/f/_orders.csv", "uploads/f/day=1/part-0.csv"]
    assert summary.rows_in == 2


def test_depth_is_counted_before_the_table_is_read() -> None:
    flat, wide = b'{"a": "[[{\\"[["}', b'{"a": [' + b"[{}]," * 99 + b"[]]}"
    deep = b'{"a": [[], ' * 40 + b"1" + b"]}" * 40
    assert deep_line(b"\n".join([flat * 9, wide, b"[" * 500, b""])) is None
    assert deep_line(b"\n".join([flat, wide, b"", deep])) == 3


SKIPPED = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"


def test_frames_that_zstd_skips_hide_no_table(desk: Desk) -> None:
    packed = SKIPPED + zstandard.compress(b"a,b\n1,x\n") + SKIPPED + zstandard.compress(b"2,y\n")
    desk.upload("t.csv.zst", packed)
    table = desk.process("t.csv.zst").table
    assert table is not None
    assert table.rows == 2
    assert desk.transform("deduplicate", source="t.csv.zst").rows_in == 2


def _thrift_parquet(kind: int, values: bytes, rows: int, *, footer_rows: int) -> bytes:
    """A Parquet file of one required column `t`, of plain values, as old writers make them."""

    def number(value: int) -> bytes:
        value, out = value << 1, b""
        while value > 127:
            out, value = out + bytes([value & 127 | 128]), value >> 7
        return out + bytes([value])

    def fields(*parts: tuple[int, int, bytes]) -> bytes:
        return b"".join(bytes([delta << 4 | wire]) + body for delta, wire, body in parts) + b"\0"

    header = fields((1, 5, number(rows)), (1, 5, b"\0"), (1, 5, b"\x06"), (1, 5, b"\x06"))
    page = fields((1, 5, b"\0"), (1, 5, number(len(values))), (1, 5, number(len(values))), (2, 12, header)) + values
    element = fields((1, 5, number(kind)), (2, 5, b"\0"), (1, 8, b"\x01t"))
    schema = b"\x2c" + fields((4, 8, b"\x04root"), (1, 5, number(1))) + element
    meta = fields(
        *((1, 5, number(kind)), (1, 9, b"\x15\0"), (1, 9, b"\x18\x01t"), (1, 5, b"\0")),
        *((1, 6, number(rows)), (1, 6, number(len(page))), (1, 6, number(len(page))), (2, 6, number(4))),
    )
    chunk = fields((2, 6, number(4)), (1, 12, meta))
    group = fields((1, 9, b"\x1c" + chunk), (1, 6, number(len(page))), (1, 6, number(rows)))
    footer = fields((1, 5, number(1)), (1, 9, schema), (1, 6, number(footer_rows)), (1, 9, b"\x1c" + group))
    return b"PAR1" + page + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def test_a_footer_that_contradicts_its_row_groups_is_refused(desk: Desk) -> None:
    six = b"".join(n.to_bytes(4, "little") for n in range(6))
    desk.upload("t.parquet", _thrift_parquet(1, six, 6, footer_rows=6))
    table = desk.process("t.parquet", "inspect").table
    assert table is not None
    assert (table.rows, table.max["t"]) == (6, 5)
    desk.upload("t.parquet", _thrift_parquet(1, six, 6, footer_rows=0))
    with pytest.raises(Reject, match="the Parquet file's footer says 0 rows, and its row groups hold 6"):
        desk.process("t.parquet", "inspect")


@pytest.mark.parametrize(("year", "day"), [(9999, 5_373_484), (1600, 2_305_813), (2024, 2_460_311)])
def test_int96_times_are_read_whatever_their_year(desk: Desk, year: int, day: int) -> None:
    desk.upload("t.parquet", _thrift_parquet(3, bytes(8) + day.to_bytes(4, "little"), 1, footer_rows=1))
    desk.process("t.parquet", {"name": "convert", "to": "csv"})
    assert str(year) in desk.read("processed/t.parquet.csv").decode()


@pytest.mark.parametrize(
    ("columns", "schema", "reason"),
    [
        (
            {"id": [1], "geom": [b"\x01\xff"]},
            None,
            "column 'geom' holds values of type binary, which CSV has no form for",
        ),
        ({"d": [timedelta(days=1)]}, None, "column 'd' holds values of type duration, which CSV has no form for"),
        ({"l": [[1]]}, None, "column 'l' holds lists or objects, which CSV has no form for: use ndjson or parquet"),
    ],
)
def test_a_column_that_has_no_form_in_a_format_is_named(
    desk: Desk, columns: dict[str, Any], schema: Any, reason: str
) -> None:
    desk.upload("t.parquet", parquet(columns, schema))
    with pytest.raises(Reject, match=reason):
        desk.process("t.parquet", {"name": "convert", "to": "csv"})
    # Without a format named, it becomes what has a form for it, or stays as it is.
    assert ("convert" in desk.process("t.parquet").operations) == ("geom" not in columns)


def test_what_has_no_form_anywhere_is_left_out_of_what_fits_the_file(desk: Desk) -> None:
    desk.upload("t.ndjson", '{"id":1,"tags":{}}\n{"id":2,"tags":{}}\n')
    assert desk.process("t.ndjson").operations == ["inspect", "compress"]
    with pytest.raises(Reject, match="column 'tags' holds lists or objects, which Parquet has no form for: use ndjson"):
        desk.process("t.ndjson", "convert")


def test_nan_is_not_written_as_null(desk: Desk) -> None:
    desk.upload("t.csv", "x,y\nnan,1\n2.5,2\n")
    with pytest.raises(Reject, match="column 'x' holds NaN or infinity, which JSON has no form for"):
        desk.process("t.csv", {"name": "convert", "to": "ndjson"})


@pytest.mark.parametrize(
    ("days", "shown"),
    [(2**31 - 1, 2**31 - 1), (2_932_898, "+10000-01-02"), (5, "1970-01-06"), (-800_000, "-0221-09-04")],
)
def test_dates_beyond_those_of_python_are_shown(desk: Desk, days: int, shown: Any) -> None:
    frame = pl.DataFrame({"d": [days]}, schema={"d": pl.Int32}).with_columns(pl.col("d").cast(pl.Date))
    desk.upload("t.parquet", parquet(frame.to_dict()))
    table = desk.process("t.parquet", "inspect").table
    assert table is not None
    assert table.max == {"d": shown}
    json.loads(table.model_dump_json())


@pytest.mark.parametrize(
    ("data", "reason"),
    [('"a","b"\n"1","x"\n"two","y"\n', "line 3 holds 'two'"), ('a,b\n"1,234",x\n"5,678",y\n', "line 2 holds '1,234'")],
)
def test_a_column_of_texts_says_which_value_is_no_number(desk: Desk, data: str, reason: str) -> None:
    desk.upload("t.csv", data)
    with pytest.raises(Reject, match=f"normalize: column 'a' holds no numbers but String: {reason}"):
        desk.transform({"name": "normalize", "columns": ["a"]}, source="t.csv")


def test_an_empty_value_in_quotes_is_none_among_numbers(desk: Desk) -> None:
    found = desk.rows({"name": "normalize", "columns": ["a"]}, '"a","b"\n"1","x"\n"","y"\n"3","z"\n')
    assert found["a"].isna().tolist() == [False, True, False]


EXACT = {
    "n": pl.Series([1, 200], dtype=pl.UInt8),
    "wide": pl.Series([2**53, 2**53 + 1]),
    "x": pl.Series([2.0**53, 0.5]),
    "at": pl.Series([datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)]),
    "naive": pl.Series([datetime(2024, 1, 1), datetime(2024, 6, 1)]),
    "nano": pl.Series([1_704_067_200_000_000_001, 1_704_067_200_000_000_000]).cast(pl.Datetime("ns")),
    "day": pl.Series([date(2024, 1, 1), date(2024, 6, 1)]),
    "price": pl.Series([Decimal("1.10"), Decimal("2.20")]),
    "kind": pl.Series(["a", "b"], dtype=pl.Categorical),
}


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("n > -1", [0, 1]),
        ("n between -5 and 100", [0]),
        ("n < 300", [0, 1]),
        ("-n < -100", [1]),
        ("n > 1.5", [1]),
        ("n = 1.5", []),
        ("wide = 9007199254740993", [1]),
        ("wide > 9007199254740992.0", [1]),
        ("wide % 2 = 1", [1]),
        ("wide + 1 = 9007199254740994", [1]),
        ("wide = x", [0]),
        ("x < 9007199254740993", [0, 1]),
        ("abs(wide) = 9007199254740993", [1]),
        ("wide < 18446744073709551615", [0, 1]),
        ("at > '2024-03-01'", [1]),
        ("at = '2024-01-01T01:00:00+01:00'", [0]),
        ("naive > '2024-03-01'", [1]),
        ("nano = '2024-01-01'", [1]),
        ("day < '2024-03-01T12:00:00'", [0]),
        ("price = 1.1", [0]),
        ("price > 2", [1]),
        ("kind = 'b'", [1]),
    ],
)
def test_comparisons_are_exact(desk: Desk, where: str, rows: list[int]) -> None:
    desk.upload("t.parquet", parquet(EXACT | {"row": [0, 1]}))
    summary = desk.transform({"name": "filter", "where": where}, source="t.parquet")
    assert desk.read_parquet(summary.output_object)["row"].to_list() == rows


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("naive > '2024-03-01T00:00:00Z'", "a time in a time zone can't be compared with one in none"),
        ("at > naive", "a time in a time zone can't be compared with one in none"),
        ("kind > 5", "a text can't be compared with a number"),
    ],
)
def test_comparisons_that_mean_nothing_are_refused(desk: Desk, where: str, reason: str) -> None:
    desk.upload("t.parquet", parquet(EXACT))
    with pytest.raises(Reject, match=reason):
        desk.transform({"name": "filter", "where": where}, source="t.parquet")


def _figure(desk: Desk, function: str, values: pl.Series) -> Any:
    desk.upload("t.parquet", parquet({"k": ["x"] * len(values), "a": values}))
    aggregates = {"s": {"function": function, "column": "a"}}
    step = {"name": "aggregation", "group_by": ["k"], "aggregates": aggregates}
    summary = desk.transform(step, source="t.parquet")
    return desk.read_parquet(summary.output_object)["s"][0]


@pytest.mark.parametrize("dtype", [pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32])
def test_sums_of_narrow_integers_do_not_overflow(desk: Desk, dtype: Any) -> None:
    most = int(pl.select(dtype.max()).item())
    assert _figure(desk, "sum", pl.Series([most] * 1_000, dtype=dtype)) == most * 1_000


@pytest.mark.parametrize("values", [pl.Series([9 * 10**18] * 2), pl.Series([2**64 - 1] * 2, dtype=pl.UInt64)])
def test_a_sum_that_no_64_bits_hold_is_refused(desk: Desk, values: pl.Series) -> None:
    with pytest.raises(Reject, match="aggregation: the sum of column 'a' does not fit into 64 bits"):
        _figure(desk, "sum", values)


def test_a_sum_that_no_128_bits_or_38_digits_hold_is_refused(desk: Desk) -> None:
    for values in (pl.Series([2**126] * 8, dtype=pl.Int128), pl.Series([Decimal("9" * 38)] * 2)):
        with pytest.raises(Reject):
            _figure(desk, "sum", values)
    assert _figure(desk, "sum", pl.Series([2**100] * 2, dtype=pl.Int128)) == 2**101


def test_figures_of_large_integers_are_exact_or_refused(desk: Desk) -> None:
    values = pl.Series([2**53 + 1, -(2**53), 0])
    assert _figure(desk, "sum", values) == 1
    assert _figure(desk, "mean", values) == pytest.approx(1 / 3)
    for function in ("median", "std", "var"):
        with pytest.raises(Reject, match="column 'a' holds integers beyond 2\\*\\*53"):
            _figure(desk, function, values)


@pytest.mark.parametrize(
    ("values", "normalized", "standardized"),
    [
        (pl.Series([2**60, 2**60 + 1, 2**60 + 2]), [0.0, 0.5, 1.0], [-1.0, 0.0, 1.0]),
        (pl.Series([Decimal("1.5"), Decimal("2.5"), Decimal("3.5")]), [0.0, 0.5, 1.0], [-1.0, 0.0, 1.0]),
        (pl.Series([0.1] * 3), [0.0] * 3, [0.0] * 3),
        (pl.Series([12.94] * 7), [0.0] * 7, [0.0] * 7),
    ],
)
def test_scaling_is_exact_whatever_the_type(
    desk: Desk, values: pl.Series, normalized: list[float], standardized: list[float]
) -> None:
    desk.upload("t.parquet", parquet({"a": values}))
    for step, expected in (("normalize", normalized), ("standardize", standardized)):
        summary = desk.transform(step, source="t.parquet")
        assert desk.read_parquet(summary.output_object)["a"].to_list() == pytest.approx(expected)


@pytest.mark.parametrize("source", ["t.csv", "f/"])
def test_a_cast_to_text_takes_what_stands_in_the_file(desk: Desk, source: str) -> None:
    for name in ("t.csv", "f/a.csv", "f/b.csv"):
        desk.upload(name, "v,n,t\n1.10,1.50,TRUE\n2,2,false\n")
    steps = [{"name": "cast", "columns": {"v": "string", "t": "string"}}, {"name": "sample", "rows": 9}]
    summary = desk.transform(steps, source=source, output_format="parquet")
    found = desk.read_parquet(summary.output_object).unique(maintain_order=True)
    assert found["v"].to_list() == ["1.10", "2"]
    assert found["t"].to_list() == ["TRUE", "false"]
    assert found["n"].to_list() == [1.5, 2.0]


def test_a_cast_to_text_after_another_takes_what_that_made(desk: Desk) -> None:
    desk.upload("t.csv", "v\n1.0\n2\n")
    casts = [{"name": "cast", "columns": {"v": kind}} for kind in ("int64", "string")]
    summary = desk.transform(casts, source="t.csv", output_format="parquet")
    assert desk.read_parquet(summary.output_object)["v"].to_list() == ["1", "2"]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-05T10:00:00+02:00", datetime(2024, 1, 5, 8)),
        ("2024-01-05 10:00:00 +0200", datetime(2024, 1, 5, 8)),
        ("2024-01-05T22:00:00.5-0330", datetime(2024, 1, 6, 1, 30, 0, 500_000)),
        ("2024-01-05T10:00+02", datetime(2024, 1, 5, 8)),
        ("2024-01-05T10:00:00Z", datetime(2024, 1, 5, 10)),
        ("2024-01-05 10:00", datetime(2024, 1, 5, 10)),
    ],
)
def test_a_time_that_says_how_far_it_is_from_utc_becomes_one_of_utc(desk: Desk, text: str, moment: datetime) -> None:
    desk.upload("t.csv", f"at\n{text}\n")
    summary = desk.transform({"name": "cast", "columns": {"at": "datetime"}}, source="t.csv", output_format="parquet")
    assert desk.read_parquet(summary.output_object)["at"].to_list() == [moment]


@pytest.mark.parametrize(
    ("values", "kind", "reason"),
    [
        (["2024-01-05T10:00:00+25:00"], "datetime", "is no datetime"),
        (["2024-01-05T10:00:00+02:00Z"], "datetime", "is no datetime"),
        (["24-01-05"], "date", "row 1: '24-01-05' in column 'a' is no date"),
        (["9007199254740993.5"], "int64", "is no int64"),
        (["9007199254740993"], "float64", "is no float64"),
        ([2**53 + 1], "float64", "row 1: 9007199254740993 in column 'a' is no float64"),
        ([2], "boolean", "row 1: 2 in column 'a' is no boolean"),
        ([b"\x01"], "int64", "a column of type binary can't become int64"),
        ([date(2024, 1, 1)], "boolean", "a column of type date can't become boolean"),
        ([timedelta(1)], "string", "a column of type duration can't become string"),
        ([[1]], "string", "a column of type list can't become string"),
        (["2024-01-05T10:00:00.1234567"], "datetime", "is no datetime"),
    ],
)
def test_a_cast_that_would_change_a_value_is_refused(desk: Desk, values: list[Any], kind: str, reason: str) -> None:
    desk.upload("t.parquet", parquet({"a": values}))
    with pytest.raises(Reject, match=f"cast: .*{reason}"):
        desk.transform({"name": "cast", "columns": {"a": kind}}, source="t.parquet")


@pytest.mark.parametrize(
    "step",
    [
        {"name": "sort", "by": ["l"]},
        {"name": "sort", "by": ["b"]},
        {"name": "aggregation", "group_by": ["l"]},
        {"name": "aggregation", "aggregates": {"x": {"function": "max", "column": "s"}}},
        {"name": "aggregation", "aggregates": {"x": {"function": "n_unique", "column": "l"}}},
        {"name": "aggregation", "aggregates": {"x": {"function": "first", "column": "b"}}},
        "deduplicate",
        "aggregation",
        {"name": "filter", "where": "l = 1"},
        {"name": "filter", "where": "b = 'x'"},
        {"name": "filter", "where": "t > 5"},
    ],
)
def test_no_step_on_columns_of_odd_types_is_tried_again(desk: Desk, step: Any) -> None:
    columns = {"l": [[1], [2]], "b": [b"x", b"y"], "s": [{"a": 1}, {"a": 2}], "d": [timedelta(1)] * 2, "n": [1, 2]}
    times = pl.Series(["01:00:00", "02:00:00"]).str.to_time()
    desk.upload("t.parquet", parquet(columns | {"t": times}))
    reason = ""
    try:
        assert desk.transform(step, source="t.parquet", output_format="parquet").rows_in == 2
    except Reject as refusal:
        reason = refusal.reason
    assert not any(inside in reason for inside in ("dtype", "schema", "expression"))
