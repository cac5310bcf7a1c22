"""Metrics from logs, the dashboard, alert policies."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from poolhouse.cloud.kinds import monitoring
from poolhouse.cloud.resource import Json, Resource
from poolhouse.cloud.terraform.flags import Flags
from poolhouse.cloud.terraform.form import Context, Piece, imported, resource
from poolhouse.cloud.terraform.hcl import Block, Call, Value

#: Objects with keys of one's own: attributes, where all other objects are blocks.
_MAPS = frozenset({"labelExtractors", "userLabels"})


def metric(item: Resource, flags: Flags, context: Context) -> Iterator[Piece]:
    """A metric from log lines."""
    attributes, blocks = _converted(flags.json("config-from-file"))
    address = context.of("metric", item.name)
    yield Piece(
        resource(address, {"name": item.name, **attributes}, *blocks),
        imported(f"{context.options.project} {item.name}"),
    )


def dashboard(item: Resource, flags: Flags, context: Context) -> Iterator[Piece]:
    """The dashboard, whose one argument is its JSON."""
    body = flags.json("config-from-file")
    attributes: dict[str, Value] = {"dashboard_json": Call("jsonencode", body)}
    yield Piece(resource(context.of("dashboard", item.name), attributes), imported(body["name"]))


def alert(item: Resource, flags: Flags, context: Context) -> Iterator[Piece]:
    """An alert policy. Its name is a number, given by Cloud Monitoring."""
    body = flags.json("policy-from-file")
    attributes, blocks = _converted(body)

    def made(raw: Json) -> Mapping[str, str]:
        return {"": str(monitoring.find_alert(raw, body["userLabels"]["alert"], context.options)["name"])}

    yield Piece(resource(context.of("alert", item.name), attributes, *blocks), made)


def _converted(body: Mapping[str, Json]) -> tuple[dict[str, Value], list[Block]]:
    """A message of an API as the provider has it: its names in snake case, objects as blocks."""
    attributes: dict[str, Value] = {}
    blocks: list[Block] = []
    for key, value in body.items():
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", key).lower()
        items = value if isinstance(value, list) else [value]
        if key not in _MAPS and items and all(isinstance(item, dict) for item in items):
            for item in items:
                inner, below = _converted(item)
                blocks.append(Block(name, (), inner, tuple(below)))
        else:
            attributes[name] = value
    return attributes, blocks
