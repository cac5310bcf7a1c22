"""The commands of a project.

In its tasks.py:

from poolhouse.commands import collection

ns = collection()
"""

from poolhouse.commands.invoke_tasks import collection

__all__ = ["collection"]
