from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from poolhouse.local.console.task.json_tree import MOST_CHARACTERS, MOST_DEPTH, MOST_NODES, Node, tree

VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


def flat(node: Node) -> list[Node]:
    return [node, *(found for child in node.children for found in flat(child))]


def size(value: Any) -> int:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(size, parts))


def test_a_value_is_written_as_json() -> None:
    found = tree({"name": 'a "b"', "rows": [1, None], "none": {}})
    assert [(node.key, node.kind, node.text) for node in flat(found)] == [
        ("", "object", "{3 fields}"),
        ('"name"', "string", '"a \\"b\\""'),
        ('"rows"', "array", "[2 items]"),
        ("", "number", "1"),
        ("", "literal", "null"),
        ('"none"', "object", "{}"),
    ]


def test_a_text_that_names_something_leads_there() -> None:
    found = tree({"a": ["x"], "b": "x"}, link=lambda path, text: "/there" if (path, text) == (("a", ""), "x") else "")
    assert [node.text for node in flat(found) if node.href] == ['"x"']


def test_what_is_large_is_folded() -> None:
    found = tree({"few": [1], "many": list(range(50))})
    assert (found.open, found.children[0].open, found.children[1].open) == (True, True, False)


def test_of_a_value_without_end_some_is_shown_and_the_rest_is_counted() -> None:
    assert tree(list(range(100_000))).children[-1].text == f"… {100_000 - MOST_NODES + 1:,} more"
    deep: Any = "end"
    for _ in range(900):
        deep = [deep]
    assert len(flat(tree(deep))) == MOST_DEPTH + 2
    assert tree("x" * (MOST_CHARACTERS + 7)).text.endswith(" … and 7 more characters")


@given(VALUES)
def test_of_any_small_value_nothing_is_left_out(value: Any) -> None:
    found = flat(tree(value))
    if not any(node.kind == "cut" for node in found):
        assert len(found) == size(value)
    assert len(found) <= 2 * MOST_NODES
