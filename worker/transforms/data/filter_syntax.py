"""The syntax of filter expressions: text to tree. No polars in here: the API checks expressions with it too.

    amount * 1.2 >= 100 and (city in ('Rome', 'Oslo') or note is null) and not lower(state) like 'new%'

Columns are bare names or, with any characters, in backquotes or double quotes; texts in single quotes (doubled inside).
From loose to tight: `or`; `and`; `not`; `= == != <> < <= > >= [not] in, [not] between … and …, [not] like,
is [not] null`; `+ -`; `* / %`; unary `-`; functions. Words may be in any case. Nothing is evaluated as Python.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

#: How deep parentheses, `not` and the like may nest.
MAX_DEPTH = 50

FUNCTIONS = {
    "lower": 1,
    "upper": 1,
    "trim": 1,
    "length": 1,
    "abs": 1,
    "round": 2,
    "contains": 2,
    "starts_with": 2,
    "ends_with": 2,
}
_KEYWORDS = {"and", "or", "not", "in", "is", "null", "between", "like", "true", "false"}
_COMPARISONS = {"=": "=", "==": "=", "!=": "!=", "<>": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)(?![\w.])
      | (?P<text>'(?:[^']|'')*')
      | (?P<quoted>`[^`]+`|"[^"]+")
      | (?P<word>[^\W\d]\w*)
      | (?P<sign><=|>=|==|!=|<>|[-+*/%()=<>,])
    )""",
    re.VERBOSE,
)


class FilterSyntaxError(ValueError):
    """The expression can't be read; the text says at which character."""


@dataclass(frozen=True)
class Column:
    """A column's value."""

    name: str
    at: int


@dataclass(frozen=True)
class Literal:
    """A number, text or truth value."""

    value: int | float | str | bool
    at: int


@dataclass(frozen=True)
class Call:
    """An operator or function with its arguments.

    Operators: `and or not neg + - * / % = != < <= > >= in between like is_null`, and those of `FUNCTIONS`.
    """

    name: str
    arguments: tuple[Node, ...]
    at: int


Node = Column | Literal | Call


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    at: int


def parse(text: str) -> Node:
    """The tree of an expression. Raises `FilterSyntaxError`."""
    return _Parser(_tokens(text)).whole()


def _tokens(text: str) -> list[_Token]:
    tokens, position = [], 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            rest = text[position:].lstrip()
            at = len(text) - len(rest) + 1
            what = "a text that does not end" if rest[0] in "'`\"" else f"{rest[:10]!r}"
            raise FilterSyntaxError(f"at character {at}: {what} is not understood")
        kind = str(match.lastgroup)
        value, at = match[kind], match.start(kind) + 1
        if kind == "word" and value.lower() in _KEYWORDS:
            kind, value = "keyword", value.lower()
        tokens.append(_Token(kind, value, at))
        position = match.end()
    tokens.append(_Token("end", "the end", len(text) + 1))
    return tokens


class _Parser:
    """Recursive descent, one method a level of precedence."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    def whole(self) -> Node:
        node = self._either()
        if self._token.kind != "end":
            raise self._unexpected("and, or, or the end")
        return node

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _unexpected(self, wanted: str) -> FilterSyntaxError:
        return FilterSyntaxError(f"at character {self._token.at}: {wanted} expected, not {self._token.text!r}")

    def _take(self, *texts: str) -> _Token | None:
        token = self._token
        if token.kind in {"keyword", "sign"} and token.text in texts:
            self._next += 1
            return token
        return None

    def _need(self, text: str) -> _Token:
        token = self._take(text)
        if token is None:
            raise self._unexpected(repr(text))
        return token

    def _either(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise FilterSyntaxError(f"at character {self._token.at}: nested more than {MAX_DEPTH} deep")
        at, nodes = self._token.at, [self._all()]
        while self._take("or"):
            nodes.append(self._all())
        self._depth -= 1
        return Call("or", tuple(nodes), at) if len(nodes) > 1 else nodes[0]

    def _all(self) -> Node:
        at, nodes = self._token.at, [self._negation()]
        while self._take("and"):
            nodes.append(self._negation())
        return Call("and", tuple(nodes), at) if len(nodes) > 1 else nodes[0]

    def _negation(self) -> Node:
        negations = []
        while token := self._take("not"):
            negations.append(token.at)
        node = self._comparison()
        # An even number of them cancels out.
        return Call("not", (node,), negations[0]) if len(negations) % 2 else node

    def _comparison(self) -> Node:
        left = self._sum()
        token = self._take(*_COMPARISONS)
        if token:
            if self._token.text == "null" and self._token.kind == "keyword":
                raise FilterSyntaxError(f"at character {token.at}: nothing equals null; write `is null`, `is not null`")
            return Call(_COMPARISONS[token.text], (left, self._sum()), token.at)
        if token := self._take("is"):
            negated = self._take("not")
            self._need("null")
            node = Call("is_null", (left,), token.at)
            return Call("not", (node,), token.at) if negated else node
        negated = self._take("not")
        if token := self._take("in"):
            node = Call("in", (left, *self._list(self._literal)), token.at)
        elif token := self._take("between"):
            least = self._sum()
            self._need("and")
            node = Call("between", (left, least, self._sum()), token.at)
        elif token := self._take("like"):
            node = Call("like", (left, self._literal()), token.at)
        elif negated:
            raise self._unexpected("in, between or like")
        else:
            return left
        return Call("not", (node,), token.at) if negated else node

    def _list(self, item: Callable[[], Node]) -> list[Node]:
        self._need("(")
        nodes = [item()]
        while self._take(","):
            nodes.append(item())
        self._need(")")
        return nodes

    def _literal(self) -> Node:
        at = self._token.at
        node = self._signed()
        if isinstance(node, Call) and node.name == "neg" and isinstance(node.arguments[0], Literal):
            inner = node.arguments[0].value
            if isinstance(inner, int | float) and not isinstance(inner, bool):
                return Literal(-inner, at)
        if not isinstance(node, Literal):
            raise FilterSyntaxError(f"at character {at}: a number or text expected here")
        return node

    def _sum(self) -> Node:
        return self._chain(self._product, "+", "-")

    def _product(self) -> Node:
        return self._chain(self._signed, "*", "/", "%")

    def _chain(self, operand: Callable[[], Node], *signs: str) -> Node:
        node, length = operand(), 0
        while token := self._take(*signs):
            length += 1
            if length > MAX_DEPTH:
                raise FilterSyntaxError(f"at character {token.at}: more than {MAX_DEPTH} operators in a row")
            node = Call(token.text, (node, operand()), token.at)
        return node

    def _signed(self) -> Node:
        signs = []
        while token := self._take("-"):
            signs.append(token.at)
        node = self._primary()
        return Call("neg", (node,), signs[0]) if len(signs) % 2 else node

    def _primary(self) -> Node:
        token = self._token
        if self._take("("):
            node = self._either()
            self._need(")")
            return node
        if self._take("true", "false"):
            return Literal(token.text == "true", token.at)
        if token.kind in {"number", "text", "quoted", "word"}:
            self._next += 1
            return self._leaf(token)
        raise self._unexpected("a column, number, text or '('")

    def _leaf(self, token: _Token) -> Node:
        match token.kind:
            case "number":
                value = int(token.text) if token.text.isdigit() else float(token.text)
                if math.isinf(value):
                    raise FilterSyntaxError(f"at character {token.at}: no float is as large as {token.text[:20]}")
                return Literal(value, token.at)
            case "text":
                return Literal(token.text[1:-1].replace("''", "'"), token.at)
            case "quoted":
                return Column(token.text[1:-1], token.at)
        if self._token.kind == "sign" and self._token.text == "(":
            return self._call(token)
        return Column(token.text, token.at)

    def _call(self, token: _Token) -> Node:
        name = token.text.lower()
        if name not in FUNCTIONS:
            known = ", ".join(sorted(FUNCTIONS))
            raise FilterSyntaxError(f"at character {token.at}: there is no function {token.text}; there are {known}")
        arguments = self._list(self._either)
        if len(arguments) != FUNCTIONS[name]:
            raise FilterSyntaxError(f"at character {token.at}: {name} takes {FUNCTIONS[name]} arguments")
        return Call(name, tuple(arguments), token.at)
