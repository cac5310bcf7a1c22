"""The fixtures of our own tests are those that users get."""

pytest_plugins = ["poolhouse.testing.plugin"]
