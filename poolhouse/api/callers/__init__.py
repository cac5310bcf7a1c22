"""Who calls an API that everybody can reach, what they may call, and how often."""

from poolhouse.api.callers.check import CallerCheck

__all__ = ["CallerCheck"]
