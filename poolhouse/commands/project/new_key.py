"""`invoke new-key NAME`: an API key for one caller, and the table of pipeline.toml that lets it in."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping, Sequence
from typing import get_args

from pydantic import TypeAdapter, ValidationError

from poolhouse.pipeline.config import api_access
from poolhouse.pipeline.config.api_access import ApiKey, Scope
from poolhouse.pipeline.config.base import Name
from poolhouse.pipeline.errors import ConfigError
from poolhouse.pipeline.exit_codes import OK

#: Random bytes of a key.
BYTES = 24
#: How keys begin, so that scanners and people recognise one.
PREFIX = "phk_"


def run(name: str, *, may: str = "submit", per_minute: int = 0, per_day: int = 0) -> int:
    """Print a new key to standard output, and what goes into pipeline.toml to standard error.

    Args:
        name: who gets it.
        may: scopes, separated by commas.
        per_minute: most calls in a minute; 0: any number.
        per_day: most calls in a UTC day; 0: any number.

    Raises:
        ConfigError: a name, scope or number can't be.
    """
    key = f"{PREFIX}{name}_{secrets.token_urlsafe(BYTES)}"
    numbers = {"per_minute": per_minute, "per_day": per_day}
    text = table(name, key, may=[word.strip() for word in may.split(",")], numbers=numbers)
    sys.stderr.write(f"{text}\nAdd this to pipeline.toml, or below [stages.STAGE], and deploy. The key, shown once:\n")
    sys.stderr.flush()
    print(key)
    return OK


def table(name: str, key: str, *, may: Sequence[str], numbers: Mapping[str, int]) -> str:
    """Return the table of pipeline.toml that lets a key in. Raises `ConfigError` as `run`.

    Args:
        numbers: fields that limit it, by name; 0: left out.
    """
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        raise ConfigError(
            f"{name!r} can't name a key: up to 30 lowercase letters, digits and '-', beginning with a letter"
        ) from None
    unknown = [word for word in may if word not in get_args(Scope)]
    if unknown:
        raise ConfigError(f"--may {unknown[0]!r}: a key may {', '.join(get_args(Scope))}, or several of them")
    try:
        given = {field: number for field, number in numbers.items() if number}
        made = ApiKey.model_validate({"sha256": api_access.digest(key), "may": may, **given})
    except ValidationError as error:
        field = str(error.errors()[0]["loc"][0])
        raise ConfigError(f"--{field.replace('_', '-')} {given[field]}: {error.errors()[0]['msg']}") from None
    scopes = ", ".join(f'"{scope}"' for scope in made.may)
    lines = [f"[deploy.keys.{name}]", f'sha256 = "{made.sha256}"', f"may = [{scopes}]"]
    return "\n".join([*lines, *(f"{field} = {number}" for field, number in given.items())]) + "\n"
