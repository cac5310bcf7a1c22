"""A bucket in memory, and the two handlers run on it."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
import polars as pl

from poolhouse.testing.doubles import FakeContext, MemoryStore
from worker.handlers.data_transformation import data_transformation
from worker.handlers.file_processing import file_processing
from worker.transforms.data.contract import DataSummary, DataTransformation
from worker.transforms.files.contract import FileProcessing
from worker.transforms.files.report import FileReport


class Desk:
    """Put files in, run tasks, look at what came out."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.context = FakeContext(self.store)

    def upload(self, name: str, data: bytes | str | pd.DataFrame) -> None:
        if isinstance(data, pd.DataFrame):
            data = data.to_csv(index=False)
        self.store.put(f"uploads/{name}", data.encode() if isinstance(data, str) else data)

    def process(self, filename: str, *operations: Any, **fields: Any) -> FileReport:
        payload = FileProcessing(filename=filename, operations=list(operations) or None, **fields)
        return file_processing(payload, self.context)

    def transform(self, transformation: Any, **fields: Any) -> DataSummary:
        return data_transformation(DataTransformation(transformation=transformation, **fields), self.context)

    def rows(self, transformation: Any, data: bytes | str | pd.DataFrame) -> pd.DataFrame:
        """What a CSV becomes, as pandas reads it."""
        self.upload("table.csv", data)
        summary = self.transform(transformation, source="table.csv", output_format="csv")
        return self.read_csv(summary.output_object)

    def read_csv(self, name: str) -> pd.DataFrame:
        return pd.read_csv(io.BytesIO(self.read(name)))

    def read_parquet(self, name: str) -> pl.DataFrame:
        return pl.read_parquet(io.BytesIO(self.read(name)))

    def read(self, name: str) -> bytes:
        return self.store.get(name)[0]
