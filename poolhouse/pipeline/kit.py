"""The kit itself: its version, and the checkout that it may run from."""

from __future__ import annotations

import re
from importlib.metadata import distribution
from pathlib import Path

#: The checkout that this code is in; of an installed kit it has no pyproject.toml.
CHECKOUT = Path(__file__).resolve().parents[2]


def is_checkout() -> bool:
    """Whether this code runs from a checkout of the kit."""
    return (CHECKOUT / "poolhouse_pubsub" / "pyproject.toml").is_file()


def version() -> str:
    """Return the version of this kit."""
    if not is_checkout():
        return distribution("poolhouse").version
    text = (CHECKOUT / "poolhouse_pubsub" / "version.py").read_text(encoding="utf-8")
    found = re.search(r'__version__ = "([^"]+)"', text)
    assert found is not None
    return found[1]
