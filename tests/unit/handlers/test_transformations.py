"""Every transformation against pandas, numpy and scikit-learn on real data sets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn import datasets
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from tests.unit.handlers.desk import Desk

SETS: dict[str, Callable[..., Any]] = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "diabetes": datasets.load_diabetes,
    "breast_cancer": datasets.load_breast_cancer,
}


@pytest.fixture(params=SETS)
def table(request: pytest.FixtureRequest) -> pd.DataFrame:
    return SETS[request.param](as_frame=True).frame


@pytest.fixture
def wine() -> pd.DataFrame:
    frame: pd.DataFrame = datasets.load_wine(as_frame=True).frame
    frame["grower"] = np.where(frame.index % 3 == 0, "Łódź, PL", np.where(frame.index % 3 == 1, "Rome", "Oslo"))
    return frame


def test_normalize_gives_what_scikit_learn_gives(desk: Desk, table: pd.DataFrame) -> None:
    found = desk.rows("normalize", table)
    np.testing.assert_allclose(found, MinMaxScaler().fit_transform(table), rtol=1e-12, atol=1e-12)


def test_normalize_of_some_columns_leaves_the_others(desk: Desk, table: pd.DataFrame) -> None:
    first, *others = table.columns
    found = desk.rows({"name": "normalize", "columns": [first]}, table)
    column = table[first]
    np.testing.assert_allclose(found[first], (column - column.min()) / (column.max() - column.min()), rtol=1e-12)
    pd.testing.assert_frame_equal(found[others], table[others])


def test_standardize_gives_what_pandas_gives(desk: Desk, table: pd.DataFrame) -> None:
    found = desk.rows("standardize", table)
    np.testing.assert_allclose(found, (table - table.mean()) / table.std(), rtol=1e-9, atol=1e-9)


def test_standardize_as_a_population_gives_what_scikit_learn_gives(desk: Desk, table: pd.DataFrame) -> None:
    found = desk.rows({"name": "standardize", "ddof": 0}, table)
    np.testing.assert_allclose(found, StandardScaler().fit_transform(table), rtol=1e-9, atol=1e-9)


def test_statistics_are_those_of_pandas_before_and_after(desk: Desk, table: pd.DataFrame) -> None:
    desk.upload("t.csv", table)
    summary = desk.transform("standardize", source="t.csv")
    for statistics, frame in (
        (summary.statistics.before, table),
        (summary.statistics.after, (table - table.mean()) / table.std()),
    ):
        for name in frame.columns:
            figures = statistics[name]
            expected = [frame[name].min(), frame[name].max(), frame[name].mean(), frame[name].std()]
            found = [figures.min, figures.max, figures.mean, figures.std]
            np.testing.assert_allclose(np.array(found, float), expected, rtol=1e-9, atol=1e-9)
            assert figures.nulls == 0


@pytest.mark.parametrize("function", ["sum", "mean", "min", "max", "median", "std", "var", "first", "last", "nunique"])
def test_each_aggregate_is_that_of_pandas(desk: Desk, wine: pd.DataFrame, function: str) -> None:
    ours = "n_unique" if function == "nunique" else function
    step = {
        "name": "aggregation",
        "group_by": ["grower", "target"],
        "aggregates": {"x": {"function": ours, "column": "alcohol"}, "rows": {"function": "count"}},
    }
    found = desk.rows(step, wine)
    groups = wine.groupby(["grower", "target"])["alcohol"]
    expected = pd.DataFrame({"x": groups.agg(function), "rows": groups.size()}).reset_index()
    found = found.sort_values(["grower", "target"], ignore_index=True)
    expected = expected.sort_values(["grower", "target"], ignore_index=True)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-10)


def test_aggregation_alone_gives_the_figures_of_all_numeric_columns(desk: Desk, wine: pd.DataFrame) -> None:
    found = desk.rows("aggregation", wine)
    assert len(found) == 1
    assert found["rows"][0] == len(wine)
    for function in ("sum", "mean", "min", "max"):
        assert found[f"alcohol_{function}"][0] == pytest.approx(wine["alcohol"].agg(function), rel=1e-12)
    assert "grower_sum" not in found.columns


@pytest.mark.parametrize(
    ("where", "query"),
    [
        ("alcohol > 13.2", "alcohol > 13.2"),
        ("alcohol >= 13 and hue < 1 or target = 2", "(alcohol >= 13 and hue < 1) or target == 2"),
        ("not (target = 1)", "not (target == 1)"),
        ("alcohol * 2 - hue / 4 between 24 and 26.5", "24 <= alcohol * 2 - hue / 4 <= 26.5"),
        ("grower in ('Rome', 'Łódź, PL')", "grower in ['Rome', 'Łódź, PL']"),
        ("grower not in ('Rome')", "grower not in ['Rome']"),
        ("-alcohol < -14 AND target <> 1", "-alcohol < -14 and target != 1"),
        ("`od280/od315_of_diluted_wines` <= 1.5", "`od280/od315_of_diluted_wines` <= 1.5"),
        ("lower(grower) like 'o%o'", "grower == 'Oslo'"),
        ("length(grower) = 4 and starts_with(grower, 'R')", "grower == 'Rome'"),
        ("magnesium % 7 = 3", "magnesium % 7 == 3"),
        ("grower is not null and round(alcohol, 0) = 14", "alcohol.round(0) == 14"),
    ],
)
def test_filters_keep_the_rows_that_pandas_keeps(desk: Desk, wine: pd.DataFrame, where: str, query: str) -> None:
    expected = wine.query(query).reset_index(drop=True)
    assert 0 < len(expected) < len(wine), "the example is to tell something"
    found = desk.rows({"name": "filter", "where": where}, wine)
    pd.testing.assert_frame_equal(found, expected, check_dtype=False)


def test_sort_orders_as_pandas_does_nulls_last(desk: Desk, wine: pd.DataFrame) -> None:
    wine.loc[::7, "hue"] = np.nan
    step = {"name": "sort", "by": ["hue", "alcohol"], "descending": True}
    expected = wine.sort_values(["hue", "alcohol"], ascending=False, na_position="last", kind="stable")
    pd.testing.assert_frame_equal(desk.rows(step, wine), expected.reset_index(drop=True), check_dtype=False)


@pytest.mark.parametrize("keep", ["first", "last"])
def test_deduplicate_keeps_the_rows_that_pandas_keeps(desk: Desk, wine: pd.DataFrame, keep: str) -> None:
    step = {"name": "deduplicate", "columns": ["target", "grower"], "keep": keep}
    expected = wine.drop_duplicates(["target", "grower"], keep=keep).reset_index(drop=True)
    pd.testing.assert_frame_equal(desk.rows(step, wine), expected, check_dtype=False)


def test_a_sample_of_rows_is_reproducible_and_in_order(desk: Desk, wine: pd.DataFrame) -> None:
    wine["id"] = range(len(wine))
    draw = {"name": "sample", "rows": 40, "seed": 7}
    first, again = desk.rows(draw, wine)["id"].tolist(), desk.rows(draw, wine)["id"].tolist()
    other = desk.rows(draw | {"seed": 8}, wine)["id"].tolist()
    assert first == again != other
    assert len(first) == len(set(first)) == 40
    assert first == sorted(first)


def test_a_sample_of_more_rows_than_there_are_is_all_of_them(desk: Desk, wine: pd.DataFrame) -> None:
    assert len(desk.rows({"name": "sample", "rows": 10_000}, wine)) == len(wine)


def test_a_sample_by_fraction_draws_about_that_many(desk: Desk) -> None:
    summary = desk.transform({"name": "sample", "fraction": 0.25, "seed": 3}, dataset_size=100_000)
    # 25,000 expected, standard deviation 137.
    assert abs(summary.rows_out - 25_000) < 6 * 137


def test_cast_changes_types_and_keeps_values(desk: Desk) -> None:
    data = "n,x,flag,day,at\n1,2.0,true,2026-11-30,2026-11-30 12:30:00\n-3,4.0,false,2024-02-29,2024-02-29T00:00:00\n"
    desk.upload("t.csv", data)
    targets = {"n": "float64", "x": "int64", "flag": "string", "day": "date", "at": "datetime"}
    summary = desk.transform({"name": "cast", "columns": targets}, source="t.csv", output_format="parquet")
    frame = desk.read_parquet(summary.output_object)
    assert frame.schema == pl.Schema(
        {"n": pl.Float64, "x": pl.Int64, "flag": pl.String, "day": pl.Date, "at": pl.Datetime("us")}
    )
    assert frame["x"].to_list() == [2, 4]
    assert [str(day) for day in frame["day"]] == ["2026-11-30", "2024-02-29"]
    assert str(frame["at"][0]) == "2026-11-30 12:30:00"
    assert summary.statistics.after["day"].min == "2024-02-29"


def test_cast_makes_what_does_not_fit_null_where_asked(desk: Desk) -> None:
    step = {"name": "cast", "columns": {"x": "int64"}, "on_error": "null"}
    found = desk.rows(step, "x,y\n1,a\nabc,b\n2.5,c\n3,d\n")
    assert found["x"].isna().tolist() == [False, True, True, False]


def test_a_chain_runs_in_its_order(desk: Desk, wine: pd.DataFrame) -> None:
    chain = [
        {"name": "filter", "where": "target <> 2"},
        {"name": "normalize", "columns": ["alcohol"]},
        {"name": "sort", "by": ["alcohol"]},
        {
            "name": "aggregation",
            "group_by": ["grower"],
            "aggregates": {"top": {"function": "max", "column": "alcohol"}},
        },
    ]
    kept = wine[wine["target"] != 2].copy()
    column = kept["alcohol"]
    kept["alcohol"] = (column - column.min()) / (column.max() - column.min())
    expected = kept.groupby("grower")["alcohol"].max()
    found = desk.rows(chain, wine).set_index("grower")["top"]
    np.testing.assert_allclose(found[expected.index], expected, rtol=1e-12)


@pytest.mark.parametrize("source_format", ["csv", "ndjson", "parquet"])
@pytest.mark.parametrize("output_format", ["csv", "ndjson", "parquet"])
def test_every_format_goes_in_and_comes_out(
    desk: Desk, wine: pd.DataFrame, source_format: str, output_format: str
) -> None:
    frame = pl.DataFrame(wine.to_dict("list"))
    writers = {"csv": frame.write_csv, "ndjson": frame.write_ndjson, "parquet": frame.write_parquet}
    import io

    buffer = io.BytesIO()
    writers[source_format](buffer)
    desk.upload(f"t.{source_format}", buffer.getvalue())
    summary = desk.transform("normalize", source=f"t.{source_format}", output_format=output_format)
    readers = {"csv": pl.read_csv, "ndjson": pl.read_ndjson, "parquet": pl.read_parquet}
    found = readers[output_format](io.BytesIO(desk.read(summary.output_object)))
    column = wine["alcohol"]
    np.testing.assert_allclose(found["alcohol"], (column - column.min()) / (column.max() - column.min()), rtol=1e-12)
    assert found["grower"].to_list() == wine["grower"].tolist()
    assert summary.size_bytes == len(desk.read(summary.output_object))


def test_a_folder_is_one_table_whatever_the_types_of_its_files(desk: Desk) -> None:
    desk.upload("sales/1.csv", "city,amount\nRome,1\nOslo,2\n")
    desk.upload("sales/2.csv", "amount,city\n2.5,Rome\n")
    step = {
        "name": "aggregation",
        "group_by": ["city"],
        "aggregates": {"total": {"function": "sum", "column": "amount"}},
    }
    summary = desk.transform(step, source="sales/")
    assert desk.read_csv(summary.output_object).to_dict("list") == {"city": ["Oslo", "Rome"], "total": [2.0, 3.5]}
    assert summary.inputs == ["uploads/sales/1.csv", "uploads/sales/2.csv"]
    assert summary.rows_in == 3


def test_a_made_up_data_set_is_reproducible_and_really_transformed(desk: Desk) -> None:
    first = desk.transform("normalize", dataset_size=1_000)
    data = desk.read(first.output_object)
    again = desk.transform("normalize", dataset_size=1_000)
    assert desk.read(again.output_object) == data
    assert first.generated
    assert first.rows_in == first.rows_out == 1_000
    assert first.statistics.before["value"].max > 900
    assert (first.statistics.after["value"].min, first.statistics.after["value"].max) == (0.0, 1.0)


def test_more_rows_of_a_made_up_data_set_begin_with_the_same(desk: Desk) -> None:
    keep = {"name": "filter", "where": "id < 500"}
    small, large = (desk.transform(keep, dataset_size=size) for size in (500, 60_000))
    assert small.statistics.after == large.statistics.after
    assert large.rows_in == 60_000


def test_the_summary_is_valid_json_whatever_the_figures(desk: Desk) -> None:
    desk.upload("t.csv", "x,y\nnan,1\ninf,2\n1.5,\n")
    summary = desk.transform({"name": "sort", "by": ["y"]}, source="t.csv")
    figures = json.loads(summary.model_dump_json())["statistics"]["before"]["x"]
    assert (figures["not_finite"], figures["min"], figures["max"], figures["mean"]) == (2, 1.5, 1.5, 1.5)


def test_equal_values_normalize_to_zero_and_nulls_stay(desk: Desk) -> None:
    found = desk.rows("normalize", "x,y\n5,1\n5,\n5,3\n")
    assert found["x"].tolist() == [0.0, 0.0, 0.0]
    assert found["y"].isna().tolist() == [False, True, False]
