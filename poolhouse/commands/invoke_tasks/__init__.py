"""The commands: `./invoke --list`. Each is a few lines: it imports what it needs, so that the others start fast."""

from poolhouse.commands.invoke_tasks.collection import collection

__all__ = ["collection"]
