"""Expressions of mappings: what they can say, and that they can say nothing else."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.files.expression import compile_condition, compile_expression
from connectors.files.functions import function_names
from connectors.files.values import ExpressionError, Kind, Scope, Value

COLUMNS = {"a": ("VARCHAR", Kind.TEXT), "n": ("DOUBLE", Kind.NUMBER), "day": ("DATE", Kind.DATE),
           "ts": ("TIMESTAMP", Kind.TIME), "Ünit price": ("VARCHAR", Kind.TEXT),
           "secret": ("VARCHAR", Kind.TEXT)}  # fmt: skip
ROW = ("' 12,5 '", "2.5", "DATE '2010-07-01'", "TIMESTAMP '2010-07-01 12:00'", "'x'", "'13085'")


def scope(**changes):
    names = {n: Value('"' + n + '"', k, columns=frozenset([n])) for n, (_, k) in COLUMNS.items()}
    return Scope(names, names, timezone="Europe/London", **{"personal": frozenset({"secret"}), **changes})


def evaluate(text, **changes):
    value = compile_expression(text, scope(**changes))
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        cells = ", ".join(f'{sql} AS "{name}"' for sql, name in zip(ROW, COLUMNS, strict=True))
        return db.execute(f"SELECT {value.sql} FROM (SELECT {cells})").fetchone()[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("upper(trim(a))", "12,5"),
        ("n * 2 + 1", 6.0),
        ("1 - n / 5", 0.5),
        ("n / 0", None),
        ("-n", -2.5),
        ("round(n / 3, 2)", 0.83),
        ("a > 3", None),  # ' 12,5 ' is no number without decimal_comma
        ("case when n > 2 then 'many' else 'few' end", "many"),
        ("coalesce(nullif(trim(a), '12,5'), 'none')", "none"),
        ("concat('R-', to_text(n), '-', to_text(4.0 * n))", "R-2.5-10"),
        ("n in (1, 2.5) and not starts_with(a, 'x')", True),
        ("n between 2 and 3 or false", True),
        ('"Ünit price" is not null', True),
        ("matches(a, '[0-9]+')", True),
        ("substr('abcdef', 2, 3)", "bcd"),
        ("to_text(to_date(ts))", "2010-07-01"),
        ("to_text(days_after(day, 2))", "2010-07-03"),
        ("to_text(to_instant(ts))", "2010-07-01 11:00:00+00"),  # summer time in London
        ("to_text(to_instant('2010/01/02 03.04', '%Y/%m/%d %H.%M', 'Asia/Shanghai'))", "2010-01-01 19:04:00+00"),
        ("to_text(to_date('31.12.2010', '%d.%m.%Y'))", "2010-12-31"),
        ("to_date('nonsense')", None),
        ("to_instant('2010-13-45 99:00')", None),
        ("to_text(to_instant('2010-01-01T00:00:00+08:00'))", "2009-12-31 16:00:00+00"),
        ("'it''s'", "it's"),
    ],
)
def test_what_expressions_give(text, expected):
    assert evaluate(text) == expected


def test_decimal_comma_is_a_setting_of_the_file():
    assert evaluate("to_number(a)", decimal_comma=True) == 12.5
    assert evaluate("to_number('1.234,50')", decimal_comma=True) == 1234.5


ATTACKS = [
    "(select 1)",
    "(select max(a) from read_csv('/etc/passwd'))",
    "read_csv('/etc/passwd')",
    "read_text('/etc/passwd')",
    "exists(select 1)",
    "a in (select content from read_text('/etc/passwd'))",
    "1; copy (select 1) to '/tmp/x'",
    "a from read_text('/etc/passwd')",
    "a from read_text('/etc/passwd') --",
    "a) from read_text('/etc/passwd') --",
    "a union select 1",
    "a where true",
    "a limit 1",
    "copy (select 1) to '/tmp/x'",
    "pragma database_list",
    "attach '/tmp/x.db'",
    "getenv('HOME')",
    "current_setting('temp_directory')",
    "query('select 1')",
    "system.main.getenv('HOME')",
    "other.upper(a)",
    "a::blob",
    "cast(a as integer)",
    "$1",
    "?",
    "*",
    "columns('a')",
    "a as b",
    "[1, 2]",
    "{'k': 1}",
    "list_transform([1], x -> x)",
    "sum(n)",
    "sum(n) over ()",
    "count(*)",
    "upper(a) filter (true)",
    "main.a",
    "a -- comment\n, a",
    "load_extension('x')",
    "repeat(a, 1000000000)",
    "nextval('s')",
    "a\x00b",
    "a collate nocase",
    "interval 1 day",
    "now()",
    "random()",
    "",
    "   ",
]


@pytest.mark.parametrize("text", ATTACKS)
def test_what_is_not_on_the_list_is_refused(text):
    with pytest.raises(ExpressionError):
        compile_expression(text, scope())


FRAGMENTS = [*ATTACKS, "a", "n", "day", "'x'", "(", ")", ",", "+", "=", "and", "upper(", "coalesce(", "case when",
             "then", "else", "end", "from", "select", "read_text('/etc/passwd')", "--",
             "/*", "*/", ";", "'", '"']  # fmt: skip


@given(st.text(max_size=60) | st.lists(st.sampled_from(FRAGMENTS), max_size=6).map(" ".join))
def test_no_text_whatever_yields_sql_that_reads_more_than_the_row(text):
    try:
        value = compile_expression(text, scope())
    except ExpressionError:
        return
    with duckdb.connect() as db:
        names = ", ".join(f'NULL::{kind} AS "{name}"' for name, (kind, _) in COLUMNS.items())
        tables = db.get_table_names(f"SELECT {value.sql}")
        assert not tables
        db.execute(f"SELECT {value.sql} FROM (SELECT {names})").fetchall()


def test_strings_keep_their_quotes():
    assert evaluate("concat('''); drop table x; --', a)").startswith("'); drop table x; --")
    assert evaluate("replace('a''b', '''', '\"')") == 'a"b'


def test_an_unknown_column_is_answered_with_those_there_are():
    with pytest.raises(ExpressionError, match=r"no column 'qty'; there are: a, n, day"):
        compile_expression("qty * 2", scope())


def test_an_unknown_function_is_answered_with_those_there_are():
    with pytest.raises(ExpressionError, match=r"no function 'uper'; there are: .*upper"):
        compile_expression("uper(a)", scope())


def test_a_condition_is_true_or_false():
    with pytest.raises(ExpressionError, match="not a condition"):
        compile_condition("n + 1", scope())


@pytest.mark.parametrize("text", ["a = day and n = a", "n > day", "case when n > 1 then 'x' else n end"])
def test_kinds_do_not_mix_silently(text):
    if text.startswith("a = day"):
        compile_condition(text, scope())
        return
    with pytest.raises(ExpressionError, match="cannot be compared or mixed"):
        compile_expression(text, scope())


def test_a_personal_column_goes_only_through_the_hash():
    with pytest.raises(ExpressionError, match="personal"):
        compile_expression("upper(secret)", scope())
    asked = scope()
    value = compile_expression("hash_customer(secret)", asked)
    assert list(asked.customer_ids.values()) == [value.sql.strip('"')]
    assert not value.columns
    with pytest.raises(ExpressionError, match="name it under `personal`"):
        compile_expression("hash_customer(a)", scope())


def test_a_pattern_that_cannot_be_read_is_named():
    with pytest.raises(ExpressionError, match="pattern"):
        compile_expression("matches(a, '(')", scope())


def test_every_function_can_be_called():
    for name in set(function_names()) - {"count"}:  # the parser takes count() for count(*)
        with pytest.raises(ExpressionError) as refused:
            compile_expression(f"{name}()", scope(allow_aggregates=True))
        assert "there is no function" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("order", '"order"'), ("at > 1", '"at"'), ("to_instant(when, '%d')", '"when"'), ("n * limit", '"limit"'),
        ("concat('é', order)", '"order"'), ("case when n > 1 then order end", '"order"'), ("coalesce(at, order, 'at')", '"at" and "order"'),
    ],
)  # fmt: skip
def test_a_column_named_by_a_word_of_sql_is_answered_with_its_quotes(text, named):
    with pytest.raises(ExpressionError, match=f"stands in double quotes, here {named}\\.$"):
        compile_expression(text, scope())


@pytest.mark.parametrize("text", ["1 +", "n)", "n order", "order by", "and", "'order' +", "é order", "select 1; drop"])
def test_quotes_are_only_advised_where_they_help(text):
    with pytest.raises(ExpressionError) as refused:
        compile_expression(text, scope())
    advised = str(refused.value).partition(", here ")[2].rstrip(".")
    assert advised in ("", '"and"')
