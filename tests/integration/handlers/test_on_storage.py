"""Both handlers on the real storage emulator: objects, their bytes and their content types."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn import datasets

from poolhouse.pipeline.pieces import PIECE_BYTES
from poolhouse.pipeline.store import GcsStore, open_store
from poolhouse.testing.doubles import FakeContext
from poolhouse.worker.errors import TaskCancelled
from worker.handlers.data_transformation import data_transformation
from worker.handlers.file_processing import file_processing
from worker.transforms.data.contract import DataTransformation
from worker.transforms.files.contract import FileProcessing

if TYPE_CHECKING:
    from poolhouse.pipeline.config.settings import Settings


@pytest.fixture
def store(poolhouse_settings: Settings) -> GcsStore:
    return open_store(poolhouse_settings)


def test_a_file_goes_from_upload_to_report_and_outputs(store: GcsStore) -> None:
    frame = datasets.load_breast_cancer(as_frame=True).frame
    data = frame.to_csv(index=False).encode()
    store.put("uploads/clinic/cancer data.csv", data, content_type="text/csv")
    report = file_processing(FileProcessing(filename="clinic/cancer data.csv"), FakeContext(store))

    assert report.table is not None
    assert (report.table.rows, report.table.columns) == (len(frame), list(frame.columns))
    kept, info = store.get("processed/clinic/cancer data.csv.report.json")
    assert json.loads(kept) == json.loads(report.model_dump_json())
    assert info.content_type == "application/json"
    assert report.outputs == ["processed/clinic/cancer data.csv.gz", "processed/clinic/cancer data.csv.parquet"]
    parquet, info = store.get(report.outputs[1])
    assert info.content_type == "application/vnd.apache.parquet"
    pd.testing.assert_frame_equal(pd.DataFrame(pl.read_parquet(parquet).to_dict(as_series=False)), frame)


def test_the_crc32c_is_the_one_that_storage_shows(store: GcsStore, poolhouse_settings: Settings) -> None:
    store.put("uploads/notes.txt", b"some notes\n" * 1000)
    report = file_processing(FileProcessing(filename="notes.txt", operations="inspect"), FakeContext(store))
    blob = store._bucket.get_blob("uploads/notes.txt")
    assert report.crc32c == blob.crc32c


def test_a_table_of_several_chunks_is_transformed_whole(store: GcsStore) -> None:
    rows = 700_000
    values = np.random.default_rng(5).normal(size=rows).round(6)
    data = pd.DataFrame({"id": range(rows), "value": values}).to_csv(index=False).encode()
    assert len(data) > PIECE_BYTES, "more than one request"
    store.upload("uploads/big.csv", io.BytesIO(data), content_type="text/csv", size_bytes=len(data))
    context = FakeContext(store, task_id="big-1")
    payload = DataTransformation(source="big.csv", transformation={"name": "normalize", "columns": ["value"]})
    summary = data_transformation(payload, context)

    assert summary.output_object == "results/data_transform_big-1.csv"
    found, info = store.get(summary.output_object)
    assert (info.size_bytes, info.content_type) == (summary.size_bytes, "text/csv; charset=utf-8")
    table = pd.read_csv(io.BytesIO(found))
    assert table["id"].tolist() == list(range(rows))
    np.testing.assert_allclose(table["value"], (values - values.min()) / (values.max() - values.min()), atol=1e-12)
    assert {note for _, _, note in context.progress_calls} >= {"reading from storage", "measuring", "transforming"}


def test_a_task_that_is_cancelled_leaves_no_output(store: GcsStore) -> None:
    store.put("uploads/t.csv", b"a,b\n" + b"1,2\n" * 1_000_000)
    context = FakeContext(store, cancel_after=4)
    with pytest.raises(TaskCancelled):
        data_transformation(DataTransformation(source="t.csv", transformation="standardize"), context)
    assert store.list("results/").objects == ()


def test_a_folder_of_files_is_one_table(store: GcsStore) -> None:
    iris = datasets.load_iris(as_frame=True).frame
    for number in range(3):
        part = iris.iloc[number * 50 : (number + 1) * 50]
        store.put(f"uploads/iris/part-{number}.csv", part.to_csv(index=False).encode())
    store.put("uploads/iris-other.csv", b"not,part\n1,2\n")
    figures = {"mean": {"function": "mean", "column": "petal length (cm)"}}
    step = {"name": "aggregation", "group_by": ["target"], "aggregates": figures}
    payload = DataTransformation(source="iris/", transformation=step, output_format="parquet")
    summary = data_transformation(payload, FakeContext(store))
    found = pl.read_parquet(store.get(summary.output_object)[0])
    expected = iris.groupby("target")["petal length (cm)"].mean()
    assert found["target"].to_list() == expected.index.tolist()
    np.testing.assert_allclose(found["mean"], expected, rtol=1e-12)
    assert len(summary.inputs) == 3
