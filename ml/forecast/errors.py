"""What forecasting refuses, each in one sentence that says what to do."""

from __future__ import annotations


class ForecastError(Exception):
    """The input or the parameters cannot be used; the message says what to change."""


class ArtefactError(ForecastError):
    """A stored model is incomplete, altered or from another version; train it again."""


class OtherVersionError(ArtefactError):
    """A stored model is whole, but another version of the code wrote it in another format."""
