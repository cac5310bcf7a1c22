"""Values of secrets in text that people read."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

import pytest

from poolhouse.pipeline import secret_values
from poolhouse.pipeline.json_values import TEXT_CHARACTERS, clean_text
from poolhouse.pipeline.secret_values import SecretValues
from poolhouse.pipeline.store import printable
from poolhouse.worker.runtime.endings import TRACEBACK_LINES, error_info

TOKEN = "s3cr/t +\"é'"


@pytest.fixture
def known() -> Iterator[SecretValues]:
    """Those of this process."""
    yield secret_values.known
    secret_values.known.learn((), {})


def learned(**values: str) -> SecretValues:
    secrets = SecretValues()
    secrets.learn(values, values)
    return secrets


@pytest.mark.parametrize(
    "written",
    [
        TOKEN,
        quote(TOKEN),
        quote(TOKEN, safe=""),
        quote_plus(TOKEN),
        json.dumps({"token": TOKEN}),
        json.dumps({"token": TOKEN}, ensure_ascii=False),
        json.dumps(json.dumps(TOKEN)),
        str(KeyError(TOKEN)),
        base64.b64encode(TOKEN.encode()).decode(),
        base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("="),
    ],
)
def test_a_value_is_replaced_by_its_name_as_it_is_and_as_urls_json_and_python_write_it(written: str) -> None:
    masked = learned(TOKEN=f"{TOKEN}\n").mask(f"before {written} after")
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert "[secret TOKEN]" in masked
    assert "s3cr" not in masked


def test_each_line_of_a_key_is_replaced_where_it_stands_alone() -> None:
    secrets = learned(KEY="-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nshort\n-----END KEY-----")
    assert secrets.mask("-----BEGIN KEY-----") == secrets.mask("MIIEvQIBADANBgkq") == "[secret KEY]"
    assert secrets.mask("a short line") == "a short line"


def test_short_values_and_unset_ones_stay_and_a_value_within_another_gives_way_to_it() -> None:
    secrets = learned(PIN="12345", EMPTY="", USER="user-7", DSN="db://user-7@host")
    assert secrets.mask("12345 db://user-7@host user-7 user-8") == "12345 [secret DSN] [secret USER] user-8"
    assert secrets
    assert not learned(PIN="12345", EMPTY="")
    assert not SecretValues()


def test_a_line_of_json_stays_one() -> None:
    secrets = learned(CODE="123456", QUOTED='":"x","')
    line = {
        "n": 1234567,
        "share": 0.123456,
        "flag": True,
        "none": None,
        "list": [{"123456": ["123456"]}],
        "a": '":"x","',
    }
    assert json.loads(secrets.mask_json(json.dumps(line))) == {
        "n": "[secret CODE]7",
        "share": "0.[secret CODE]",
        "flag": True,
        "none": None,
        "list": [{"[secret CODE]": ["[secret CODE]"]}],
        "a": "[secret QUOTED]",
    }
    untouched = json.dumps({"a": 1.0, "b": "é"}, separators=(",", ":"))
    assert secrets.mask_json(untouched) == untouched


def test_text_is_cut_after_its_values_are_replaced(known: SecretValues) -> None:
    known.learn(["KEY"], {"KEY": "first line of the key\n" + "\n".join("abcdefgh"[n] * 12 for n in range(8))})
    value = "first line of the key\n" + "\n".join("abcdefgh"[n] * 12 for n in range(8))
    assert clean_text("." * (TEXT_CHARACTERS - 8) + value).endswith("....[secret ")
    try:
        raise ValueError(value + "\nand" * (TRACEBACK_LINES - 4))
    except ValueError as error:
        info = error_info(error)
    assert info.message.startswith("[secret KEY]\nand")
    assert info.traceback is not None
    assert "ValueError: [secret KEY]\nand" in info.traceback


def test_what_programs_read_stays(known: SecretValues) -> None:
    known.learn(["STAGE"], {"STAGE": "production"})
    assert printable({"queue": "production"}) == {"queue": "production"}
