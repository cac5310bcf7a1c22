"""docs/pipeline-toml.md, made of the models that read pipeline.toml: fields, types, ranges, defaults, `#:` comments."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from poolhouse.pipeline.config import stages
from poolhouse.pipeline.config.api_access import ApiKey
from poolhouse.pipeline.config.bucket import Bucket, Index, Payloads
from poolhouse.pipeline.config.console_options import Console
from poolhouse.pipeline.config.deploy_options import Accounts, Api, Canary, Deploy, Vpc
from poolhouse.pipeline.config.objectives import Objectives
from poolhouse.pipeline.config.queue import Queue, Workers
from poolhouse.pipeline.config.schedule import Schedule
from poolhouse.pipeline.config.topology import Topology
from poolhouse.pipeline.config.triggers import Trigger
from poolhouse.pipeline.config.webhook_options import Webhooks

#: The tables of the file: header, the model that reads it, and fields that are not written by hand.
TABLES: tuple[tuple[str, type[BaseModel], frozenset[str]], ...] = (
    ("", Topology, frozenset()),
    ("queues.NAME", Queue, frozenset({"name", "prefix"})),
    ("queues.NAME.workers", Workers, frozenset()),
    ("queues.NAME.slo", Objectives, frozenset()),
    ("schedules.NAME", Schedule, frozenset({"name"})),
    ("triggers.NAME", Trigger, frozenset({"name"})),
    ("payloads", Payloads, frozenset()),
    ("bucket", Bucket, frozenset()),
    ("index", Index, frozenset()),
    ("webhooks", Webhooks, frozenset()),
    ("deploy", Deploy, frozenset()),
    ("deploy.api", Api, frozenset()),
    ("deploy.canary", Canary, frozenset()),
    ("deploy.accounts", Accounts, frozenset()),
    ("deploy.vpc", Vpc, frozenset()),
    ("deploy.keys.NAME", ApiKey, frozenset()),
    ("console", Console, frozenset()),
)
_COMMENT = re.compile(r"((?:^    #:.*\n)+)^    (\w+):", re.MULTILINE)
_TYPES = {"integer": "integer", "number": "number", "string": "string", "boolean": "`true` or `false`"}
#: Longest pattern that says more than the field's own text.
_READABLE_PATTERN = 45
_HEAD = """\
# pipeline.toml

The declaration of a pipeline, read by the local stack and by the deploy alike. A mistake is one message with file, line
and the allowed values. This page is generated from the models in `poolhouse/pipeline/config/`: `./invoke docs` writes
it.
"""
_STAGES = """\
## [stages.NAME]

{summary}
`./invoke deploy --stage NAME` deploys one. NAME may end in `*`, as in `[stages."pr-*"]`: such a stage is a preview,
many of which come and go. A stage may have these fields:

| field | meaning |
| --- | --- |
| `name` | Prefix of the stage's resources; default: the pipeline's name, `-` and the stage's. Not for previews. |
| `ref` | Branch or tag that deploys the stage from GitHub, such as `refs/heads/main`. |
| {tables} | As above: tables are merged key by key, all else replaces the value of the declaration. |
"""


def markdown() -> str:
    """Return the page."""
    sections = [_HEAD, *(_section(header, model, hidden) for header, model, hidden in TABLES)]
    tables = ", ".join(f"`{name}`" for name in sorted(stages.TABLES - {"name", "ref"}))
    summary = (stages.__doc__ or "").removeprefix("Stages: ")
    sections.append(_STAGES.format(summary=summary[0].upper() + summary[1:], tables=tables))
    return "\n".join(sections)


def comments(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the text of the `#:` comment of each field that has one."""
    return {
        name: " ".join(line.strip().removeprefix("#:").strip() for line in block.splitlines())
        for block, name in _COMMENT.findall(inspect.getsource(model))
    }


def _section(header: str, model: type[BaseModel], hidden: frozenset[str]) -> str:
    lines = [f"## [{header}]" if header else "## Top level", "", *(inspect.getdoc(model) or "").splitlines(), ""]
    return "\n".join([*lines, *_rows(model, hidden), ""])


def _rows(model: type[BaseModel], hidden: frozenset[str]) -> Iterator[str]:
    yield "| field | type | default | meaning |"
    yield "| --- | --- | --- | --- |"
    schema, texts = model.model_json_schema(), comments(model)
    for name, field in schema["properties"].items():
        if name not in hidden:
            default = _default(field, required=name in schema.get("required", ()))
            yield f"| `{name}` | {_type(name, field, schema)} | {default} | {texts[name]} |"


def _default(field: Mapping[str, Any], *, required: bool) -> str:
    if required:
        return "required"
    value = field.get("default")
    if value is None or value in ("", [], {}) or isinstance(value, dict):
        return ""
    return f"`{json.dumps(value)}`"


def _type(name: str, field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if "$ref" in field or field.get("items", {}).get("$ref"):
        header = next(header for header, model, _ in TABLES if model.__name__ == _referred(field))
        return f"table `[{header}]`"
    if "anyOf" in field:
        return " or ".join(_type(name, part, schema) for part in field["anyOf"] if part.get("type") != "null")
    if "enum" in field or "const" in field:
        return _choice(field.get("enum", [field.get("const")]))
    if field["type"] == "array":
        return f"list of: {_type(name, field['items'], schema)}"
    if field["type"] == "object":
        return _table(name, field, schema)
    return f"{_TYPES[field['type']]}{_range(field)}"


def _referred(field: Mapping[str, Any]) -> str:
    return str(field.get("$ref") or field["items"]["$ref"]).rpartition("/")[2]


def _table(name: str, field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    keys = field.get("propertyNames", {}).get("enum")
    patterns = field.get("patternProperties", {})
    values = next(iter(patterns.values()), None) or field.get("additionalProperties")
    kind = _type(name, values, schema) if isinstance(values, Mapping) and values else "JSON"
    key = "key"
    if patterns:
        key = "VARIABLE" if any(pattern.startswith("^[A-Z") for pattern in patterns) else "NAME"
    return f"table of: {_choice(keys) if keys else key} = {kind}"


def _choice(values: list[Any]) -> str:
    return ", ".join(f"`{json.dumps(value)}`" for value in values)


def _range(field: Mapping[str, Any]) -> str:
    least, most, pattern = field.get("minimum"), field.get("maximum"), field.get("pattern", "")
    if 0 < len(pattern) <= _READABLE_PATTERN:
        return f", as `{pattern.strip('^$')}`".replace("|", "\\|")
    if least is not None and most is not None:
        return f", {least:,} to {most:,}"
    return f", at least {least:,}" if least is not None else ""
