"""The filter language: what it accepts, what it refuses and where, and what a filter lets through."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolhouse_pubsub.core.filters import (
    MAX_FILTER_BYTES,
    And,
    Equals,
    Expression,
    FilterError,
    HasKey,
    HasPrefix,
    Not,
    NotEquals,
    Or,
    parse_filter,
    quote,
)
from tests.tally import Tally

MESSAGES: list[dict[str, str]] = [
    {},
    {"lang": "en"},
    {"lang": "en", "event": "created"},
    {"lang": "fr", "event": "deleted"},
    {"event": "createdLater"},
    {"Lang": "EN"},
]


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("attributes:lang", HasKey("lang")),
        ("  attributes : lang\t", HasKey("lang")),
        ("attributes:2-b_c", HasKey("2-b_c")),
        ('attributes:"iana.org/language_tag"', HasKey("iana.org/language_tag")),
        ('attributes:""', HasKey("")),
        ("attributes:NOT", HasKey("NOT")),
        ("attributes:attributes", HasKey("attributes")),
        ('attributes.lang="en"', Equals("lang", "en")),
        ('attributes . "a b"\n=\n"x"', Equals("a b", "x")),
        ('attributes.lang!="en"', NotEquals("lang", "en")),
        ('hasPrefix(attributes.lang,"e")', HasPrefix("lang", "e")),
        ('hasPrefix ( attributes . "l g" , "" )', HasPrefix("l g", "")),
        ("NOT attributes:a", Not(HasKey("a"))),
        ("-attributes:a", Not(HasKey("a"))),
        ("- attributes:a", Not(HasKey("a"))),
        ("NOT (NOT attributes:a)", Not(Not(HasKey("a")))),
        ("NOT(attributes:a)", Not(HasKey("a"))),
        ("(((attributes:a)))", HasKey("a")),
        ("attributes:a AND attributes:b AND attributes:c", And((HasKey("a"), HasKey("b"), HasKey("c")))),
        ("attributes:a OR -attributes:b", Or((HasKey("a"), Not(HasKey("b"))))),
        ("attributes:a AND (attributes:b OR attributes:c)", And((HasKey("a"), Or((HasKey("b"), HasKey("c")))))),
        ("(attributes:a AND attributes:b) OR attributes:c", Or((And((HasKey("a"), HasKey("b"))), HasKey("c")))),
        ("NOT (attributes:a OR attributes:b)", Not(Or((HasKey("a"), HasKey("b"))))),
        ("attributes:a-b AND attributes:c", And((HasKey("a-b"), HasKey("c")))),
    ],
)
def test_a_filter_parses_to_its_syntax_tree(text: str, expression: Expression) -> None:
    assert parse_filter(text).expression == expression


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        (r'"\"\\"', '"\\'),
        (r'"\a\b\f\n\r\t\v\'\?"', "\a\b\f\n\r\t\v'?"),
        (r'"\x41\x7A"', "Az"),
        (r'"\101\7\0"', "A\x07\x00"),
        (r'"\1018"', "A8"),
        ('"\\u307F\\u3093"', "みん"),
        (r'"\U0001F600"', "\U0001f600"),
        (r'"\U0010FFFF"', "\U0010ffff"),
        (r'"\xe3\x81\xbf"', "み"),
        (r'"\343\201\277"', "み"),
        ('"み"', "み"),
        ('"it\'s"', "it's"),
    ],
)
def test_a_string_literal_understands_every_escape(literal: str, value: str) -> None:
    assert parse_filter(f"attributes.k = {literal}").expression == Equals("k", value)
    assert parse_filter(f"attributes:{literal}").expression == HasKey(value)


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        (" ", 1, "'attributes', 'hasPrefix'"),
        ("attributes", 10, "':' or '.'"),
        ("attribute:a", 0, "'attributes'"),
        ("ATTRIBUTES:a", 0, "'attributes'"),
        ("attributes:", 11, "an attribute key"),
        ("attributes:a.b", 12, "AND, OR or the end of the filter"),
        ("attributes.a", 12, "'=' or '!='"),
        ('attributes.a == "b"', 14, "a quoted value"),
        ("attributes.a = b", 15, "a quoted value"),
        ("attributes.a = 'b'", 15, "a quoted value"),
        ("attributes.a != b", 16, "a quoted value after '!='"),
        ('attributes.a = "b', 17, "a closing '\"'"),
        ('attributes.a < "b"', 13, "'=' or '!='"),
        ('attributes.a : "b"', 13, "'=' or '!='"),
        ("attributes:a and attributes:b", 13, "AND, OR or the end of the filter"),
        ("attributes:a attributes:b", 13, "AND, OR or the end of the filter"),
        ("attributes:a AND", 16, "'attributes'"),
        ("AND attributes:a", 0, "'attributes'"),
        ("attributes:a AND attributes:b OR attributes:c", 30, "AND: AND and OR may only be mixed with parentheses"),
        ("attributes:a OR attributes:b AND attributes:c", 29, "OR: AND and OR may only be mixed with parentheses"),
        ("NOT NOT attributes:a", 4, "'attributes'"),
        ("--attributes:a", 1, "'attributes'"),
        ("NOTattributes:a", 0, "'attributes'"),
        ("(attributes:a", 13, "AND, OR or a closing parenthesis"),
        ("attributes:a)", 12, "AND, OR or the end of the filter"),
        ("()", 1, "'attributes'"),
        ('hasprefix(attributes.a, "b")', 0, "'attributes', 'hasPrefix', 'NOT' or '('"),
        ('hasPrefix(attributes:a, "b")', 20, "'.'"),
        ('hasPrefix("a", "b")', 10, "'attributes.'"),
        ("hasPrefix", 9, "'(' after 'hasPrefix'"),
        ("hasPrefix(attributes.a)", 22, "','"),
        ("hasPrefix(attributes.a, b)", 24, "a quoted prefix"),
        ('hasPrefix(attributes.a, "b"', 27, "')'"),
        (r'attributes.a = "\q"', 16, "one of the escapes"),
        (r'attributes.a = "\x4"', 18, "2 hexadecimal digits"),
        (r'attributes.a = "\u12_4"', 18, "4 hexadecimal digits"),
        (r'attributes.a = "\ud800"', 16, "a character: a surrogate"),
        (r'attributes.a = "\U00110000"', 16, "a code point of at most U+10FFFF"),
        (r'attributes.a = "\777"', 16, r"an octal escape of at most \377"),
        (r'attributes.a = "\xff"', 16, r"\x and octal escapes that together are valid UTF-8"),
        ('attributes.a = "x\ny"', 17, "an escape in place of the control character"),
        ('attributes.a = "\\', 17, "a character after the backslash"),
        ('attributes.a = "\x7f"', 16, "an escape in place of the control character"),
        (r'attributes.a = "\377"', 16, r"\x and octal escapes that together are valid UTF-8"),
        (r'attributes.a = "\400"', 16, r"an octal escape of at most \377"),
        (r'attributes.a = "\x4', 18, "2 hexadecimal digits"),
        ('data = "x"', 0, "'attributes'"),
        ('attributes.a = "\ud800"', 16, "a character: a surrogate"),
        ("attributes:a \ud800", 13, "AND, OR or the end of the filter"),
    ],
)
def test_a_text_that_is_no_filter_is_refused_with_the_position_and_what_was_expected(
    text: str, position: int, expected: str
) -> None:
    with pytest.raises(FilterError) as refusal:
        parse_filter(text)
    assert refusal.value.expected.startswith(expected)
    assert refusal.value.position == position
    assert expected in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("attributes", "expected ':' or '.' after 'attributes', found the end of the filter at position 10"),
        (
            "attributes:a or attributes:bcd",
            "expected AND, OR or the end of the filter, found 'or attributes:bcd' at position 13",
        ),
        ("x" * 30, f"expected 'attributes', 'hasPrefix', 'NOT' or '(', found '{'x' * 20}' at position 0"),
    ],
)
def test_a_refusal_shows_what_was_found(text: str, message: str) -> None:
    with pytest.raises(FilterError) as refusal:
        parse_filter(text)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    "text",
    [
        "attributes:a-b",
        'attributes:"a b"',
        'NOT attributes:a AND (attributes.b = "x" OR NOT (NOT hasPrefix(attributes.c, "y")))',
        '(attributes:a AND attributes:b) OR attributes.c != ""',
    ],
)
def test_a_syntax_tree_is_written_with_the_quotes_and_parentheses_that_it_needs(text: str) -> None:
    assert str(parse_filter(text).expression) == text


def test_a_filter_may_have_256_bytes_and_not_one_more() -> None:
    longest = 'attributes.k = "' + "é" * 119 + "x" + '"'
    assert len(longest.encode()) == MAX_FILTER_BYTES
    assert parse_filter(longest).expression == Equals("k", "é" * 119 + "x")
    with pytest.raises(FilterError, match="257 bytes"):
        parse_filter(longest + " ")


@pytest.mark.parametrize(("text", "position"), [("x" * 257, 256), ("é" * 129, 128), ("x" + "é" * 128, 128)])
def test_the_position_of_a_filter_that_is_too_long_is_that_of_the_first_character_too_many(
    text: str, position: int
) -> None:
    with pytest.raises(FilterError, match="at most 256") as refusal:
        parse_filter(text)
    assert (refusal.value.position, refusal.value.expected) == (position, "at most 256 bytes")


def test_the_deepest_filter_that_fits_parses() -> None:
    depth = (MAX_FILTER_BYTES - len("attributes:k")) // 2
    text = "(" * depth + "attributes:k" + ")" * depth
    assert parse_filter(text).expression == HasKey("k")
    assert parse_filter("-(" * 80 + "attributes:k" + ")" * 80).matches({"k": ""})


def test_the_empty_filter_matches_everything() -> None:
    assert all(parse_filter("").matches(message) for message in MESSAGES)


@pytest.mark.parametrize(
    ("text", "matching"),
    [
        ("attributes:lang", [1, 2, 3]),
        ("NOT attributes:lang", [0, 4, 5]),
        ('attributes.lang = "en"', [1, 2]),
        ('attributes.lang != "en"', [0, 3, 4, 5]),
        ('NOT attributes.lang = "en"', [0, 3, 4, 5]),
        ('hasPrefix(attributes.event, "created")', [2, 4]),
        ('NOT hasPrefix(attributes.event, "created")', [0, 1, 3, 5]),
        ('hasPrefix(attributes.event, "")', [2, 3, 4]),
        ('attributes.lang = "en" AND attributes:event', [2]),
        ('attributes.lang = "en" OR attributes:event', [1, 2, 3, 4]),
        ('attributes.Lang = "EN"', [5]),
    ],
)
def test_a_filter_lets_through_what_it_says(text: str, matching: list[int]) -> None:
    parsed = parse_filter(text)
    assert [index for index, message in enumerate(MESSAGES) if parsed.matches(message)] == matching


KEYS = st.one_of(
    st.sampled_from(["a", "b", "a-b", "NOT", "attributes", "1"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
)
VALUES = st.one_of(
    st.sampled_from(["", "x", "xy", '"', "\\", "\n"]), st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
)
LEAVES = st.one_of(
    st.builds(HasKey, KEYS),
    st.builds(Equals, KEYS, VALUES),
    st.builds(NotEquals, KEYS, VALUES),
    st.builds(HasPrefix, KEYS, VALUES),
)


def _compound(children: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    several = st.lists(children, min_size=2, max_size=3).map(tuple)
    return st.one_of(st.builds(Not, children), st.builds(And, several), st.builds(Or, several))


EXPRESSIONS: st.SearchStrategy[Expression] = st.recursive(LEAVES, _compound, max_leaves=4)


def _naive(node: Expression, attributes: Mapping[str, str]) -> bool:
    """The documentation's sentences, one by one, as the reference."""
    pairs = list(attributes.items())
    match node:
        case HasKey(key):
            return any(name == key for name, _ in pairs)
        case Equals(key, value):
            return (key, value) in pairs
        case NotEquals(key, value):
            return (key, value) not in pairs
        case HasPrefix(key, prefix):
            return any(name == key and value[: len(prefix)] == prefix for name, value in pairs)
        case Not(operand):
            return not _naive(operand, attributes)
        case And(operands):
            return False not in [_naive(operand, attributes) for operand in operands]
        case Or(operands):
            return True in [_naive(operand, attributes) for operand in operands]
    raise AssertionError(node)


def test_a_syntax_tree_written_out_parses_back_to_itself() -> None:
    tally = Tally(FilterError)

    @settings(deadline=None, derandomize=True, database=None)
    @given(EXPRESSIONS)
    def check(expression: Expression) -> None:
        with tally:  # what is too long is rejected
            assert parse_filter(str(expression)).expression == expression

    check()
    tally.check(accepted=60, rejected=0)


@given(EXPRESSIONS, st.dictionaries(KEYS, VALUES, max_size=4))
def test_a_filter_matches_what_the_naive_reading_of_the_documentation_matches(
    expression: Expression, attributes: dict[str, str]
) -> None:
    assert expression.matches(attributes) == _naive(expression, attributes)


#: Filters of which a part was replaced: close to what is valid, where a parser goes wrong.
DAMAGED = st.builds(
    lambda text, at, cut, scrap: text[:at] + scrap + text[at + cut :],
    EXPRESSIONS.map(str),
    st.integers(0, 60),
    st.integers(0, 4),
    st.sampled_from(
        ["", " ", "(", ")", "-", "NOT ", '"', "\\", "\\x41", "\\u00e9", "\\101", "\n", " AND ", " OR ", "!="]
    )
    | st.text(max_size=3),
)


def test_any_text_parses_or_is_refused_with_a_position_inside_it() -> None:
    tally = Tally(FilterError)

    @settings(max_examples=200, deadline=None, derandomize=True, database=None)
    @given(EXPRESSIONS.map(str) | DAMAGED | st.text(max_size=300))
    def check(text: str) -> None:
        with tally:
            try:
                parsed = parse_filter(text)
            except FilterError as error:
                if not 0 <= error.position <= len(text):
                    raise AssertionError(f"{error.position} of {len(text)}") from None
                raise
            if parsed.expression is not None and len(written := str(parsed.expression).encode()) <= MAX_FILTER_BYTES:
                assert parse_filter(written.decode()).expression == parsed.expression

    check()
    tally.check(accepted=40, rejected=40)


@pytest.mark.parametrize(
    ("value", "literal"),
    [("\x7f", r'"\u007f"'), ("\uffff", r'"\uffff"'), ("\U000e0001", r'"\U000e0001"'), ("é\U0001f600", '"é\U0001f600"')],
)
def test_a_character_that_does_not_print_is_quoted_by_its_number(value: str, literal: str) -> None:
    assert quote(value) == literal
    assert parse_filter(f"attributes.k = {literal}").expression == Equals("k", value)


def test_of_what_prints_only_quotes_and_backslashes_are_escaped() -> None:
    printing = [chr(code) for code in range(0x20, 0x7F)]
    assert {character for character in printing if quote(character) != f'"{character}"'} == {'"', "\\"}


@given(VALUES)
def test_a_quoted_value_is_read_back(value: str) -> None:
    assert parse_filter(f"attributes.k = {quote(value)}").expression == Equals("k", value)
