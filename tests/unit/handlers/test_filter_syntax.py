"""The filter language: what it reads, what it refuses, and what it never does."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolhouse.worker.errors import Reject
from tests.tally import Tally
from worker.transforms.data.filter_expressions import compile_filter
from worker.transforms.data.filter_syntax import Call, Column, FilterSyntaxError, Literal, parse

FRAME = pl.DataFrame(
    {
        "n": [1, 2, 3, None],
        "x": [0.5, -1.5, 2.0, 4.0],
        "name": ["Ann", "Bob O'Neil", None, "100%"],
        "ok": [True, False, None, True],
        "day": pl.Series(["2026-01-01", "2026-06-30", None, "2026-12-31"]).str.to_date(),
        "a b": [1, 1, 2, 2],
    }
)


def kept(where: str) -> list[int]:
    frame = FRAME.with_row_index("row")
    return frame.filter(compile_filter(where, frame.schema))["row"].to_list()


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("n = 1", [0]),
        ("n == 1 or n <> 1", [0, 1, 2]),
        ("n is null", [3]),
        ("not n is null", [0, 1, 2]),
        ("n not between 1 and 2", [2]),
        ("n in (1, -2, 3)", [0, 2]),
        ("not ok", [1]),
        ("ok = true and x > 1", [3]),
        ("x < -1", [1]),
        ("- x > 1", [1]),
        ("n - -1 = 2", [0]),
        ("n + n * 2 = 9", [2]),
        ("(n + n) * 2 = 12", [2]),
        ("n / 2 = 0.5", [0]),
        ("name = 'Bob O''Neil'", [1]),
        ("name like '%O''N_il'", [1]),
        ("name like '100%'", [3]),
        ("name like '1_0!%'", []),
        ("contains(name, '%')", [3]),
        ("contains(upper(name), 'ANN')", [0]),
        ("ends_with(name, 'l') or name is null", [1, 2]),
        ("abs(x) = 1.5", [1]),
        ("day > '2026-06-30'", [3]),
        ("day between '2026-01-01' and '2026-06-30'", [0, 1]),
        ('`a b` = 2 and "a b" = 2', [2, 3]),
        ("1 = 1", [0, 1, 2, 3]),
        ("x > 1e0 AND NOT ok IS NULL", [3]),
    ],
)
def test_rows_that_a_filter_keeps(where: str, rows: list[int]) -> None:
    assert kept(where) == rows


def test_precedence_is_that_of_sql() -> None:
    assert parse("a or b and not c = 1 + 2 * 3") == Call(
        "or",
        (
            Column("a", 1),
            Call(
                "and",
                (
                    Column("b", 6),
                    Call(
                        "not",
                        (
                            Call(
                                "=",
                                (
                                    Column("c", 16),
                                    Call("+", (Literal(1, 20), Call("*", (Literal(2, 24), Literal(3, 28)), 26)), 22),
                                ),
                                18,
                            ),
                        ),
                        12,
                    ),
                ),
                6,
            ),
        ),
        1,
    )


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("", "at character 1"),
        ("n =", "at character 4"),
        ("n = 1 2", "at character 7"),
        ("(n = 1", "at character 7: '\\)' expected"),
        ("n = 'open", "at character 5: a text that does not end"),
        ("n = null", "write `is null`"),
        ("n in ()", "at character 7"),
        ("n in (x)", "at character 7: a number or text expected"),
        ("n not 1", "in, between or like expected"),
        ("eval('1')", "there is no function eval"),
        ("__import__('os')", "there is no function __import__"),
        ("n.real = 1", "at character 2"),
        ("n[0] = 1", "at character 2"),
        ("n; drop", "at character 2"),
        ("n = 1_000", "at character 5"),
        ("n < 1e999", "at character 5: no float is as large as 1e999"),
        ("n in (1, 1e400)", "at character 10: no float is as large as 1e400"),
        ("lower(name, name) = 'x'", "lower takes 1 arguments"),
        ("(" * 60 + "n = 1" + ")" * 60, "nested more than 50 deep"),
        ("n" + " + n" * 60 + " = 1", "more than 50 operators in a row"),
    ],
)
def test_what_can_not_be_read_is_refused_with_its_place(where: str, reason: str) -> None:
    with pytest.raises(FilterSyntaxError, match=reason):
        parse(where)


def test_long_lists_of_conditions_are_no_deep_trees() -> None:
    assert kept(" or ".join(["n = 1"] * 400)) == [0]


scraps = st.text(st.sampled_from("nx 'name`ok=<>!()+-*/%,.1andornotinislike\"") | st.characters(), max_size=40)
expressions = st.recursive(
    st.sampled_from(["n = 1", "x > n", "name like 'A%'", "ok", "day >= '2026-01-01'", "`a b` in (1, 2)", "n is null"]),
    lambda inner: (
        st.tuples(inner, st.sampled_from([" and ", " or "]), inner).map("".join) | inner.map("not ({})".format)
    ),
    max_leaves=5,
)
#: Expressions of which a part was replaced: close to what is valid, where a parser goes wrong.
damaged = st.builds(
    lambda text, at, cut, scrap: text[:at] + scrap + text[at + cut :],
    expressions,
    st.integers(0, 40),
    st.integers(0, 4),
    scraps,
)


def test_any_text_gives_an_expression_or_a_reason() -> None:
    tally = Tally(Reject)

    @settings(max_examples=300, deadline=None)
    @given(text=scraps | expressions | damaged)
    def read(text: str) -> None:
        with tally:
            FRAME.filter(compile_filter(text, FRAME.schema))

    read()
    tally.check(accepted=20, rejected=20)
