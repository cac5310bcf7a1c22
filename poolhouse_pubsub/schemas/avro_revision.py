"""Which Avro definitions may follow one another as revisions of one schema.

Fields with a default may come and go; nothing else may change but documentation, aliases, the order of fields and of a
union's branches. Source: https://cloud.google.com/pubsub/docs/commit-schema-revision
"""

from __future__ import annotations

from poolhouse_pubsub.schemas.avro import (
    Array,
    AvroSchema,
    AvroType,
    Enum,
    Fixed,
    Map,
    Primitive,
    Record,
    Reference,
    Union,
)
from poolhouse_pubsub.schemas.errors import SchemaError


def check_avro_revision(old: AvroSchema, new: AvroSchema) -> None:
    """Check that a definition may follow another.

    Raises:
        SchemaError: It may not; says which type or field.
    """
    try:
        _Comparison(old, new).types(old.root, new.root, "the schema")
    except RecursionError:
        raise SchemaError("the Avro definition is nested too deeply") from None


class _Comparison:
    def __init__(self, old: AvroSchema, new: AvroSchema) -> None:
        self._old = old.names
        self._new = new.names
        self._seen: set[str] = set()

    def types(self, old: AvroType, new: AvroType, where: str) -> None:
        match old, new:
            case Primitive(old_kind), Primitive(new_kind):
                if old_kind != new_kind:
                    raise _changed(where, old_kind, new_kind)
            case Array(old_items), Array(new_items):
                self.types(old_items, new_items, f"{where}, items")
            case Map(old_values), Map(new_values):
                self.types(old_values, new_values, f"{where}, values")
            case Union(old_branches), Union(new_branches):
                self._unions(old_branches, new_branches, where)
            case Reference(old_name), Reference(new_name):
                if old_name != new_name:
                    raise _changed(where, old_name, new_name)
                self._named(old_name)
            case _:
                raise _changed(where, old.label, new.label)

    def _unions(self, old: tuple[AvroType, ...], new: tuple[AvroType, ...], where: str) -> None:
        old_by_label = {branch.label: branch for branch in old}
        new_by_label = {branch.label: branch for branch in new}
        if old_by_label.keys() != new_by_label.keys():
            raise _changed(where, f"a union of {', '.join(old_by_label)}", f"a union of {', '.join(new_by_label)}")
        for label, branch in old_by_label.items():
            self.types(branch, new_by_label[label], where)

    def _named(self, name: str) -> None:
        if name in self._seen:  # A record that holds itself is compared once.
            return
        self._seen.add(name)
        match self._old[name], self._new[name]:
            case Record(_, _) as old, Record(_, _) as new:
                self._records(old, new)
            case Enum(_, old_symbols, _), Enum(_, new_symbols, _):
                if set(old_symbols) != set(new_symbols):
                    raise SchemaError(f"enum {name}: its symbols may not change")
            case Fixed(_, old_size_bytes), Fixed(_, new_size_bytes):
                if old_size_bytes != new_size_bytes:
                    raise SchemaError(f"fixed {name}: its size may not change")
            case old_named, new_named:
                raise _changed(f"type {name}", type(old_named).__name__.lower(), type(new_named).__name__.lower())

    def _records(self, old: Record, new: Record) -> None:
        old_fields = {member.name: member for member in old.fields}
        new_fields = {member.name: member for member in new.fields}
        for name in old_fields.keys() | new_fields.keys():
            before, after = old_fields.get(name), new_fields.get(name)
            if before and after:
                self.types(before.type, after.type, f"field {old.name}.{name}")
            elif before and not before.has_default:
                raise SchemaError(f"field {old.name}.{name}: only a field with a default may be removed")
            elif after and not after.has_default:
                raise SchemaError(f"field {old.name}.{name}: only a field with a default may be added")


def _changed(where: str, old: str, new: str) -> SchemaError:
    return SchemaError(f"{where}: a type may not change (it was {old}, it would be {new})")
