"""The fixtures of our own tests are those that users get."""

from __future__ import annotations

pytest_plugins = ["poolhouse.testing.plugin"]
