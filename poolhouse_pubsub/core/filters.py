r"""The filter language of subscriptions.

A filter chooses, by their attributes alone, which messages of a topic a subscription gets::

    filter  = expr ;
    expr    = term { ("AND" term)+ | ("OR" term)+ } ;
    term    = [ "NOT" | "-" ] factor ;
    factor  = "(" expr ")"
            | "attributes" ":" KEY
            | "attributes" "." KEY ("=" | "!=") STRING
            | "hasPrefix" "(" "attributes" "." KEY "," STRING ")" ;
    KEY     = letters, digits, "_" and "-", or a STRING ;
    STRING  = "\"" characters and escapes "\"" ;

Operators are upper case; AND and OR may not be mixed without parentheses. ``!=`` and NOT also match messages that lack
the key. Escapes are C's: ``\" \\ \' \? \a \b \f \n \r \t \v``, ``\uXXXX``, ``\UXXXXXXXX``, and ``\xHH`` and octal
``\OOO``, which stand for one byte of UTF-8 each. A filter has at most 256 bytes.

Source: https://cloud.google.com/pubsub/docs/subscription-message-filter
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Protocol

#: Longest filter, in bytes of UTF-8 (Pub/Sub quotas and limits).
MAX_FILTER_BYTES: Final = 256

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_WORD: Final = re.compile(r"[A-Za-z0-9_-]+")
_SIMPLE_ESCAPES: Final = {
    '"': b'"',
    "\\": b"\\",
    "'": b"'",
    "?": b"?",
    "a": b"\a",
    "b": b"\b",
    "f": b"\f",
    "n": b"\n",
    "r": b"\r",
    "t": b"\t",
    "v": b"\v",
}
_OCTAL_ESCAPE: Final = re.compile(r"[0-7]{1,3}")
#: Escape letter -> number of hexadecimal digits it takes.
_HEX_ESCAPES: Final = {"x": 2, "u": 4, "U": 8}
_HEX_DIGITS: Final = frozenset("0123456789abcdefABCDEF")


class FilterError(ValueError):
    """A text that is no filter.

    Attributes:
        position: Where the text stops being a filter, in characters from its start, from 0.
        expected: What would have been right there.
    """

    def __init__(self, message: str, *, position: int, expected: str) -> None:
        super().__init__(message)
        self.position = position
        self.expected = expected


class Expression(Protocol):
    """A node of a parsed filter; ``str()`` gives its text in the filter language."""

    def matches(self, attributes: Mapping[str, str]) -> bool:
        """Return whether a message with these attributes is let through."""
        ...


@dataclass(frozen=True, slots=True)
class HasKey:
    """``attributes:key``."""

    key: str

    def matches(self, attributes: Mapping[str, str]) -> bool:
        """Return whether the key is there, whatever its value."""
        return self.key in attributes

    def __str__(self) -> str:
        return f"attributes:{_key_text(self.key)}"


@dataclass(frozen=True, slots=True)
class Equals:
    """``attributes.key = "value"``."""

    key: str
    value: str

    def matches(self, attributes: Mapping[str, str]) -> bool:
        """Return whether the key is there and has this value."""
        return attributes.get(self.key) == self.value

    def __str__(self) -> str:
        return f"attributes.{_key_text(self.key)} = {quote(self.value)}"


@dataclass(frozen=True, slots=True)
class NotEquals:
    """``attributes.key != "value"``."""

    key: str
    value: str

    def matches(self, attributes: Mapping[str, str]) -> bool:
        """Return whether the key is absent or has another value."""
        return attributes.get(self.key) != self.value

    def __str__(self) -> str:
        return f"attributes.{_key_text(self.key)} != {quote(self.value)}"


@dataclass(frozen=True, slots=True)
class HasPrefix:
    """``hasPrefix(attributes.key, "prefix")``."""

    key: str
    prefix: str

    def matches(self, attributes: Mapping[str, str]) -> bool:
        """Return whether the key is there and its value starts with the prefix."""
        value = attributes.get(self.key)
        return value is not None and value.startswith(self.prefix)

    def __str__(self) -> str:
        return f"hasPrefix(attributes.{_key_text(self.key)}, {quote(self.prefix)})"


@dataclass(frozen=True, slots=True)
class Not:
    """``NOT operand``."""

    operand: Expression

    def matches(self, attributes: Mapping[str, str]) -> bool:
        """Return whether the operand does not match."""
        return not self.operand.matches(attributes)

    def __str__(self) -> str:
        # The grammar has one NOT a term, so a second one needs parentheses like AND and OR do.
        return f"NOT {_operand_text(self.operand, parenthesise=(And, Or, Not))}"


@dataclass(frozen=True, slots=True)
class And:
    """Two or more terms joined by AND."""

    operands: tuple[Expression, ...]

    def matches(self, attributes: Mapping[str, str]) -> bool:
        """Return whether every operand matches."""
        return all(operand.matches(attributes) for operand in self.operands)

    def __str__(self) -> str:
        return " AND ".join(_operand_text(operand, parenthesise=(And, Or)) for operand in self.operands)


@dataclass(frozen=True, slots=True)
class Or:
    """Two or more terms joined by OR."""

    operands: tuple[Expression, ...]

    def matches(self, attributes: Mapping[str, str]) -> bool:
        """Return whether any operand matches."""
        return any(operand.matches(attributes) for operand in self.operands)

    def __str__(self) -> str:
        return " OR ".join(_operand_text(operand, parenthesise=(And, Or)) for operand in self.operands)


@dataclass(frozen=True, slots=True)
class Filter:
    """A parsed filter."""

    #: Its syntax tree; None for the empty filter, which lets everything through.
    expression: Expression | None

    def matches(self, attributes: Mapping[str, str]) -> bool:
        """Return whether a message with these attributes is delivered.

        Args:
            attributes: The message's attributes; keys and values are compared case-sensitively.
        """
        return self.expression is None or self.expression.matches(attributes)


def parse_filter(text: str) -> Filter:
    """Parse a subscription's filter.

    Args:
        text: The filter. The empty string is the field's default and matches every message.

    Raises:
        FilterError: The text is no filter or has more than 256 bytes; says where and what was expected.
    """
    if not text:
        return Filter(expression=None)
    sizes_bytes = tuple(accumulate(len(character.encode("utf-8", "surrogatepass")) for character in text))
    if sizes_bytes[-1] > MAX_FILTER_BYTES:
        raise FilterError(
            f"the filter has {sizes_bytes[-1]} bytes; at most {MAX_FILTER_BYTES} are allowed",
            position=bisect_right(sizes_bytes, MAX_FILTER_BYTES),
            expected=f"at most {MAX_FILTER_BYTES} bytes",
        )
    return Filter(expression=_Parser(text).parse())


def quote(value: str) -> str:
    """Write a value as a string literal of the filter language, non-printing characters escaped."""
    parts = ['"']
    for character in value:
        if character in '"\\':
            parts.append("\\" + character)
        elif character.isprintable():
            parts.append(character)
        else:
            code = ord(character)
            parts.append(f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}")
    parts.append('"')
    return "".join(parts)


class _Parser:
    """Recursive descent over the text itself, without a lexer.

    A token's extent depends on where it stands: ``-`` starts a term, but is an ordinary character of a key. The depth
    of the recursion is bounded by the filter's 256 bytes.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def parse(self) -> Expression:
        expression = self._expression()
        if self._position < len(self._text):
            raise self._error("AND, OR or the end of the filter")
        return expression

    def _expression(self) -> Expression:
        operands = [self._term()]
        joined_by: str | None = None
        while (word := self._peek_word()) in ("AND", "OR"):
            if joined_by is not None and word != joined_by:
                raise self._error(f"{joined_by}: AND and OR may only be mixed with parentheses around one of them")
            joined_by = word
            self._position += len(word)
            operands.append(self._term())
        if joined_by is None:
            return operands[0]
        return And(tuple(operands)) if joined_by == "AND" else Or(tuple(operands))

    def _term(self) -> Expression:
        if self._take("-"):
            return Not(self._factor())
        if self._peek_word() == "NOT":
            self._position += len("NOT")
            return Not(self._factor())
        return self._factor()

    def _factor(self) -> Expression:
        if self._take("("):
            expression = self._expression()
            self._expect(")", "AND, OR or a closing parenthesis")
            return expression
        match self._peek_word():
            case "attributes":
                self._position += len("attributes")
                return self._comparison()
            case "hasPrefix":
                self._position += len("hasPrefix")
                return self._has_prefix()
            case _:
                raise self._error("'attributes', 'hasPrefix', 'NOT' or '('")

    def _comparison(self) -> Expression:
        if self._take(":"):
            return HasKey(self._key())
        self._expect(".", "':' or '.' after 'attributes'")
        key = self._key()
        if self._take("!="):
            return NotEquals(key, self._string("a quoted value after '!='"))
        self._expect("=", "'=' or '!=' after the attribute's key")
        return Equals(key, self._string("a quoted value after '='"))

    def _has_prefix(self) -> Expression:
        self._expect("(", "'(' after 'hasPrefix'")
        if self._peek_word() != "attributes":
            raise self._error("'attributes.' and a key")
        self._position += len("attributes")
        self._expect(".", "'.' after 'attributes'")
        key = self._key()
        self._expect(",", "',' after the attribute's key")
        prefix = self._string("a quoted prefix")
        self._expect(")", "')' after the prefix")
        return HasPrefix(key, prefix)

    def _key(self) -> str:
        word = self._peek_word()
        if word is not None:
            self._position += len(word)
            return word
        return self._string("an attribute key: letters, digits, '_' and '-', or a quoted string")

    def _string(self, expected: str) -> str:
        """Read a string literal; its bytes must be UTF-8, since an attribute's key and value are."""
        self._expect('"', expected)
        start = self._position
        collected = bytearray()
        while True:
            character = self._next_character("a closing '\"'")
            if character == '"':
                break
            if character == "\\":
                collected += self._escape()
            elif character < " " or character == "\x7f":
                raise self._error(
                    "an escape in place of the control character (\\n, \\t, \\xHH)", at=self._position - 1
                )
            else:
                collected += self._encode(character, at=self._position - 1)
        try:
            return collected.decode("utf-8")
        except UnicodeDecodeError:
            raise self._error("\\x and octal escapes that together are valid UTF-8", at=start) from None

    def _escape(self) -> bytes:
        """Read what follows a backslash."""
        start = self._position - 1
        octal = _OCTAL_ESCAPE.match(self._text, self._position)
        if octal:
            self._position = octal.end()
            value = int(octal[0], 8)
            if value > 0xFF:
                raise self._error("an octal escape of at most \\377", at=start)
            return bytes((value,))
        letter = self._next_character("a character after the backslash")
        if letter in _SIMPLE_ESCAPES:
            return _SIMPLE_ESCAPES[letter]
        length = _HEX_ESCAPES.get(letter)
        if length is None:
            raise self._error('one of the escapes \\" \\\\ \\a \\b \\f \\n \\r \\t \\v \\xHH \\uXXXX \\OOO', at=start)
        digits = self._text[self._position : self._position + length]
        if len(digits) < length or not _HEX_DIGITS.issuperset(digits):
            raise self._error(f"{length} hexadecimal digits after \\{letter}")
        self._position += length
        value = int(digits, 16)
        if letter == "x":
            return bytes((value,))
        if value > 0x10FFFF:
            raise self._error("a code point of at most U+10FFFF", at=start)
        return self._encode(chr(value), at=start)

    def _encode(self, character: str, *, at: int) -> bytes:
        try:
            return character.encode("utf-8")
        except UnicodeEncodeError:
            raise self._error("a character: a surrogate is only half of one", at=at) from None

    def _next_character(self, expected: str) -> str:
        if self._position >= len(self._text):
            raise self._error(expected)
        character = self._text[self._position]
        self._position += 1
        return character

    def _skip_space(self) -> None:
        space = _SPACE.match(self._text, self._position)
        assert space is not None  # The pattern matches the empty string too.
        self._position = space.end()

    def _peek_word(self) -> str | None:
        self._skip_space()
        word = _WORD.match(self._text, self._position)
        return word[0] if word else None

    def _take(self, token: str) -> bool:
        self._skip_space()
        if not self._text.startswith(token, self._position):
            return False
        self._position += len(token)
        return True

    def _expect(self, token: str, expected: str) -> None:
        if not self._take(token):
            raise self._error(expected)

    def _error(self, expected: str, *, at: int | None = None) -> FilterError:
        if at is None:
            at = self._position
        found = repr(self._text[at : at + 20]) if at < len(self._text) else "the end of the filter"
        return FilterError(f"expected {expected}, found {found} at position {at}", position=at, expected=expected)


def _key_text(key: str) -> str:
    return key if _WORD.fullmatch(key) else quote(key)


def _operand_text(operand: Expression, *, parenthesise: tuple[Callable[..., Expression], ...]) -> str:
    return f"({operand})" if type(operand) in parenthesise else str(operand)
