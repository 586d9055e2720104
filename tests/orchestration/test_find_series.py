"""The product and the place that somebody names on the command line."""

from __future__ import annotations

import duckdb
import pytest

from connectors.errors import PermanentError
from orchestration.planning.history import find_series


@pytest.fixture
def db():
    with duckdb.connect() as db:
        db.execute("CREATE SCHEMA marts")
        db.execute(
            "CREATE TABLE marts.dim_item AS FROM (VALUES ('k1', 'A1', 'Tofu 250 g'), ('k2', 'A2', 'Tea'), ('k3', 'A3', 'Tea'))"
            " t(item_key, item_code, name)"
        )
        db.execute(
            "CREATE TABLE marts.dim_location AS FROM (VALUES ('l1', 'l1', 'Mitte'), ('l2', 'l1', 'Web shop'))"
            " t(location_key, stock_location_key, name)"
        )
        yield db


@pytest.mark.parametrize("item", ["A1", "a1", "k1", "Tofu 250 g", "tofu 250 G"])
@pytest.mark.parametrize("location", ["Mitte", "web shop", "l2"])
def test_items_go_by_code_key_or_name_and_places_by_where_their_stock_is(db, item, location):
    assert find_series(db, item, location) == ("k1", "l1")


@pytest.mark.parametrize(
    ("item", "location", "says"),
    [
        ("Tofu", "Mitte", "There is no item 'Tofu'; marts.dim_item lists those there are."),
        ("Tea", "Mitte", "There is more than one item 'Tea'; name it by its key in marts.dim_item, such as k2."),
        ("A1", "Atlantis", "There is no location 'Atlantis'"),
    ],
)
def test_what_is_not_there_or_more_than_once_is_said(db, item, location, says):
    with pytest.raises(PermanentError, match=says):
        find_series(db, item, location)
