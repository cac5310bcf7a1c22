"""Schemas: which definitions, revisions and messages are refused, and with what reason."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import fastavro
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from poolhouse_pubsub.schemas import (
    MAX_DEFINITION_BYTES,
    ParsedSchema,
    SchemaError,
    check_compatible,
    parse_schema,
    validate_message,
)


def record(*fields: dict[str, Any], name: str = "R") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields)}


def one(type_: Any, **more: Any) -> dict[str, Any]:
    return record({"name": "a", "type": type_, **more})


def avro(definition: Any) -> ParsedSchema:
    return parse_schema("AVRO", json.dumps(definition))


def proto(body: str, *, head: str = 'syntax = "proto3";') -> ParsedSchema:
    return parse_schema("PROTOCOL_BUFFER", f"{head} {body}")


ENUM = {"type": "enum", "name": "E", "symbols": ["x", "y"]}
FIXED = {"type": "fixed", "name": "F", "size": 2}
LIST = record({"name": "head", "type": "int"}, {"name": "tail", "type": ["null", "R"]})


class TestAvroDefinitions:
    @pytest.mark.parametrize(
        "definition",
        [
            "string",
            {"type": "long", "logicalType": "timestamp-millis"},
            ["null", "string"],
            {"type": "array", "items": {"type": "map", "values": "bytes"}},
            record(),
            LIST,
            one(["null", "int"], default=None),
            one("double", default=1),
            one("bytes", default="ÿ"),
            one({"type": "array", "items": "int"}, default=[1]),
            one({"type": "map", "values": "int"}, default={"k": 1}),
            one(ENUM, default="x"),
            one(FIXED, default="ab"),
            one(record({"name": "b", "type": "int", "default": 1}, name="I"), default={}),
            {"type": "error", "name": "Oops", "fields": []},
            {"type": "enum", "name": "E", "symbols": ["a"], "default": "a"},
            {
                "type": "record",
                "name": "x.y.Outer",
                "fields": [{"name": "e", "type": ENUM}, {"name": "again", "type": "x.y.E"}],
            },
        ],
    )
    def test_a_valid_definition_parses(self, definition: Any) -> None:
        assert avro(definition)

    @pytest.mark.parametrize(
        ("definition", "reason"),
        [
            ("strung", "unknown type 'strung'"),
            (3, "expected a type"),
            ({}, "needs a 'type'"),
            ({"type": {"type": "int"}}, "must be a string"),
            ({"type": "array"}, "'items' is missing"),
            ({"type": "map"}, "'values' is missing"),
            ({"type": "record", "fields": []}, "'name' is missing"),
            ({"type": "record", "name": "R"}, "'fields' is missing"),
            ({"type": "record", "name": 1, "fields": []}, "name of a type must be a string"),
            ({"type": "record", "name": "int", "fields": []}, "primitive type"),
            ({"type": "record", "name": "x.1", "fields": []}, "'1' is no name"),
            ({"type": "record", "name": "R", "namespace": 1, "fields": []}, "'namespace' must be a string"),
            ({"type": "record", "name": "R", "fields": {}}, "'fields' must be a list"),
            (record({"type": "int"}), "field 0 needs a 'name'"),
            (record({"name": "1a", "type": "int"}), "field R.1a: '1a' is no name of a field"),
            (record({"name": "a"}), "field R.a: 'type' is missing"),
            (record({"name": "a", "type": "int"}, {"name": "a", "type": "int"}), "'a' is declared twice"),
            (one("nope"), "field R.a: unknown type 'nope'"),
            (one(record()), "'R' is declared twice"),
            (one(["int", "int"]), "'int' twice"),
            (one(["int", ["null"]]), "another union"),
            (one("int", default="x"), 'field R.a: the default "x"'),
            (one("int", default=1.5), "default 1.5"),
            (one("int", default=True), "default true"),
            (one("int", default=2**31), "default 2147483648"),
            (one("null", default=0), "default 0"),
            (one("bytes", default="み"), "default"),
            (one(["null", "int"], default=3), "default 3"),
            (one(FIXED, default="abc"), "default"),
            (one(ENUM, default="z"), "default"),
            ({"type": "enum", "name": "E", "symbols": ["a", "a"]}, "'a' is declared twice"),
            ({"type": "enum", "name": "E", "symbols": ["1"]}, "'1' is no symbol"),
            ({"type": "enum", "name": "E", "symbols": "a"}, "'symbols' must be a list"),
            ({"type": "enum", "name": "E", "symbols": ["a"], "default": "b"}, "none of its symbols"),
            ({"type": "fixed", "name": "F", "size": -1}, "'size' must be a number"),
            ({"type": "fixed", "name": "F", "size": True}, "'size' must be a number"),
        ],
    )
    def test_an_invalid_definition_is_refused_with_the_place_and_the_reason(self, definition: Any, reason: str) -> None:
        with pytest.raises(SchemaError) as refusal:
            avro(definition)
        assert reason in str(refusal.value)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "no definition"),
            ("string", "not JSON"),
            ('"int" x', "not JSON"),
            ('{"type": "int", "type": "int"}', "'type' appears twice"),
            ('{"type": "fixed", "name": "F", "size": NaN}', "NaN"),
            ("[" * 100_000, "nested too deeply"),
            ('{"type":"array","items":' * 5_000 + '"int"' + "}" * 5_000, "nested too deeply"),
            ('"' + "x" * MAX_DEFINITION_BYTES + '"', "300002 bytes"),
        ],
    )
    def test_a_text_that_is_no_json_or_too_large_is_refused(self, text: str, reason: str) -> None:
        with pytest.raises(SchemaError, match=reason):
            parse_schema("AVRO", text)

    def test_an_unknown_type_of_schema_is_a_mistake_of_the_caller(self) -> None:
        with pytest.raises(ValueError, match="THRIFT"):
            parse_schema("THRIFT", "x")


class TestAvroJson:
    @pytest.mark.parametrize(
        ("definition", "message"),
        [
            ("int", 3),
            ("null", None),
            (one("int"), {"a": 1}),
            (one("int"), {"a": 1.0}),
            (one("long"), {"a": -(2**63)}),
            (one("double"), {"a": 1}),
            (one("float"), {"a": 1.5}),
            (one("boolean"), {"a": False}),
            (one("bytes"), {"a": "\x00ÿ"}),
            (one(FIXED), {"a": "ÿ\x00"}),
            (one(ENUM), {"a": "y"}),
            (one({"type": "map", "values": "int"}), {"a": {"k": 1, "": 2}}),
            (one({"type": "array", "items": "string"}), {"a": ["", "み"]}),
            (one(["null", "int"]), {"a": None}),
            (one(["null", "int"]), {"a": {"int": 3}}),
            ({**one(["null", ENUM]), "namespace": "n"}, {"a": {"n.E": "x"}}),
            (LIST, {"head": 1, "tail": {"R": {"head": 2, "tail": None}}}),
            (record({"name": "a", "type": "int"}, {"name": "b", "type": "int"}), {"b": 1, "a": 2}),
        ],
    )
    def test_a_message_that_fits_passes(self, definition: Any, message: Any) -> None:
        validate_message(avro(definition), json.dumps(message).encode(), "JSON")

    @pytest.mark.parametrize(
        ("definition", "message", "reason"),
        [
            (one("int"), {"a": 1.5}, "the message.a: expected an integer from -2147483648"),
            (one("int"), {"a": 2**31}, "an integer"),
            (one("int"), {"a": True}, "found true"),
            (one("int"), {"a": "1"}, "an integer"),
            (one("double"), {"a": "NaN"}, "a number"),
            (one("double"), {"a": False}, "a number"),
            (one("null"), {"a": 0}, "expected null"),
            (one("boolean"), {"a": 0}, "true or false"),
            (one("string"), {"a": None}, "a string"),
            (one("bytes"), {"a": "み"}, "U+00FF"),
            (one(FIXED), {"a": "abc"}, "2 characters"),
            (one(ENUM), {"a": "z"}, "one of x, y"),
            (one({"type": "map", "values": "int"}), {"a": {"k": "v"}}, 'the message.a["k"]: expected an integer'),
            (one({"type": "map", "values": "int"}), {"a": []}, "an object"),
            (one({"type": "array", "items": "int"}), {"a": [1, "x"]}, "the message.a[1]: expected an integer"),
            (one({"type": "array", "items": "int"}), {"a": {}}, "a list"),
            (one(["null", "int"]), {"a": 3}, "{branch: value}"),
            (one(["null", "int"]), {"a": {"long": 3}}, "'null', 'int'"),
            (one(["null", "int"]), {"a": {"int": 3, "x": 1}}, "{branch: value}"),
            (one(["string", "int"]), {"a": None}, "'string', 'int'"),
            ({**one(["null", ENUM]), "namespace": "n"}, {"a": {"E": "x"}}, "'n.E'"),
            (one("int"), {}, "field 'a' of R is missing"),
            (one("int", default=1), {}, "also one with a default"),
            (one("int"), {"a": 1, "b": 2}, "R has no field 'b'"),
            (one("int"), [], "an object, a R"),
        ],
    )
    def test_a_message_that_does_not_fit_is_refused_with_its_place(
        self, definition: Any, message: Any, reason: str
    ) -> None:
        with pytest.raises(SchemaError) as refusal:
            validate_message(avro(definition), json.dumps(message).encode(), "JSON")
        assert reason in str(refusal.value)

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "not JSON"),
            (b'{"a":1} x', "not JSON"),
            (b'{"a":1}{"a":2}', "not JSON"),
            (b'{"a":1,"a":1}', "'a' appears twice"),
            (b'{"a":NaN}', "NaN"),
            (b'{"a":1e999}', "an integer"),
            (b'{"a":"\xff"}', "byte 6 is not UTF-8"),
            (b'{"a":' + b"9" * 10_000 + b"}", "not JSON"),
            (b"[" * 100_000, "nested too deeply"),
        ],
    )
    def test_data_that_is_not_one_json_text_is_refused(self, data: bytes, reason: str) -> None:
        with pytest.raises(SchemaError, match=reason):
            validate_message(avro(one("int")), data, "JSON")


class TestAvroBinary:
    @pytest.mark.parametrize(
        ("definition", "data"),
        [
            (record(), b""),
            ("null", b""),
            (one("int"), b"\x02"),
            (one("long"), b"\xff" * 9 + b"\x01"),
            (one("boolean"), b"\x01"),
            (one({"type": "array", "items": "int"}), b"\x01\x02\x02\x00"),
            (one({"type": "array", "items": "int"}), b"\x02\x02\x04\x04\x04\x00"),
            (one({"type": "map", "values": "null"}), b"\x02\x02k\x00"),
        ],
    )
    def test_a_message_that_fits_passes(self, definition: Any, data: bytes) -> None:
        validate_message(avro(definition), data, "BINARY")

    @pytest.mark.parametrize(
        ("definition", "data", "reason"),
        [
            (one("int"), b"", "the message.a: 1 bytes expected, 0 left"),
            (one("int"), b"\x02\x00", "ends at byte 1, but 1 more bytes follow"),
            (one("int"), b"\xff\xff\xff\xff\x1f", "out of the range of an int"),
            (one("long"), b"\xff" * 10 + b"\x01", "more than 64 bits"),
            (one("long"), b"\xff" * 9 + b"\x02", "more than 64 bits"),
            (one("boolean"), b"\x02", "0 or 1"),
            (one("string"), b"\x08ab", "4 bytes expected, 2 left"),
            (one("string"), b"\x02\xff", "not UTF-8"),
            (one("bytes"), b"\x01", "a length of -1 bytes"),
            (one("double"), b"\x00" * 7, "8 bytes expected"),
            (one(FIXED), b"a", "2 bytes expected"),
            (one(ENUM), b"\x04", "index 2, but there are 2 symbols"),
            (one(["null", "int"]), b"\x04", "index 2, but there are 2 branches"),
            (one([]), b"\x00", "there are 0 branches"),
            (one({"type": "array", "items": "int"}), b"\x01\x04\x02\x00", "size in bytes"),
            (one({"type": "array", "items": "int"}), b"\x01\x01\x02\x00", "a block of -1 bytes"),
            (one({"type": "array", "items": "int"}), b"\x02\x02", "expected"),
            (one({"type": "array", "items": "null"}), b"\xfe\xff\xff\xff\xff\xff\x01\x00", "items without content"),
            (one("R"), b"", "nested too deeply"),
        ],
    )
    def test_a_message_that_does_not_fit_is_refused_with_its_place(
        self, definition: Any, data: bytes, reason: str
    ) -> None:
        with pytest.raises(SchemaError) as refusal:
            validate_message(avro(definition), data, "BINARY")
        assert reason in str(refusal.value)


TREE: dict[str, Any] = {
    "type": "record",
    "name": "t.Tree",
    "fields": [
        {"name": "label", "type": "string"},
        {"name": "weight", "type": ["null", "double", "long"]},
        {"name": "tags", "type": {"type": "map", "values": "boolean"}},
        {"name": "kind", "type": ENUM},
        {"name": "raw", "type": "bytes"},
        {"name": "children", "type": {"type": "array", "items": "t.Tree"}},
    ],
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@st.composite
def trees(draw: st.DrawFn, depth: int = 0) -> dict[str, Any]:
    children = draw(st.lists(trees(depth + 1), max_size=2)) if depth < 3 else []
    return {
        "label": draw(TEXTS),
        "weight": draw(st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)),
        "tags": draw(st.dictionaries(TEXTS, st.booleans(), max_size=2)),
        "kind": draw(st.sampled_from(["x", "y"])),
        "raw": draw(st.binary(max_size=5)),
        "children": children,
    }


class TestAvroAgainstFastavro:
    parsed = fastavro.parse_schema(TREE)
    ours = avro(TREE)

    def binary(self, tree: dict[str, Any]) -> bytes:
        out = io.BytesIO()
        fastavro.schemaless_writer(out, self.parsed, tree)
        return out.getvalue()

    @given(trees())
    def test_what_fastavro_writes_in_binary_passes(self, tree: dict[str, Any]) -> None:
        validate_message(self.ours, self.binary(tree), "BINARY")

    @given(trees(depth=3))
    def test_what_fastavro_writes_in_json_passes(self, leaf: dict[str, Any]) -> None:
        # fastavro's JSON writer can take neither a record that holds itself nor an empty key.
        assume("" not in leaf["tags"])
        flat = {**TREE, "fields": TREE["fields"][:-1]}
        out = io.StringIO()
        fastavro.json_writer(out, fastavro.parse_schema(flat), [{k: v for k, v in leaf.items() if k != "children"}])
        validate_message(avro(flat), out.getvalue().encode("utf-8"), "JSON")

    @given(trees(), st.data())
    def test_a_binary_message_cut_short_is_refused(self, tree: dict[str, Any], data: st.DataObject) -> None:
        whole = self.binary(tree)
        cut = data.draw(st.integers(0, len(whole) - 1))
        with pytest.raises(SchemaError):
            validate_message(self.ours, whole[:cut], "BINARY")

    @given(st.binary(max_size=60))
    def test_any_bytes_that_pass_are_read_by_fastavro_to_the_same_length(self, data: bytes) -> None:
        try:
            validate_message(self.ours, data, "BINARY")
        except SchemaError:
            return
        source = io.BytesIO(data)
        fastavro.schemaless_reader(source, self.parsed, None)
        assert source.tell() == len(data)


class TestAvroRevisions:
    OLD = record({"name": "a", "type": "int"}, {"name": "o", "type": ["null", "string"], "default": None})

    @pytest.mark.parametrize(
        "new",
        [
            OLD,
            one("int"),
            one("int", doc="documented"),
            record(*OLD["fields"], {"name": "n", "type": "long", "default": 0}),
            record(*reversed(OLD["fields"])),
            record(OLD["fields"][0], {"name": "o", "type": ["string", "null"], "default": ""}),
        ],
    )
    def test_fields_with_a_default_may_come_and_go(self, new: Any) -> None:
        check_compatible(avro(self.OLD), avro(new))

    @pytest.mark.parametrize(
        ("old", "new", "reason"),
        [
            (one("int"), one("long"), "field R.a: a type may not change (it was int, it would be long)"),
            (one("int"), one(["null", "int"]), "it would be union"),
            (one(["null", "int"]), one(["null", "int", "long"]), "a union of null, int, long"),
            (one("int"), record(), "field R.a: only a field with a default may be removed"),
            (record(), one("int"), "field R.a: only a field with a default may be added"),
            (one("int"), {**one("int"), "name": "S"}, "it was R, it would be S"),
            (one(ENUM), one({**ENUM, "symbols": ["x"]}), "enum E: its symbols"),
            (one(FIXED), one({**FIXED, "size": 3}), "fixed F: its size"),
            (one(ENUM), one({"type": "fixed", "name": "E", "size": 3}), "it was enum, it would be fixed"),
            (one({"type": "array", "items": "int"}), one({"type": "array", "items": "long"}), "items: a type may not"),
            (one({"type": "map", "values": "int"}), one({"type": "map", "values": "long"}), "values: a type may not"),
            (LIST, record(LIST["fields"][0], {"name": "tail", "type": ["null", "int"]}), "field R.tail"),
        ],
    )
    def test_anything_else_may_not_change(self, old: Any, new: Any, reason: str) -> None:
        with pytest.raises(SchemaError) as refusal:
            check_compatible(avro(old), avro(new))
        assert reason in str(refusal.value)

    def test_a_record_that_holds_itself_is_compared_to_an_end(self) -> None:
        check_compatible(avro(LIST), avro(LIST))

    def test_the_type_of_a_schema_may_not_change(self) -> None:
        with pytest.raises(SchemaError, match="type of the schema"):
            check_compatible(avro("int"), proto("message A {}"))


class TestProtobufDefinitions:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("nonsense {", "line 1:1: Expected top-level statement"),
            ('syntax = "proto3";\nmessage A {\n  B b = 1;\n}', 'line 3:3: "B" is not defined'),
            ('syntax = "proto3"; import "x.proto"; message A {}', '"x.proto" was not found'),
            (
                'syntax = "proto3"; import "google/protobuf/timestamp.proto"; message A {'
                " google.protobuf.Timestamp t = 1; }",
                "may not use types of other files",
            ),
            ('syntax = "proto3"; message A {} message B {}', "exactly one top-level message, found A, B"),
            ('syntax = "proto3"; enum E { X = 0; }', "exactly one top-level message, found none"),
            ("message A {" * 2_000, "does not compile"),
            ("\ud800", "not valid Unicode"),
        ],
    )
    def test_an_invalid_definition_is_refused_with_protocs_reason(self, text: str, reason: str) -> None:
        with pytest.raises(SchemaError) as refusal:
            parse_schema("PROTOCOL_BUFFER", text)
        assert reason in str(refusal.value)
        assert "/tmp" not in str(refusal.value)


@pytest.fixture(scope="module")
def schema() -> ParsedSchema:
    return proto(
        """
        package x.y;
        message A {
          message B { string s = 1; }
          enum E { ZERO = 0; ONE = 1; }
          int32 some_number = 1;
          B b = 2;
          repeated B bs = 3;
          map<string, B> m = 4;
          E e = 5;
          map<string, int32> numbers = 6;
          bytes raw = 7;
        }"""
    )


class TestProtobufMessages:
    @pytest.mark.parametrize(
        "data",
        [
            b"{}",
            b'{"someNumber": 1}',
            b'{"some_number": "1"}',
            b'{"b": {"s": "x"}, "bs": [{}], "m": {"k": {}}, "e": "ONE", "numbers": {"k": 1}, "raw": "/w=="}',
        ],
    )
    def test_a_json_message_that_fits_passes(self, schema: ParsedSchema, data: bytes) -> None:
        validate_message(schema, data, "JSON")

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "not JSON"),
            (b"[]", "expected an object"),
            (b"{} x", "not JSON"),
            (b"\xff", "not UTF-8"),
            (b'{"e": "ONE", "e": "ONE"}', "appears twice"),
            (b'{"someNumber": 1.5}', "1.5"),
            (b'{"someNumber": 2147483648}', "out of range"),
            (b'{"unknown": 1}', 'no field named "unknown"'),
            (b'{"b": {"unknown": 1}}', 'no field named "unknown"'),
            (b'{"e": "TWO"}', "TWO"),
            (b'{"b":' * 200 + b"1" + b"}" * 200, "no field named"),
        ],
    )
    def test_a_json_message_that_does_not_fit_is_refused(self, schema: ParsedSchema, data: bytes, reason: str) -> None:
        with pytest.raises(SchemaError) as refusal:
            validate_message(schema, data, "JSON")
        assert reason in str(refusal.value)
        assert "\n" not in str(refusal.value)

    @pytest.mark.parametrize(
        "data", [b"", b"\x08\x01", b"\x12\x03\x0a\x01x", b"\x22\x05\x0a\x01k\x12\x00", b"\x32\x05\x0a\x01k\x10\x01"]
    )
    def test_a_binary_message_that_fits_passes(self, schema: ParsedSchema, data: bytes) -> None:
        validate_message(schema, data, "BINARY")

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"\xff", "not a x.y.A"),
            (b"\x08", "not a x.y.A"),
            (b"\x12\x03\x0a\x01\xff", "UTF-8"),
            (b"\x08\x01\x42\x01a", "x.y.A: there is no field with number 8"),
            (b"\x12\x02\x20\x01", "x.y.A.b: there is no field with number 4"),
            (b"\x1a\x02\x20\x01", "x.y.A.bs: there is no field with number 4"),
            (b"\x22\x07\x0a\x01k\x12\x02\x20\x01", "x.y.A.m: there is no field with number 4"),
        ],
    )
    def test_a_binary_message_that_does_not_fit_is_refused(
        self, schema: ParsedSchema, data: bytes, reason: str
    ) -> None:
        with pytest.raises(SchemaError) as refusal:
            validate_message(schema, data, "BINARY")
        assert reason in str(refusal.value)

    @pytest.mark.parametrize(("data", "encoding"), [(b"", "BINARY"), (b"{}", "JSON")])
    def test_a_missing_required_field_is_named(self, data: bytes, encoding: str) -> None:
        schema = proto("message A { required int32 id = 1; }", head='syntax = "proto2";')
        with pytest.raises(SchemaError, match="required fields are missing: id"):
            validate_message(schema, data, encoding)

    @given(data=st.binary(max_size=40))
    def test_any_bytes_pass_or_are_refused(self, schema: ParsedSchema, data: bytes) -> None:
        for encoding in ("JSON", "BINARY"):
            try:
                validate_message(schema, data, encoding)
            except SchemaError as refusal:
                assert str(refusal)  # noqa: PT017 - both outcomes are right; another exception would fail the test


class TestProtobufRevisions:
    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("message A { int32 a = 1; }", "message A { int32 a = 1; string b = 2; }"),
            ("message A { int32 a = 1; string b = 2; }", "message A { int32 a = 1; }"),
            ("message A { enum E { X = 0; } E e = 1; }", "message A { enum E { X = 0; Y = 1; } E e = 1; }"),
            ("message A { message B { int32 x = 1; } B b = 1; }", "message A { message B { } B b = 1; }"),
            ("message A { int32 a = 1; }", "message A { optional int32 a = 1; }"),
        ],
    )
    def test_fields_that_are_not_required_may_come_and_go(self, old: str, new: str) -> None:
        check_compatible(proto(old), proto(new))

    @pytest.mark.parametrize(
        ("old", "new", "reason"),
        [
            ("message A { int32 a = 1; }", "message B { int32 a = 1; }", "may not be renamed (it was A"),
            ("message A { int32 a = 1; }", "message A { string a = 1; }", "from int32 to string"),
            ("message A { int32 a = 1; }", "message A { int32 b = 1; }", "may not go to another field (b)"),
            ("message A { int32 a = 1; }", "message A { int32 a = 2; }", "its number may not change"),
            ("message A { int32 a = 1; }", "message A { repeated int32 a = 1; }", "repeated"),
            ("message A { int32 a = 1; }", "message A { oneof o { int32 a = 1; } }", "oneof"),
            (
                "message A { enum E { X = 0; Y = 1; } E e = 1; }",
                "message A { enum E { X = 0; } E e = 1; }",
                "value Y = 1",
            ),
            (
                "message A { message B { int32 x = 1; } B b = 1; }",
                "message A { message B { bool x = 1; } B b = 1; }",
                "field A.B.x",
            ),
        ],
    )
    def test_a_field_that_stays_may_not_change(self, old: str, new: str, reason: str) -> None:
        with pytest.raises(SchemaError) as refusal:
            check_compatible(proto(old), proto(new))
        assert reason in str(refusal.value)

    @pytest.mark.parametrize(
        ("old", "new", "reason"),
        [
            ("message A { required int32 a = 1; }", "message A { }", "may not be removed"),
            ("message A { }", "message A { required int32 a = 1; }", "may not be added"),
        ],
    )
    def test_a_required_field_may_neither_come_nor_go(self, old: str, new: str, reason: str) -> None:
        head = 'syntax = "proto2";'
        with pytest.raises(SchemaError, match=reason):
            check_compatible(proto(old, head=head), proto(new, head=head))


def test_a_double_that_json_cannot_hold_is_no_message() -> None:
    with pytest.raises(SchemaError, match="NaN"):
        validate_message(avro("double"), json.dumps(math.nan).encode(), "JSON")


def test_an_unknown_encoding_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="XML"):
        validate_message(avro("int"), b"1", "XML")
