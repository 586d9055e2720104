"""Numbers with a decimal comma, such as 12,50 and 1.234,50: how a file of them is known, and how one is read.

Belongs here: the rule, as patterns that DuckDB and Python read alike. Does not belong here: which texts of a file are
numbers.

1,250 may be a thousand and more or one and a quarter, and so may 1.250. A file says which by its other numbers, for
whoever wrote it wrote all of them in one way: a number that can only be meant with a decimal comma tells it, and one with
a decimal point, or that could be one, leaves it open.
"""

from __future__ import annotations

from collections.abc import Callable

_EXPONENT = r"([eE][+-]?[0-9]+)?"

WITH_COMMA = rf"[+-]?(([0-9]+|[0-9]{{1,3}}(\.[0-9]{{3}})+)(,[0-9]+)?|,[0-9]+){_EXPONENT}"
"""What a number may look like where the comma is the decimal mark, with points between thousands or without."""

_ONLY_WITH_COMMA = rf"[+-]?([0-9]{{1,3}}(\.[0-9]{{3}})+,[0-9]+|[0-9]*,([0-9]{{1,2}}|[0-9]{{4,}})|(0[0-9]*|[1-9][0-9]{{3,}})?,[0-9]{{3}}){_EXPONENT}"
_WITH_POINT = (
    rf"[+-]?([0-9]+\.|([0-9]+|[0-9]{{1,3}}(,[0-9]{{2,3}})+)?\.[0-9]+|[0-9]{{1,3}}(,[0-9]{{2,3}}){{2,}}){_EXPONENT}"
)


def tells_decimal_comma(has: Callable[[str], bool]) -> bool:
    """Whether the numbers of a file are written with a decimal comma beyond doubt; `has` says whether the whole of any of
    them, without the blanks around it, is a match of a pattern."""
    return has(_ONLY_WITH_COMMA) and not has(_WITH_POINT)


def sql_with_point(text: str) -> str:
    """SQL of the SQL `text`, a number with a decimal comma, as DuckDB reads numbers; null where points are not between
    thousands."""
    # The pattern is slow, and few numbers have a point.
    fits = f"(NOT contains({text}, '.') OR regexp_full_match(trim({text}), '{WITH_COMMA}'))"
    return f"CASE WHEN {fits} THEN replace(replace({text}, '.', ''), ',', '.') END"
