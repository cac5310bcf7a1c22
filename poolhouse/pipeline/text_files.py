"""Reading the text files that people write."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from poolhouse.pipeline.errors import ConfigError


def read(path: Path) -> str:
    """Return the text of a UTF-8 file, without the byte order mark that some editors of Windows put before it.

    Raises:
        ConfigError: it is not there, may not be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: can't be read: it is not UTF-8 ({error})") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file. Raises as `read`, and where it is no TOML."""
    try:
        return tomllib.loads(read(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from None
