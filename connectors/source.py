"""What a connector offers to the scheduler: named streams to pull, nothing more.

A connector folder's `__init__` has `source(...) -> Source` (pull) and, where it can write, `target(...)` (push): an
object with the methods of `operations.outbox.DeliveryTarget`, which it satisfies without importing it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from connectors.extract import Extract

Pull = Callable[[str | None], Iterable[Extract]]
"""Given the stream's stored cursor (None at first) yields extracts until the source has no more for now."""


@dataclass(frozen=True)
class Source:
    """`name` is the `source` of every record it lands. `streams` are pulled in order: master data first.

    `assigns_items`: its products become items of ours when nothing matches them. A source without that right only
    matches (by GTIN or a declared pair); what does not match waits in the unmatched queue. `declared_pairs` gives
    (source, code, other source, other code) of products that the system says are the same.
    `locations_of` names the source whose location codes this one uses.
    """

    name: str
    streams: Mapping[str, Pull]
    assigns_items: bool = False
    locations_of: str | None = None
    declared_pairs: Callable[[], Iterable[tuple[str, str, str, str]]] | None = None
