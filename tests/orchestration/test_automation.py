"""What is requested by itself between two cycles: once for each update, and never while a blocking check fails.

The conditions are evaluated as the daemon does, tick by tick, on what the instance knows.
"""

from __future__ import annotations

import dagster as dg
import pytest

from orchestration.assets.ingestion import file_key, raw_key
from orchestration.cli.project import prepare_project
from orchestration.definitions import build_definitions
from orchestration.settings import Business, SandboxSource, Settings

PUBLISHED = dg.AssetKey(["published", "marts"])
MART = dg.AssetKey(["fct_cash_flow_daily"])
"""One that no other mart is made from; `DEMAND` has a blocking check, and marts of its own."""
DEMAND = dg.AssetKey(["fct_demand_daily"])
ORDERS = dg.AssetKey(["landing", "order_line"])


class Ticks:
    """`tick()` returns the asset keys that are requested now."""

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance):
        self.definitions, self.instance, self._cursor = definitions, instance, None

    def tick(self) -> set[dg.AssetKey]:
        result = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self._cursor)
        self._cursor = result.cursor
        return {key for key in self._keys() if result.get_num_requested(key)}

    def _keys(self):
        graph = self.definitions.get_repository_def().asset_graph
        return [key for key in graph.get_all_asset_keys() if graph.get(key).automation_condition]

    def made(self, *keys: dg.AssetKey) -> None:
        for key in keys:
            self.instance.report_runless_asset_event(dg.AssetMaterialization(key))

    def checked(self, key: dg.AssetCheckKey, passed: bool = True) -> None:
        self.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=key.asset_key, check_name=key.name, passed=passed, severity=dg.AssetCheckSeverity.ERROR,
                metadata={},
            )
        )  # fmt: skip


@pytest.fixture(scope="module")
def definitions(tmp_path_factory):
    prepare_project()
    home = tmp_path_factory.mktemp("home")
    source = SandboxSource(connector="sandbox", url="http://127.0.0.1:1", token="t")
    return build_definitions(Settings(home, "x", Business(sources=(source,))))


@pytest.fixture
def ticks(definitions):
    """After a first whole cycle."""
    with dg.DagsterInstance.ephemeral() as instance:
        made = Ticks(definitions, instance)
        graph = definitions.get_repository_def().asset_graph
        made.made(*(key for key in graph.toposorted_asset_keys if graph.get(key).group_name != "files"))
        for key in graph.asset_check_keys:
            made.checked(key)
        made.tick()
        assert made.tick() == set()
        yield made


def test_marts_made_out_of_schedule_are_published_once(ticks):
    ticks.made(MART)
    assert ticks.tick() == {PUBLISHED}
    assert ticks.tick() == set(), "it was asked for: a failure is not asked for again and again"
    ticks.made(MART)
    assert ticks.tick() == {PUBLISHED}


def test_a_cycle_that_publishes_itself_is_not_published_again(ticks):
    ticks.made(MART, PUBLISHED)
    assert ticks.tick() == set()
    assert ticks.tick() == set()


def test_files_that_arrived_go_all_the_way_in_one_request(ticks):
    ticks.made(file_key("orders"))
    requested = ticks.tick()
    assert {ORDERS, MART, PUBLISHED} <= requested
    assert dg.AssetKey(["forecast", "quantiles"]) not in requested, "planning waits for the morning"
    assert ticks.tick() == set()


def test_what_is_pulled_every_hour_waits_for_the_morning(ticks):
    ticks.made(raw_key("sandbox_tills", "sales"))
    graph = ticks.definitions.get_repository_def().asset_graph
    ticks.made(*(key for key in graph.get_all_asset_keys() if graph.get(key).group_name == "raw"))
    assert ticks.tick() == set()


def test_marts_that_fail_a_blocking_check_are_not_published(ticks):
    check = dg.AssetCheckKey(DEMAND, "demand_reaches_the_evening_before")
    ticks.made(DEMAND)
    ticks.checked(check, passed=False)
    assert PUBLISHED not in ticks.tick()
    assert PUBLISHED not in ticks.tick()
    ticks.checked(check)
    assert PUBLISHED in ticks.tick()


def test_what_is_made_from_a_changed_mart_is_made_and_published_in_one_request(ticks):
    ticks.made(DEMAND)
    requested = ticks.tick()
    assert {dg.AssetKey(["fct_forecast_accuracy"]), dg.AssetKey(["rpt_forecast_quality"]), PUBLISHED} <= requested
    assert ticks.tick() == set()
