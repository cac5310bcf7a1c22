"""What can go wrong on the way to Google Cloud."""

from __future__ import annotations

from poolhouse.pipeline.errors import PoolhouseError


class CloudError(PoolhouseError):
    """A deploy, destroy or reading failed: the text has gcloud's message and what to do."""


class GcloudFailed(CloudError):
    """One gcloud command ended with an error.

    Args:
        command: the command line, as a person would type it.
        output: what gcloud wrote to standard error.
        advice: what to do about it; empty where gcloud's message says it all.
    """

    def __init__(self, command: str, output: str, *, advice: str = "") -> None:
        """Put the three parts into one text."""
        parts = [f"this command failed:\n  {command}", output.strip()]
        if advice:
            parts.append(f"What to do: {advice}")
        super().__init__("\n".join(parts))
        self.command, self.output, self.advice = command, output, advice


class Refused(CloudError):
    """The plan can't be carried out as it is (a field that can't change, a name that is taken)."""
