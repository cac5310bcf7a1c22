"""Hooks: code of a project that runs around every attempt and at the turns of a task's life."""

from poolhouse.pipeline.hooks.failures import failures
from poolhouse.pipeline.hooks.hook import AttemptEnd, AttemptInfo, AttemptOutcome, Hook, TaskInfo
from poolhouse.pipeline.hooks.hooks import Chain, Hooks
from poolhouse.pipeline.hooks.loading import load

__all__ = ["AttemptEnd", "AttemptInfo", "AttemptOutcome", "Chain", "Hook", "Hooks", "TaskInfo", "failures", "load"]
