"""The settings of this checkout: `.env` beside docker-compose.yml fills in what the shell leaves unset.

Read once, when a command begins, into this process's environment. Every backend sees the same settings from then on,
and so does Docker Compose, which reads the file too but lets the environment come first.
"""

from __future__ import annotations

import io
import os
from collections.abc import MutableMapping
from pathlib import Path

from poolhouse.pipeline import text_files
from poolhouse.pipeline.errors import ConfigError
from poolhouse.project import ROOT

FILE = ROOT / ".env"
#: For Compose alone: it reads them itself, and no other checkout's shell should decide them.
_FOR_COMPOSE = "COMPOSE_"


def load(environment: MutableMapping[str, str] = os.environ, *, path: Path = FILE) -> None:
    """Set the variables of the file that are not set yet; nothing happens where there is no file."""
    for name, value in read(path).items():
        if not name.startswith(_FOR_COMPOSE):
            environment.setdefault(name, value)


def read(path: Path = FILE) -> dict[str, str]:
    """The variables of the file; none where there is no file.

    Raises:
        ConfigError: it may not be read, is not UTF-8, or has a line that is no variable.
    """
    try:
        if not path.is_file():
            return {}
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from None
    from dotenv import dotenv_values, parser  # noqa: PLC0415 - most checkouts have no such file

    text = text_files.read(path)
    for statement in parser.parse_stream(io.StringIO(text)):
        if statement.error:
            # Blank lines before it are counted to it.
            blank = statement.original.string.partition(statement.original.string.strip())[0]
            line = statement.original.line + blank.count("\n")
            raise ConfigError(f"{path}:{line}: neither NAME=value nor a comment; or a quotation mark is not closed")
    values = dotenv_values(stream=io.StringIO(text))
    return {name: value for name, value in values.items() if value is not None}
