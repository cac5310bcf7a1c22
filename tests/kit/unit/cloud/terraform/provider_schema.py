"""Renews provider_schema.json: `python provider_schema.py WHEEL…`, with wheels of cdktn-provider-google(-beta).

Those are bindings that are generated from what `terraform providers schema -json` prints, so they know each argument
of each resource: its name, whether it is required, and whether it is a block. What the export uses is kept.
"""

from __future__ import annotations

import io
import json
import re
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")
_FIELD = re.compile(r"(\w+): \{$")
_LINK = re.compile(r"\{@link \S+#(\w+) ")


def read(wheel: Path, types: set[str]) -> tuple[str, dict[str, Any]]:
    """Return the provider and its version, and the schemas of some resources and data sources."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
        bundle = archive.read(next(name for name in names if name.endswith(".jsii.tgz")))
    provider = re.search(r"bindings for (\S+) provider version (\S+)", metadata)
    assert provider is not None, wheel
    found: dict[str, Any] = {}
    with tarfile.open(fileobj=io.BytesIO(bundle)) as sources:
        texts: dict[str, str] = {}
        for member in sources:
            folder = member.name.removeprefix("package/lib/").split("/")[0].replace("-", "_")
            name = folder if folder.startswith(("google_", "data_google_")) else f"google_{folder}"
            if name in types and member.name.endswith(("index.js", "index.d.ts")):
                extracted = sources.extractfile(member)
                assert extracted is not None
                texts[f"{name} {member.name.rpartition('.')[2]}"] = extracted.read().decode()
                if f"{name} js" in texts and f"{name} ts" in texts:
                    found[name] = _schema(texts[f"{name} js"], texts[f"{name} ts"])
    return f"{provider[1]} {provider[2]}", found


def _schema(code: str, declarations: str) -> dict[str, Any]:
    required = _required(declarations)
    functions = _functions(code)
    config = next(name for name in required if name.endswith("Config"))
    return _node(functions["synthesizeHclAttributes"], config, functions, required)


def _functions(code: str) -> dict[str, list[tuple[str, bool, str, str]]]:
    """By function: each field, whether it is a block, its type, and the function that its value is made with."""
    found: dict[str, list[tuple[str, bool, str, str]]] = {}
    function = field = made = ""
    is_block = False
    for line in code.splitlines():
        words = line.strip()
        if line.startswith("function ") and "ToHclTerraform(" in line:
            function = line.removeprefix("function ").partition("(")[0]
        elif words.startswith("synthesizeHclAttributes()"):
            function = "synthesizeHclAttributes"
        elif opened := _FIELD.fullmatch(words):
            field = opened[1]
        elif words.startswith("value: "):
            made = next((name for name in re.findall(r"\w+", words) if name.endswith("ToHclTerraform")), "")
        elif words.startswith("isBlock: "):
            is_block = words == "isBlock: true,"
        elif words.startswith("storageClassType: "):
            kind = words.split('"')[1]
            found.setdefault(function, []).append((field, is_block, kind, made))
    return found


def _required(declarations: str) -> dict[str, list[str]]:
    """By interface: the fields that it must have."""
    found: dict[str, list[str]] = {}
    interface = field = ""
    for line in declarations.splitlines():
        if line.startswith("export interface "):
            interface = line.split()[2]
            found[interface] = []
        elif line.startswith("export "):
            interface = ""
        elif linked := _LINK.search(line):
            field = linked[1]
        elif interface and re.match(r"    readonly \w+:", line):
            found[interface].append(field)
    return found


def _node(
    fields: list[tuple[str, bool, str, str]],
    interface: str,
    functions: dict[str, list[tuple[str, bool, str, str]]],
    required: dict[str, list[str]],
) -> dict[str, Any]:
    node: dict[str, Any] = {"required": sorted(required.get(interface, ())), "attributes": {}, "blocks": {}}
    for name, is_block, kind, made in fields:
        if is_block:
            struct = made.removesuffix("ToHclTerraform")
            node["blocks"][name] = _node(functions.get(made, []), struct[0].upper() + struct[1:], functions, required)
        else:
            node["attributes"][name] = kind
    return node


def main(wheels: list[Path]) -> None:
    """Write the file anew."""
    kept = json.loads(FILE.read_text(encoding="utf-8"))
    types = {name for names in kept["resources"].values() for name in names}
    resources: dict[str, dict[str, Any]] = {}
    sources = {}
    for wheel in wheels:
        provider, found = read(wheel, types - {name for known in resources.values() for name in known})
        resources[provider] = dict(sorted(found.items()))
        sources[provider] = f"PyPI, {wheel.name}"
    text = json.dumps({"sources": sources, "resources": resources}, indent=1, sort_keys=True)
    FILE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
