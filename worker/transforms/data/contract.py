"""What a data transformation is given and what it reports."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from poolhouse import Payload
from poolhouse.pipeline.names import check_file_name
from worker.transforms.data.steps import Steps

#: Rows of a made-up data set, at the most: 10 million rows are about half a gigabyte of CSV.
MAX_DATASET_ROWS = 10_000_000


def _check_source(source: str) -> str:
    check_file_name(source.removesuffix("/"))
    return source


class DataTransformation(Payload):
    """What to transform, how, and into which format."""

    source: Annotated[str, AfterValidator(_check_source)] | None = Field(
        default=None,
        description="A file below `uploads/`, or all files of a folder there (`sales/2026/`). CSV, NDJSON or Parquet; "
        "CSV and NDJSON also as gzip or zstd.",
        examples=["sales/2026-11.csv.gz", "sales/2026/"],
        json_schema_extra={"format": "upload"},
    )
    dataset_size: int | None = Field(
        default=None,
        strict=True,
        ge=1,
        le=MAX_DATASET_ROWS,
        description="Rows of a made-up data set, where there is no source.",
    )
    transformation: Steps = Field(
        description="One step or several, run in their order; a bare name is a step with its defaults.",
        examples=["normalize", [{"name": "filter", "where": "amount > 0"}, {"name": "sort", "by": ["amount"]}]],
    )
    output_format: Literal["csv", "ndjson", "parquet"] | None = Field(
        default=None, description="Left out: that of the source; CSV for a made-up data set."
    )

    @model_validator(mode="after")
    def _one_origin(self) -> DataTransformation:
        if (self.source is None) == (self.dataset_size is None):
            raise ValueError("give either source or dataset_size")
        return self


class ColumnStatistics(BaseModel):
    """Figures about one column; `null` where the column's type has none."""

    #: `int64`, `float64`, `string`, `boolean`, `date`, `datetime`, `list`, `struct`; `null` if it holds no value.
    type: str
    nulls: int
    #: Numbers that are NaN or infinite, left out of the other figures.
    not_finite: int = 0
    min: Any = None
    max: Any = None
    mean: float | None = None
    #: Standard deviation of a sample (n - 1).
    std: float | None = None


class Statistics(BaseModel):
    """Figures by column, of the rows as they came and as they were written."""

    before: dict[str, ColumnStatistics]
    after: dict[str, ColumnStatistics]


class DataSummary(BaseModel):
    """What a data transformation did; also kept as `results/data_transform_ID.json`."""

    model_config = ConfigDict(frozen=True)

    #: The source as the payload names it; null for a made-up data set.
    source: str | None
    #: The objects that were read.
    inputs: list[str]
    #: Whether the rows were made up (`dataset_size`).
    generated: bool
    #: Names of the steps, in order.
    transformations: list[str]
    rows_in: int
    rows_out: int
    #: Names of the columns of the output.
    columns: list[str]
    statistics: Statistics
    #: Object with the transformed rows.
    output_object: str
    output_format: str
    #: Bytes read from storage.
    input_bytes: int
    #: Size of the output object.
    size_bytes: int
    #: The whole task, in seconds.
    duration_s: float
    #: Of it, reading from and writing to storage.
    transfer_s: float
