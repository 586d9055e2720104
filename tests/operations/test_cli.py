"""The commands of the people who decide, as they type them."""

from __future__ import annotations

import contextlib
import io

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from operations import access, proposals
from orchestration.cli import approvals as cli
from tests.operations.shop import DAY


@pytest.fixture
def stockflow(shop):
    """`stockflow("approve", ..., by="ann")` runs a command with that person's token."""

    @contextlib.contextmanager
    def engine_factory():
        yield shop.engine

    app = typer.Typer()
    cli.register(app, engine_factory)
    tokens = {
        name: access.issue_token(shop.engine, name, label="t", actor="system:test")[1]
        for name in ("root", "ann", "eve")
    }

    def run(*words: str, by: str | None = None, token: str | None = None):
        environment = {"STOCKFLOW_TOKEN": tokens[by] if by else token, "COLUMNS": "250", "NO_COLOR": "1"}
        return CliRunner().invoke(app, words, env=environment)

    return run


@pytest.fixture
def plan(shop):
    rows = [shop.buy("A", stockout_risk=0.9), shop.buy("B"), shop.buy("C", place="S2")]
    withheld = {"item_key": "itm_x", "location_key": "loc_x", "reason": "no_supplier", "detail": "Nobody sells it."}
    proposals.save(
        shop.engine, cycle_date=DAY, frozen_hash="sha256:1", proposals=rows, withheld_skus=[withheld]
    )  # fmt: skip
    return [row["proposal_id"] for row in rows]


def test_listing_marks_high_risks_first(stockflow, plan):
    done = stockflow("proposals")
    assert done.exit_code == 0, done.output
    lines = [line for line in done.output.splitlines() if "prp_" in line]
    assert len(lines) == 3
    assert "! 90%" in lines[0]
    assert "30.00 EUR" in lines[0]
    assert "and more" in stockflow("proposals", "--limit", "1").output
    assert "Nobody sells it." in stockflow("proposals", "--withheld").output
    assert "Nothing awaits you here." in stockflow("proposals", "--cycle", "2020-01-01").output


REASON = "Order 24 of A from Baker: 3 on hand and 0 arriving last 2 of the 9 days until the delivery after it is on sale (Mon 3 Nov)."


def test_in_a_pipe_a_proposal_is_one_line_with_all_of_its_reason(stockflow, shop):
    proposals.save(
        shop.engine,
        cycle_date=DAY,
        frozen_hash="sha256:1",
        proposals=[shop.buy("A", reason=3 * REASON)],
        withheld_skus=[],
    )
    (line,) = [line for line in stockflow("proposals").output.splitlines() if "prp_" in line]
    assert 3 * REASON in line  # wider than any terminal


@pytest.mark.parametrize(("width", "beside"), [(80, False), (120, False), (250, True)])
def test_in_a_terminal_reasons_stand_where_there_is_room_to_read_them(shop, width, beside):
    row = shop.buy("A", reason=REASON)
    proposals.save(shop.engine, cycle_date=DAY, frozen_hash="sha256:1", proposals=[row], withheld_skus=[])
    screen = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=width, highlight=False)
    cli.show_proposals(screen, proposals.find(shop.engine, proposals.Filter())[0])
    shown = screen.file.getvalue()
    assert max(map(len, shown.splitlines()[:-1])) <= width
    assert (f"\n{row['proposal_id']}: {REASON}\n" in shown) != beside
    assert ("why" in shown) == beside


def test_approving_shows_the_orders_and_may_be_repeated(stockflow, plan):
    done = stockflow("approve", plan[0], plan[1], "--quantity", f"{plan[1]}=36", "--reason", "Easter", by="ann")
    assert done.exit_code == 0, done.output
    assert "Approved 2; in 1 order." in done.output
    assert "75.00 EUR" in done.output
    assert "Approved 0, 1 had been before; in 1 order." in stockflow("approve", plan[0], by="ann").output
    assert "Approved 1; in 1 order." in stockflow("approve", "--all", "--cycle", str(DAY), by="ann").output
    assert "Rejected 0." in stockflow("reject", "--all", by="ann").output


@pytest.mark.parametrize(
    ("words", "by", "message"),
    [
        (["approve", "--all"], None, "A valid token is needed"),
        (["approve", "--all"], "eve", "eve lacks the role approver"),
        (["approve"], "ann", "by their ids, or use --all"),
        (["approve", "prp_x"], "ann", "There is no proposal prp_x."),
        (["approve", "--all", "--quantity", "5"], "ann", "5 is not PROPOSAL=QUANTITY."),
        (["approve", "--all", "--max-amount", "much"], "ann", "much is not a number."),
        (["user", "create", "new"], "ann", "ann lacks the role admin"),
        (["token", "create", "root"], "ann", "ann lacks the role admin"),
        (["user", "grant", "ann", "emperor"], "root", "There is no role emperor"),
    ],
)
def test_a_refusal_is_one_sentence_and_exit_status_1(stockflow, plan, words, by, message):
    done = stockflow(*words, by=by)
    assert done.exit_code == 1
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_users_and_tokens_are_managed(stockflow, shop):
    done = stockflow("user", "create", "zoe", "--role", "approver", "--name", "Zoe", by="root")
    token = done.output.splitlines()[-1]
    assert access.authenticate(shop.engine, token).username == "zoe"
    assert stockflow("user", "grant", "zoe", "approver", "--limit", "5000EUR", by="root").exit_code == 0
    listed = stockflow("user", "list").output
    assert "approver (up to 5,000.00 EUR)" in listed
    own = stockflow("token", "create", "zoe", "--days", "30", token=token)
    assert own.exit_code == 0, own.output
    token_id = own.output.split(":")[0]
    assert token_id in stockflow("token", "list", "zoe").output
    assert token not in stockflow("token", "list").output
    assert stockflow("token", "revoke", token_id, by="root").exit_code == 0
    assert stockflow("token", "list", "zoe", token=own.output.splitlines()[-1]).exit_code == 0
    assert stockflow("token", "create", "zoe", token=own.output.splitlines()[-1]).exit_code == 1
    assert stockflow("user", "withdraw", "zoe", "approver", by="root").exit_code == 0
    assert stockflow("user", "deactivate", "zoe", by="root").exit_code == 0
    assert stockflow("token", "create", "zoe", token=token).exit_code == 1
