"""Why a transform, or a message in it, failed."""

from __future__ import annotations


class TransformError(Exception):
    """A transform that is not valid, or a message that it could not transform; the text is for the API's caller."""


class UnavailableTransformError(TransformError):
    """A transform that can't be run here: its engine is not installed, or nothing stands in for the model."""
