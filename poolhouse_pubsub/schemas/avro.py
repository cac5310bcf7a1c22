"""Avro schema definitions, parsed strictly into a small tree.

Stricter than fastavro, which takes unknown field defaults, repeated field names and illegal names: the service's parser
is Avro's Java one, which refuses them.

Source: https://avro.apache.org/docs/1.11.1/specification/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from poolhouse_pubsub.schemas.errors import SchemaError
from poolhouse_pubsub.schemas.json_text import load_json, short

#: Types that need no further description.
PRIMITIVES: Final = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
#: Least and greatest value of the integer types.
INTEGER_RANGES: Final = {"int": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}

_NAMED: Final = frozenset({"record", "error", "enum", "fixed"})
_SIMPLE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Default of a field without one; None is a default of its own.
_NO_DEFAULT: Final = object()


@dataclass(frozen=True, slots=True)
class Primitive:
    """null, boolean, int, long, float, double, bytes or string."""

    kind: str

    @property
    def label(self) -> str:
        """How a union's JSON encoding names this branch."""
        return self.kind


@dataclass(frozen=True, slots=True)
class Array:
    """A list of items of one type."""

    items: AvroType

    @property
    def label(self) -> str:
        """How a union's JSON encoding names this branch."""
        return "array"


@dataclass(frozen=True, slots=True)
class Map:
    """String keys to values of one type."""

    values: AvroType

    @property
    def label(self) -> str:
        """How a union's JSON encoding names this branch."""
        return "map"


@dataclass(frozen=True, slots=True)
class Union:
    """One of several types."""

    branches: tuple[AvroType, ...]

    @property
    def label(self) -> str:
        """Never needed: a union may not hold a union."""
        return "union"


@dataclass(frozen=True, slots=True)
class Reference:
    """A record, enum or fixed by its full name; the schema's ``names`` has it. Records may hold themselves this way."""

    name: str

    @property
    def label(self) -> str:
        """How a union's JSON encoding names this branch."""
        return self.name


AvroType: TypeAlias = Primitive | Array | Map | Union | Reference


@dataclass(frozen=True, slots=True)
class Field:
    """A record's field. Only one with a default may be added or removed by a later revision."""

    name: str
    type: AvroType
    has_default: bool


@dataclass(frozen=True, slots=True)
class Record:
    """Named fields in a fixed order."""

    name: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Enum:
    """One of a few symbols."""

    name: str
    symbols: tuple[str, ...]
    default: str | None


@dataclass(frozen=True, slots=True)
class Fixed:
    """Bytes of one length."""

    name: str
    size_bytes: int


NamedType: TypeAlias = Record | Enum | Fixed


@dataclass(frozen=True, slots=True)
class AvroSchema:
    """A parsed definition."""

    #: The text as it was given.
    definition: str
    #: The type of a message.
    root: AvroType
    #: Full name -> the record, enum or fixed of that name.
    names: Mapping[str, NamedType] = field(repr=False)


def parse_avro(definition: str) -> AvroSchema:
    """Parse an Avro definition (JSON).

    Raises:
        SchemaError: It is no JSON or no Avro schema; says in which type or field.
    """
    parsed = load_json(definition, what="the Avro definition")
    parser = _Parser()
    try:
        root = parser.type(parsed, namespace="", where="the schema")
        parser.check_defaults()
    except RecursionError:
        raise SchemaError("the Avro definition is nested too deeply") from None
    return AvroSchema(definition=definition, root=root, names=parser.names)


class _Parser:
    def __init__(self) -> None:
        self.names: dict[str, NamedType] = {}
        self._open: set[str] = set()
        # Checked once every name is known: a default may be of the record that is being declared.
        self._defaults: list[tuple[AvroType, Any, str]] = []

    def type(self, node: Any, *, namespace: str, where: str) -> AvroType:
        match node:
            case str():
                return self._by_name(node, namespace=namespace, where=where)
            case list():
                return self._union(node, namespace=namespace, where=where)
            case {"type": str(kind)}:
                return self._complex(kind, node, namespace=namespace, where=where)
            case {"type": _}:
                raise SchemaError(f"{where}: 'type' of a type must be a string")
            case dict():
                raise SchemaError(f"{where}: an object needs a 'type'")
            case _:
                raise SchemaError(f"{where}: expected a type (a string, a list or an object), found {short(node)}")

    def check_defaults(self) -> None:
        for type_, default, where in self._defaults:
            if not self._is_default(type_, default):
                raise SchemaError(f"{where}: the default {short(default)} is not of the field's type")

    def _by_name(self, name: str, *, namespace: str, where: str) -> AvroType:
        if name in PRIMITIVES:
            return Primitive(name)
        full = _full_name(name, namespace)
        if full not in self.names and full not in self._open:
            raise SchemaError(f"{where}: unknown type {name!r}")
        return Reference(full)

    def _complex(self, kind: str, node: dict[str, Any], *, namespace: str, where: str) -> AvroType:
        if kind in _NAMED:
            return self._named(kind, node, namespace=namespace, where=where)
        if kind == "array":
            items = self.type(_member(node, "items", where), namespace=namespace, where=f"{where}, items")
            return Array(items)
        if kind == "map":
            values = self.type(_member(node, "values", where), namespace=namespace, where=f"{where}, values")
            return Map(values)
        # A primitive with attributes (a logical type: only its underlying type is checked), or a name.
        return self._by_name(kind, namespace=namespace, where=where)

    def _union(self, node: list[Any], *, namespace: str, where: str) -> Union:
        branches: list[AvroType] = []
        labels: set[str] = set()
        for index, branch in enumerate(node):
            type_ = self.type(branch, namespace=namespace, where=f"{where}, branch {index}")
            if isinstance(type_, Union):
                raise SchemaError(f"{where}: a union may not hold another union directly")
            if type_.label in labels:
                raise SchemaError(f"{where}: the union has {type_.label!r} twice")
            labels.add(type_.label)
            branches.append(type_)
        return Union(tuple(branches))

    def _named(self, kind: str, node: dict[str, Any], *, namespace: str, where: str) -> Reference:
        name = _member(node, "name", where)
        if not isinstance(name, str):
            raise SchemaError(f"{where}: the name of a type must be a string, found {short(name)}")
        declared_namespace = node.get("namespace", namespace)
        if not isinstance(declared_namespace, str):
            raise SchemaError(f"{where}: 'namespace' must be a string, found {short(declared_namespace)}")
        full = _full_name(name, declared_namespace)
        for part in full.split("."):
            _check_name(part, where=where, what="name of a type")
        if full in PRIMITIVES:
            raise SchemaError(f"{where}: {full!r} is the name of a primitive type")
        if full in self.names or full in self._open:
            raise SchemaError(f"{where}: {full!r} is declared twice")
        inner = full.rpartition(".")[0]
        match kind:
            case "enum":
                self.names[full] = _enum(full, node)
            case "fixed":
                self.names[full] = _fixed(full, node)
            case _:
                self._open.add(full)
                self.names[full] = self._record(full, node, namespace=inner)
                self._open.remove(full)
        return Reference(full)

    def _record(self, full: str, node: dict[str, Any], *, namespace: str) -> Record:
        declared = _member(node, "fields", f"record {full}")
        if not isinstance(declared, list):
            raise SchemaError(f"record {full}: 'fields' must be a list, found {short(declared)}")
        fields: dict[str, Field] = {}
        for index, entry in enumerate(declared):
            if not isinstance(entry, dict) or not isinstance(name := entry.get("name"), str):
                raise SchemaError(f"record {full}: field {index} needs a 'name'")
            where = f"field {full}.{name}"
            _check_name(name, where=where, what="name of a field")
            if name in fields:
                raise SchemaError(f"record {full}: field {name!r} is declared twice")
            type_ = self.type(_member(entry, "type", where), namespace=namespace, where=where)
            default = entry.get("default", _NO_DEFAULT)
            if default is not _NO_DEFAULT:
                self._defaults.append((type_, default, where))
            fields[name] = Field(name=name, type=type_, has_default=default is not _NO_DEFAULT)
        return Record(full, tuple(fields.values()))

    def _is_default(self, type_: AvroType, value: Any) -> bool:
        """Return whether a value is of a type.

        In defaults, unlike messages, a union's first branch stands unlabelled.
        """
        match type_:
            case Primitive(kind):
                return _is_primitive(kind, value)
            case Array(items):
                return isinstance(value, list) and all(self._is_default(items, item) for item in value)
            case Map(values):
                return isinstance(value, dict) and all(self._is_default(values, item) for item in value.values())
            case Union(branches):
                return bool(branches) and self._is_default(branches[0], value)
            case Reference(name):
                return self._is_named_default(self.names[name], value)

    def _is_named_default(self, named: NamedType, value: Any) -> bool:
        match named:
            case Record(_, fields):
                return isinstance(value, dict) and all(
                    self._is_default(member.type, value[member.name]) if member.name in value else member.has_default
                    for member in fields
                )
            case Enum(_, symbols, _):
                return value in symbols
            case Fixed(_, size_bytes):
                return _is_primitive("bytes", value) and len(value) == size_bytes


def is_latin_1(text: str) -> bool:
    """Return whether a JSON string stands for bytes: one character of at most U+00FF each."""
    return all(character <= "\xff" for character in text)


def _enum(full: str, node: dict[str, Any]) -> Enum:
    symbols = _member(node, "symbols", f"enum {full}")
    if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
        raise SchemaError(f"enum {full}: 'symbols' must be a list of strings")
    seen: set[str] = set()
    for symbol in symbols:
        _check_name(symbol, where=f"enum {full}", what="symbol")
        if symbol in seen:
            raise SchemaError(f"enum {full}: symbol {symbol!r} is declared twice")
        seen.add(symbol)
    default = node.get("default")
    if default is not None and default not in symbols:
        raise SchemaError(f"enum {full}: the default {short(default)} is none of its symbols")
    return Enum(full, tuple(symbols), default)


def _fixed(full: str, node: dict[str, Any]) -> Fixed:
    size_bytes = _member(node, "size", f"fixed {full}")
    if not _is_integer(size_bytes) or size_bytes < 0:
        raise SchemaError(f"fixed {full}: 'size' must be a number of bytes, found {short(size_bytes)}")
    return Fixed(full, size_bytes)


def _is_primitive(kind: str, value: Any) -> bool:
    match kind:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "int" | "long":
            least, greatest = INTEGER_RANGES[kind]
            return _is_integer(value) and least <= value <= greatest
        case "float" | "double":
            return _is_integer(value) or isinstance(value, float)
        case "bytes":
            return isinstance(value, str) and is_latin_1(value)
        case _:
            return isinstance(value, str)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _full_name(name: str, namespace: str) -> str:
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _check_name(name: str, *, where: str, what: str) -> None:
    if not _SIMPLE_NAME.fullmatch(name):
        raise SchemaError(
            f"{where}: {name!r} is no {what}: letters, digits and '_' are allowed, and no digit at its start"
        )


def _member(node: dict[str, Any], key: str, where: str) -> Any:
    try:
        return node[key]
    except KeyError:
        raise SchemaError(f"{where}: {key!r} is missing") from None
