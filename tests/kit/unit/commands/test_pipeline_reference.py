"""docs/pipeline-toml.md is what the models say."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from poolhouse.commands.project import documentation, pipeline_reference
from poolhouse.pipeline.config.queue import MEMORY_MIB, Workers
from poolhouse.pipeline.config.topology import Topology
from poolhouse.project import ROOT


def test_the_page_is_current() -> None:
    assert (ROOT / documentation.REFERENCE).read_text(encoding="utf-8") == pipeline_reference.markdown(), (
        "run ./invoke docs"
    )


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from models(kind)


def test_every_table_that_pipeline_toml_may_have_is_on_the_page() -> None:
    assert set(models(Topology)) == {model for _, model, _ in pipeline_reference.TABLES}


def test_every_field_has_a_comment() -> None:
    for _, model, _ in pipeline_reference.TABLES:
        assert pipeline_reference.comments(model).keys() >= model.model_fields.keys(), model.__name__


def test_the_comment_on_memory_names_the_limits() -> None:
    text = pipeline_reference.comments(Workers)["memory_mib"]
    assert [bound for limits in MEMORY_MIB.values() for bound in limits if f"{bound:,}" not in text] == []
