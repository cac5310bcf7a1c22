"""`key=value` words, read by a payload's schema."""

from __future__ import annotations

import pytest

from poolhouse.client import schema
from poolhouse.pipeline.errors import ConfigError

FIELDS = {
    "ratio": {"type": "number"},
    "price": {"anyOf": [{"type": "number"}, {"type": "string"}]},
    "name": {"type": "string"},
}


def read(*words: str) -> object:
    return schema.fields(words, schema.Payload("order", FIELDS, {}, {}))


@pytest.mark.parametrize("text", ["NaN", "-inf", "Infinity", "1e999"])
def test_a_number_that_json_has_none_for_is_wrong_use(text: str) -> None:
    with pytest.raises(ConfigError, match=f"ratio: {text} is no number that JSON has"):
        read(f"ratio={text}")


def test_it_is_a_text_where_texts_belong() -> None:
    assert read("name=NaN", "price=1e999", "ratio=1.5") == {"name": "NaN", "price": "1e999", "ratio": 1.5}
