"""`--payload`: JSON on the command line, in a file or on standard input."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from poolhouse.client import schema
from poolhouse.pipeline import json_values, text_files
from poolhouse.pipeline.errors import ConfigError


def read(given: str) -> Any:
    """Return the value that `--payload` names. Raises `ConfigError`."""
    if given == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise ConfigError("--payload -: standard input is a terminal; pipe JSON into the command")
        try:
            return schema.written(sys.stdin.read(), what="standard input")
        except UnicodeDecodeError as error:
            raise ConfigError(f"standard input is not UTF-8: {error}") from None
    if given.startswith("@"):
        path = Path(given[1:])
        if not path.is_file():
            raise ConfigError(f"--payload {given}: there is no file {path}")
        return schema.written(text_files.read(path), what=str(path))
    try:
        return schema.written(given, what="--payload")
    except ConfigError:
        if os.path.isfile(given):
            raise ConfigError(f"--payload {given}: the payload in a file is --payload @{given}") from None
        raise


def read_object(given: str) -> dict[str, Any]:
    """As `read`, for what must be a JSON object. Raises `ConfigError`."""
    value = read(given)
    if not isinstance(value, dict):
        raise ConfigError(f'--payload: a payload is a JSON object, such as {{"key": 1}}, not {json_values.kind(value)}')
    return value
