"""Exit codes of all commands."""

from __future__ import annotations

#: Done.
OK = 0
#: It ran and failed: tasks failed for good, a service did not answer.
FAILED = 1
#: Wrong arguments or environment: nothing was done.
USAGE = 2
