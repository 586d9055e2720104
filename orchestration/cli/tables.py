"""Where tables are printed.

Belongs here: what depends on the terminal that they are printed to, or on there being none. Does not belong here: which tables there
are.
"""

from __future__ import annotations

from rich.console import Console

_UNCUT = 100_000
"""Columns of what has none, such as a pipe or a file."""


def table_console() -> Console:
    """A console whose tables are as wide as the terminal, and in a pipe or a file as wide as what they hold: there a row
    is a line, and nothing of it is cut or folded."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_UNCUT)
