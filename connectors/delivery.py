"""What became of a document that was sent to another system."""

from __future__ import annotations

from typing import NamedTuple


class DeliveryResult(NamedTuple):
    """`status` is one of

    delivered   the target has it; `reference` is its own number for it
    rejected    the target refused it and will again; `reason` says why, for a person
    unknown     it may or may not have been processed: look it up after the target's longest processing time
    not_sent    it certainly was not processed and may be sent again
    """

    status: str
    reference: str | None = None
    reason: str | None = None
