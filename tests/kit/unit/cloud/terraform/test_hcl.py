"""Text that stands for itself, whatever is in it, in the form of `terraform fmt`."""

from __future__ import annotations

import re

import hcl2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolhouse.cloud.terraform.hcl import Block, Call, Expression, Template, quoted, text, value

#: What HCL reads in a quoted string (HCL native syntax, Template literals and Quoted templates).
READ = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}


def read(literal: str) -> str:
    """The string that a literal without expressions stands for."""
    assert literal[0] == literal[-1] == '"'
    inner, found = literal[1:-1], ""
    while inner:
        if inner.startswith(("$${", "%%{")):
            found, inner = found + inner[1:3], inner[3:]
        elif inner[0] == "\\":
            code = re.match(r"\\u([0-9a-f]{4})", inner)
            found += chr(int(code[1], 16)) if code else READ[inner[1]]
            inner = inner[6:] if code else inner[2:]
        else:
            assert not inner.startswith(("${", "%{")), literal
            assert inner[0] != '"', literal
            assert inner[0].isprintable() or ord(inner[0]) > 0x7F, literal
            found, inner = found + inner[0], inner[1:]
    return found


@settings(max_examples=60)
@given(st.text(st.sampled_from('ab${%}"\\\n\r\t\x00\x7fé☃')) | st.text())
def test_a_string_is_read_as_it_was_written(given: str) -> None:
    assert read(quoted(given)) == given


@pytest.mark.parametrize("given", ["${secret}", "%{if true}x%{endif}", 'a"b', "a\nb", "$", "%", "\\${x}"])
def test_a_parser_takes_no_string_for_an_expression(given: str) -> None:
    parsed = hcl2.loads(f"a = {quoted(given)}\n")
    assert parsed["a"] == quoted(given)


def test_an_expression_in_a_string_stays_one_behind_a_mark() -> None:
    number = Expression("data.google_project.this.number")
    assert value(Template(("a-", number, ".b"))) == '"a-${data.google_project.this.number}.b"'
    assert value(Template(("${x}$", number))) == '"$${x}${"$"}${data.google_project.this.number}"'


def test_blocks_are_written_as_terraform_formats_them() -> None:
    inner = Block("inner", (), {"list": ["a", 1, True, 2.5]})
    block = Block("resource", ("type", "name"), {"a": "x", "longer": None, "map": {"k-v": 1, "a.b": "c"}}, (inner,))
    call = Block("locals", (), {"text": Call("jsonencode", {"a": []})})
    assert text([block, Block("empty"), call]) == (
        'resource "type" "name" {\n  a = "x"\n  map = {\n    k-v   = 1\n    "a.b" = "c"\n  }\n\n'
        '  inner {\n    list = ["a", 1, true, 2.5]\n  }\n}\n\nempty {}\n\n'
        "locals {\n  text = jsonencode({\n    a = []\n  })\n}\n"
    )
