"""How many there are of something, as people say it."""

from __future__ import annotations


def how_many(number: int, what: str, several: str = "") -> str:
    """`number` of `what`, a noun and whatever depends on it; `several` is what more than one are, if not `what` and an s.

    >>> how_many(1, "day"), how_many(1234, "day"), how_many(2, "row was left out", "rows were left out")
    ('1 day', '1,234 days', '2 rows were left out')
    """
    return f"{number:,} {what if number == 1 else several or what + 's'}"
