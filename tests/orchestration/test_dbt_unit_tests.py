"""dbt's unit tests (dbt_project/models/_unit_tests.yml): logic by example, outside the daily build."""

from __future__ import annotations

import yaml
from dbt.cli.main import dbtRunner

from connectors.records import OrderLine
from orchestration.settings import DBT_PROJECT
from tests.orchestration.small_shop import SmallShop, at, on


def test_the_models_do_what_their_examples_say(tmp_path):
    shop = SmallShop(tmp_path)
    shop.add(OrderLine, order_code="1", line_code="1", location_code="S1", item_code="A", ordered_at=at(1), quantity=1,
             unit_price=1, currency="EUR")  # fmt: skip
    shop.build(on(2))  # dbt takes the types of what it is given from built models
    done = dbtRunner().invoke(
        ["test", "--quiet", "--select", "test_type:unit", "--project-dir", str(DBT_PROJECT),
         "--profiles-dir", str(DBT_PROJECT), "--target-path", str(tmp_path / "target")]
    )  # fmt: skip
    said = {result.node.name: (result.status, result.message) for result in done.result}
    assert {name: told for name, told in said.items() if told[0] != "pass"} == {}
    examples = yaml.safe_load((DBT_PROJECT / "models" / "_unit_tests.yml").read_text())["unit_tests"]
    assert set(said) == {example["name"] for example in examples}
