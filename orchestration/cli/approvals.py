"""Commands of the people who decide: list, approve and reject proposals; manage users and their tokens.

Belongs here: options and tables. Does not belong here: any rule; each command calls one function of `operations`. Who
is asking is known by their token (STOCKFLOW_TOKEN), on the command line as over HTTP.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from ml.wording import how_many
from operations import access, orders
from operations import approvals as decisions
from operations import proposals as plans
from operations.errors import Invalid, OperationsError
from operations.proposals import Filter
from orchestration.cli.tables import table_console

EngineFactory = Callable[[], AbstractContextManager[Engine]]
TokenFactory = Callable[[], str | None]

Token = Annotated[str | None, typer.Option(envvar="STOCKFLOW_TOKEN", help="Your API token", show_envvar=True)]
Ids = Annotated[list[str] | None, typer.Argument(help="Proposal ids")]
Everything = Annotated[bool, typer.Option("--all", help="Every open proposal that the other options find")]
CycleDate = Annotated[dt.datetime | None, typer.Option("--cycle", formats=["%Y-%m-%d"], help="Only this cycle")]
Kind = Annotated[str | None, typer.Option(help="buy, transfer or markdown")]
Supplier = Annotated[str | None, typer.Option(help="Supplier key")]
Place = Annotated[str | None, typer.Option("--location", help="Location key")]
Risk = Annotated[float | None, typer.Option(min=0, max=1, help="At least this stock-out risk")]
Reason = Annotated[str | None, typer.Option(help="Why")]

HIGH_RISK = 0.3
_REASON_WIDTH = 40
"""Narrower than this, a sentence becomes a ladder of words."""
_ANY_WIDTH = 10_000


def register(app: typer.Typer, engine_factory: EngineFactory, default_token: TokenFactory = lambda: None) -> None:
    """Adds the commands to the root application. `engine_factory` opens the operational database for the length of one
    command; `default_token` is asked when no token is given."""
    say = table_console()

    def who(engine: Engine, token: str | None) -> access.Principal:
        return access.authenticate(engine, token or default_token())

    @app.command()
    @_told
    def proposals(
        cycle: CycleDate = None,
        status: Annotated[
            str, typer.Option(help="proposed, approved, rejected, superseded, ordered or any")
        ] = "proposed",
        kind: Kind = None,
        supplier: Supplier = None,
        location: Place = None,
        min_risk: Risk = None,
        limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
        withheld: Annotated[bool, typer.Option(help="What could not be planned instead, and why")] = False,
    ) -> None:
        """Lists what awaits approval, the highest stock-out risk first."""
        on = cycle.date() if cycle else None
        with engine_factory() as engine:
            if withheld:
                say.print(_withheld_table(plans.find_withheld(engine, on)))
                return
            where = Filter(on, None if status == "any" else status, kind, None, location, supplier, min_risk)
            rows, more = plans.find(engine, where, limit=limit)
            show_proposals(say, rows)
            if more:
                say.print(f"… and more: the first {limit} are shown (--limit).")

    @app.command()
    @_told
    def approve(
        ids: Ids = None,
        everything: Everything = False,
        cycle: CycleDate = None,
        kind: Kind = None,
        supplier: Supplier = None,
        location: Place = None,
        min_risk: Risk = None,
        max_amount: Annotated[str | None, typer.Option(help="At most this amount each")] = None,
        quantity: Annotated[
            list[str] | None, typer.Option(help="Another quantity: PROPOSAL=QUANTITY, whole packs; needs --reason")
        ] = None,
        reason: Reason = None,
        token: Token = None,
    ) -> None:
        """Approves proposals by their ids, or with --all those that the options find; their orders go out next."""
        where = _where(ids, everything, cycle, kind, supplier, location, min_risk, max_amount)
        with engine_factory() as engine:
            done = decisions.approve(
                engine, who(engine, token), ids=ids or None, where=where, quantities=_quantities(quantity or []),
                reason=reason, via="cli",
            )  # fmt: skip
            say.print(_sum_up("Approved", done))
            keys = set(done.documents)
            shown = [row for row in orders.find(engine, limit=1000) if row["document_key"] in keys]
            if shown:
                say.print(order_table(shown))

    @app.command()
    @_told
    def reject(
        ids: Ids = None,
        everything: Everything = False,
        cycle: CycleDate = None,
        kind: Kind = None,
        supplier: Supplier = None,
        location: Place = None,
        min_risk: Risk = None,
        reason: Reason = None,
        token: Token = None,
    ) -> None:
        """Rejects proposals by their ids, or with --all those that the options find."""
        where = _where(ids, everything, cycle, kind, supplier, location, min_risk, None)
        with engine_factory() as engine:
            done = decisions.reject(engine, who(engine, token), ids=ids or None, where=where, reason=reason, via="cli")
            say.print(_sum_up("Rejected", done))

    user = typer.Typer(help="Users and their roles", no_args_is_help=True)
    app.add_typer(user, name="user")

    def admin(engine: Engine, token: str | None) -> str:
        found = who(engine, token)
        found.need("admin")
        return found.actor

    @user.command("list")
    @_told
    def list_users() -> None:
        """Lists users and their roles."""
        with engine_factory() as engine:
            table = Table("user", "name", "active", "roles")
            for row in access.users(engine):
                roles = ", ".join(_role(role) for role in row["roles"])
                table.add_row(row["username"], row["display_name"] or "", "yes" if row["is_active"] else "no", roles)
            say.print(table)

    @user.command("create")
    @_told
    def create_user(
        username: str,
        role: Annotated[list[str] | None, typer.Option(help="viewer, planner, approver or admin")] = None,
        name: Annotated[str | None, typer.Option(help="Display name")] = None,
        token: Token = None,
    ) -> None:
        """Adds a user and prints their first token, once."""
        with engine_factory() as engine:
            actor = admin(engine, token)
            access.create_user(engine, username, role or ["viewer"], display_name=name, actor=actor)
            _show_token(say, *access.issue_token(engine, username, label="first", actor=actor))

    @user.command("grant")
    @_told
    def grant(
        username: str,
        role: str,
        limit: Annotated[str | None, typer.Option(help="Most an approver may approve, as 5000EUR")] = None,
        token: Token = None,
    ) -> None:
        """Gives a role, or changes an approver's limit."""
        with engine_factory() as engine:
            access.grant(engine, username, role, limit=_limit(limit), actor=admin(engine, token))
            say.print(f"{username} has the role {role}.")

    @user.command("withdraw")
    @_told
    def withdraw(username: str, role: str, token: Token = None) -> None:
        """Takes a role away."""
        with engine_factory() as engine:
            access.withdraw(engine, username, role, actor=admin(engine, token))
            say.print(f"{username} no longer has the role {role}.")

    @user.command("deactivate")
    @_told
    def deactivate(username: str, token: Token = None) -> None:
        """Shuts a user out at once."""
        with engine_factory() as engine:
            access.deactivate(engine, username, actor=admin(engine, token))
            say.print(f"{username} is shut out.")

    @user.command("link")
    @_told
    def link(
        username: str,
        system: Annotated[str, typer.Argument(help="Where they are known by another name: slack")],
        login: Annotated[str, typer.Argument(help="Their id there; Slack's profile menu copies it (Copy member ID)")],
        token: Token = None,
    ) -> None:
        """Says who a user is in another system, so that they can decide from there."""
        with engine_factory() as engine:
            access.link_login(engine, username, system, login, actor=admin(engine, token))
            say.print(f"{login} in {system} is {username}.")

    @user.command("unlink")
    @_told
    def unlink(system: str, login: str, token: Token = None) -> None:
        """Takes such a name away."""
        with engine_factory() as engine:
            access.unlink_login(engine, system, login, actor=admin(engine, token))
            say.print(f"Nobody is known as {login} in {system}.")

    tokens = typer.Typer(help="API tokens", no_args_is_help=True)
    app.add_typer(tokens, name="token")

    @tokens.command("list")
    @_told
    def list_tokens(username: Annotated[str | None, typer.Argument()] = None) -> None:
        """Lists tokens; never the tokens themselves."""
        with engine_factory() as engine:
            table = Table("token id", "user", "label", "created", "expires", "revoked", "last used")
            for row in access.tokens(engine, username):
                times = [_when(row[n]) for n in ("created_at", "expires_at", "revoked_at", "last_used_at")]
                table.add_row(row["token_id"], row["username"], row["label"], *times)
            say.print(table)

    @tokens.command("create")
    @_told
    def create_token(
        username: str,
        label: Annotated[str, typer.Option(help="What it is for")] = "command line",
        days: Annotated[int | None, typer.Option(min=1, help="Days until it expires")] = None,
        token: Token = None,
    ) -> None:
        """Makes a token and prints it, once: your own, or as an administrator anybody's."""
        with engine_factory() as engine:
            asking = who(engine, token)
            if asking.username != username:
                asking.need("admin")
            valid_for = None if days is None else dt.timedelta(days=days)
            made = access.issue_token(engine, username, label=label, valid_for=valid_for, actor=asking.actor)
            _show_token(say, *made)

    @tokens.command("revoke")
    @_told
    def revoke_token(token_id: str, token: Token = None) -> None:
        """Makes a token useless at once."""
        with engine_factory() as engine:
            access.revoke_token(engine, token_id, actor=admin(engine, token))
            say.print(f"{token_id} is revoked.")


# -- Tables ------------------------------------------------------------------------------------------------------------


def show_proposals(say: Console, rows: list[dict[str, Any]]) -> None:
    """Proposals as people read them: their reasons in the last column, or below, each on lines of its own, where that would
    be narrow."""
    bare = _proposal_table(rows, reasons=False)
    room = say.width - say.measure(bare, options=say.options.update(width=_ANY_WIDTH)).maximum
    if room >= _REASON_WIDTH:
        say.print(_proposal_table(rows, reasons=True))
        return
    say.print(bare)
    for row in rows:
        say.print(f"{row['proposal_id']}: {row['reason']}", markup=False, soft_wrap=True)


def _proposal_table(rows: list[dict[str, Any]], *, reasons: bool) -> Table:
    """A high stock-out risk is marked."""
    table = Table(title=None if rows else "Nothing awaits you here.")
    for name, how in (
        ("proposal", {"no_wrap": True}), ("item", {}), ("location", {}), ("from", {}),
        ("quantity", {"justify": "right"}), ("amount", {"justify": "right"}), ("expected", {"no_wrap": True}), ("risk", {"justify": "right"}),
        *([("why", {})] if reasons else []),
    ):  # fmt: skip
        table.add_column(name, **how)
    for row in rows:
        risk = row["stockout_risk"]
        mark = "" if risk is None else f"[bold red]! {risk:.0%}[/]" if risk >= HIGH_RISK else f"{risk:.0%}"
        table.add_row(
            row["proposal_id"], row["item_name"], row["location_name"],
            row["supplier_name"] or row["from_location_key"] or "",
            f"{_plain(row['approved_quantity'] or row['quantity'])} {row['unit']}",
            "" if row["amount"] is None else f"{row['approved_amount'] or row['amount']:,.2f} {row['currency']}",
            "" if row["expected_on"] is None else row["expected_on"].isoformat(), mark, *([row["reason"]] if reasons else []),
        )  # fmt: skip
    return table


def order_table(rows: list[dict[str, Any]]) -> Table:
    """Purchase orders as people read them."""
    table = Table("order", "supplier", "location", "expected", "amount", "status")
    for row in rows:
        table.add_row(
            f"PO-{row['number']:06d}", row["supplier_name"], row["location_name"], str(row["expected_on"] or ""),
            f"{row['amount']:,.2f} {row['currency']}", row["status"],
        )  # fmt: skip
    return table


def _withheld_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(
        "item", "location", "reason", "value at risk", "detail", title=None if rows else "Nothing is withheld."
    )
    for row in rows:
        value = "" if row["value_at_risk"] is None else f"{row['value_at_risk']:,.2f} {row['currency'] or ''}"
        table.add_row(row["item_key"], row["location_key"], row["reason"], value, row["detail"])
    return table


def _sum_up(verb: str, done: decisions.Decided) -> str:
    text = f"{verb} {len(done.decided)}"
    if done.already:
        text += f", {len(done.already)} had been before"
    if done.documents:
        text += f"; in {how_many(len(done.documents), 'order')}"
    return text + "."


def _show_token(say: Console, token_id: str, token: str) -> None:
    say.print(f"{token_id}: keep this token, it is not shown again.")
    say.print(token, soft_wrap=True)


def _role(role: dict[str, Any]) -> str:
    limit = role["amount_limit"]
    return role["role"] if limit is None else f"{role['role']} (up to {limit:,.2f} {role['currency']})"


def _when(moment: dt.datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _plain(value: Decimal) -> str:
    return f"{value.normalize():f}"


# -- Options -----------------------------------------------------------------------------------------------------------


def _told(command: Callable[..., None]) -> Callable[..., None]:
    """A refusal is one sentence on stderr and exit status 1."""

    @functools.wraps(command)
    def told(*args: Any, **options: Any) -> None:
        try:
            command(*args, **options)
        except OperationsError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from error

    return told


def _where(
    ids: list[str] | None,
    everything: bool,
    cycle: dt.datetime | None,
    kind: str | None,
    supplier: str | None,
    location: str | None,
    min_risk: float | None,
    max_amount: str | None,
) -> Filter | None:
    if bool(ids) == everything:
        raise Invalid("Name proposals by their ids, or use --all with options that find them.")
    if ids:
        return None
    most = None if max_amount is None else _decimal(max_amount)
    return Filter(cycle.date() if cycle else None, None, kind, None, location, supplier, min_risk, most)


def _quantities(pairs: list[str]) -> dict[str, Decimal]:
    found = {}
    for pair in pairs:
        proposal_id, equals, quantity = pair.partition("=")
        if not equals:
            raise Invalid(f"{pair} is not PROPOSAL=QUANTITY.")
        found[proposal_id] = _decimal(quantity)
    return found


def _limit(text: str | None) -> tuple[Decimal, str] | None:
    if text is None:
        return None
    amount, currency = text[:-3].strip(), text[-3:].upper()
    return _decimal(amount), currency


def _decimal(text: str) -> Decimal:
    try:
        found = Decimal(text)
    except InvalidOperation as error:
        raise Invalid(f"{text} is not a number.") from error
    if not found.is_finite():
        raise Invalid(f"{text} is not a number.")
    return found
