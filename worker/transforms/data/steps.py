"""The steps of a data transformation, as clients write them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from worker.transforms.data.filter_syntax import parse

#: Steps of one transformation.
MAX_STEPS = 32
#: Columns that one step may name.
MAX_NAMED_COLUMNS = 1_000
#: Characters of a filter expression.
MAX_EXPRESSION = 4_000

ColumnName = Annotated[str, Field(min_length=1, max_length=500)]
Columns = Annotated[list[ColumnName], Field(min_length=1, max_length=MAX_NAMED_COLUMNS)]
Function = Literal["count", "sum", "mean", "min", "max", "median", "std", "var", "first", "last", "n_unique"]
CastType = Literal["int64", "float64", "string", "boolean", "date", "datetime"]


def _expression(text: str) -> str:
    parse(text)
    return text


class _Step(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Normalize(_Step):
    """Min-max: each column becomes (x - min) / (max - min), a column of equal values 0."""

    name: Literal["normalize"] = "normalize"
    columns: Columns | None = Field(default=None, description="Numeric columns; all of them if left out.")


class Standardize(_Step):
    """Each column becomes (x - mean) / standard deviation, a column of equal values 0."""

    name: Literal["standardize"] = "standardize"
    columns: Columns | None = Field(default=None, description="Numeric columns; all of them if left out.")
    ddof: Literal[0, 1] = Field(default=1, description="1: deviation of a sample; 0: of a population.")


class Aggregate(_Step):
    """One figure over the rows of a group."""

    function: Function
    column: ColumnName | None = Field(default=None, description="May be left out for `count`: then all rows count.")

    @model_validator(mode="after")
    def _needs_column(self) -> Aggregate:
        if self.column is None and self.function != "count":
            raise ValueError(f"{self.function} needs a column")
        return self


class Aggregation(_Step):
    """Groups of rows with the same values in `group_by` become one row of figures each."""

    name: Literal["aggregation"] = "aggregation"
    group_by: list[ColumnName] = Field(default=[], max_length=100, description="Left out: one group of all rows.")
    aggregates: dict[ColumnName, Aggregate] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_NAMED_COLUMNS,
        description="Figure by name of its column in the output. Left out: `rows`, and sum, mean, min and max of "
        "each numeric column as `COLUMN_sum` and so on.",
        examples=[{"total": {"function": "sum", "column": "amount"}, "orders": {"function": "count"}}],
    )


class Filter(_Step):
    """Rows for which the expression is true stay."""

    name: Literal["filter"] = "filter"
    where: Annotated[str, AfterValidator(_expression)] = Field(
        min_length=1,
        max_length=MAX_EXPRESSION,
        description="See `worker.transforms.data.filter_syntax` for the language.",
        examples=["amount > 100 and city in ('Rome', 'Oslo')"],
    )


class Deduplicate(_Step):
    """Of rows with the same values in `columns`, one stays."""

    name: Literal["deduplicate"] = "deduplicate"
    columns: Columns | None = Field(default=None, description="All columns if left out.")
    keep: Literal["first", "last"] = "first"


class Sort(_Step):
    """Rows in order; nulls last, rows that are equal in `by` as they were."""

    name: Literal["sort"] = "sort"
    by: Columns
    descending: bool = False


class Sample(_Step):
    """Some rows, drawn without replacement; the same seed over the same rows draws the same ones, in their order."""

    name: Literal["sample"] = "sample"
    rows: int | None = Field(default=None, ge=1, le=1_000_000, description="How many (all, if there are fewer).")
    fraction: float | None = Field(default=None, gt=0, le=1, description="Chance of each row to stay.")
    seed: int = Field(default=0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _one_size(self) -> Sample:
        if (self.rows is None) == (self.fraction is None):
            raise ValueError("give either rows or fraction")
        return self


class Cast(_Step):
    """Columns of other types; a value that does not fit its new type is an error, unless `on_error` is `null`."""

    name: Literal["cast"] = "cast"
    columns: dict[ColumnName, CastType] = Field(min_length=1, max_length=MAX_NAMED_COLUMNS)
    on_error: Literal["fail", "null"] = "fail"


Step = Annotated[
    Normalize | Standardize | Aggregation | Filter | Deduplicate | Sort | Sample | Cast, Field(discriminator="name")
]
StepName = Literal["normalize", "standardize", "aggregation", "filter", "deduplicate", "sort", "sample", "cast"]


def as_steps(value: Any) -> Any:
    """A name, one step or a list of either, as a list of steps."""
    values = value if isinstance(value, list | tuple) else [value]
    return [{"name": item} if isinstance(item, str) else item for item in values]


Steps = Annotated[
    list[Step],
    Field(min_length=1, max_length=MAX_STEPS),
    BeforeValidator(as_steps, json_schema_input_type=StepName | Step | list[StepName | Step]),
]
