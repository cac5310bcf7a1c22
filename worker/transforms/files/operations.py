"""The operations of a file task, as clients write them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

#: Operations of one task.
MAX_OPERATIONS = 16


class _Operation(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Inspect(_Operation):
    """Look into the file and fill the report's section for its kind."""

    name: Literal["inspect"] = "inspect"


class Compress(_Operation):
    """Write `processed/NAME.gz` or `processed/NAME.zst`."""

    name: Literal["compress"] = "compress"
    format: Literal["gzip", "zstd"] = "gzip"


class Decompress(_Operation):
    """Expand a gzip or zstd file into `processed/NAME` without its `.gz` or `.zst`."""

    name: Literal["decompress"] = "decompress"


class Thumbnail(_Operation):
    """Write a small, upright copy of an image as `processed/NAME.thumbnail.FORMAT`."""

    name: Literal["thumbnail"] = "thumbnail"
    longest_side: int = Field(default=256, ge=16, le=4096, description="In pixels.")
    format: Literal["jpeg", "png", "webp"] = "png"


class ExtractText(_Operation):
    """Write the text of a PDF, HTML or text file as UTF-8 into `processed/NAME.txt`."""

    name: Literal["extract_text"] = "extract_text"


class Convert(_Operation):
    """Write a table in another format, as `processed/NAME.csv`, `.ndjson` or `.parquet`."""

    name: Literal["convert"] = "convert"
    to: Literal["csv", "ndjson", "parquet"] | None = Field(
        default=None, description="Left out: Parquet for CSV and NDJSON, CSV for Parquet."
    )


Operation = Annotated[Inspect | Compress | Decompress | Thumbnail | ExtractText | Convert, Field(discriminator="name")]
OperationName = Literal["inspect", "compress", "decompress", "thumbnail", "extract_text", "convert"]


def as_operations(value: Any) -> Any:
    """A name, one operation or a list of either, as a list of operations."""
    if value is None:
        return None
    values = value if isinstance(value, list | tuple) else [value]
    return [{"name": item} if isinstance(item, str) else item for item in values]


Operations = Annotated[
    Annotated[list[Operation], Field(min_length=1, max_length=MAX_OPERATIONS)] | None,
    BeforeValidator(
        as_operations, json_schema_input_type=OperationName | Operation | list[OperationName | Operation] | None
    ),
]
