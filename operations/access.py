"""Who acts: users, their roles and their tokens.

Roles
    viewer     reads
    planner    also plans, matches codes, posts stock movements
    approver   also approves and rejects, up to an optional amount per document
    admin      also manages users; approves nothing unless an approver too

Nobody approves what they proposed (`operations.approvals`). A token is shown once and kept only as its hash.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.dialects.postgresql import insert

from operations import audit
from operations.errors import Conflict, Invalid, NotAllowed, NotAuthenticated, NotFound
from operations.schema import api_token, app_user, login, role_grant

ROLES = ("viewer", "planner", "approver", "admin")
TOKEN_PREFIX = "sf_"  # noqa: S105 - what a leaked token is recognised by
_USED_EVERY = dt.timedelta(minutes=5)


@dataclass(frozen=True)
class Principal:
    """Somebody who was recognised. `limit` is the most they may approve in one document, with its currency."""

    username: str
    roles: frozenset[str]
    limit: tuple[Decimal, str] | None = None

    @property
    def actor(self) -> str:
        """As the audit log names them."""
        return f"user:{self.username}"

    def need(self, role: str) -> None:
        """Raises NotAllowed without the role; everybody with any role may read."""
        if role in self.roles or (role == "viewer" and self.roles):
            return
        raise NotAllowed(f"{self.username} lacks the role {role}: ask an administrator for it.")


def create_first_admin(engine: Engine, username: str = "admin") -> str:
    """Makes the first user, with every role, and returns their token, which is shown nowhere else.

    Raises Conflict when there is a user already.
    """
    with engine.begin() as db:
        db.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('stockflow.first_admin', 0))"))
        if db.execute(sa.select(sa.func.count()).select_from(app_user)).scalar():
            raise Conflict("There are users already: ask one of them who is an administrator for a token.")
        _add_user(db, username, None, "system:setup")
        for role in ROLES:
            _grant(db, username, role, None, "system:setup")
        return _issue(db, username, "first administrator", None, "system:setup")[1]


def create_user(
    engine: Engine, username: str, roles: Iterable[str] = (), *, display_name: str | None = None, actor: str
) -> None:
    """Adds a user; Conflict when the name is taken."""
    with engine.begin() as db:
        if db.execute(sa.select(app_user.c.username).where(app_user.c.username == username)).scalar():
            raise Conflict(f"There is a user {username} already.")
        _add_user(db, username, display_name, actor)
        for role in roles:
            _grant(db, username, role, None, actor)


def grant(engine: Engine, username: str, role: str, *, limit: tuple[Decimal, str] | None = None, actor: str) -> None:
    """Gives a role, or changes the limit of an approver."""
    with engine.begin() as db:
        _require_user(db, username)
        _grant(db, username, role, limit, actor)


def withdraw(engine: Engine, username: str, role: str, *, actor: str) -> None:
    """Takes a role away; the last active administrator keeps theirs."""
    with engine.begin() as db:
        _require_user(db, username)
        if role == "admin":
            _keep_an_admin(db, username)
        db.execute(role_grant.delete().where(role_grant.c.username == username, role_grant.c.role == role))
        audit.record(db, actor=actor, action="withdraw", subject="user", subject_ids=[username], detail={"role": role})


def deactivate(engine: Engine, username: str, *, actor: str) -> None:
    """Shuts a user out at once; what they did stays in the audit log under their name."""
    with engine.begin() as db:
        _require_user(db, username)
        _keep_an_admin(db, username)
        db.execute(app_user.update().where(app_user.c.username == username).values(is_active=False))
        audit.record(db, actor=actor, action="deactivate", subject="user", subject_ids=[username])


def issue_token(
    engine: Engine, username: str, *, label: str, valid_for: dt.timedelta | None = None, actor: str
) -> tuple[str, str]:
    """(token id, token): the only time the token is seen."""
    with engine.begin() as db:
        _require_user(db, username)
        return _issue(db, username, label, valid_for, actor)


def revoke_token(engine: Engine, token_id: str, *, actor: str) -> None:
    """Makes a token useless at once; repeating it changes nothing."""
    with engine.begin() as db:
        found = db.execute(sa.select(api_token.c.revoked_at).where(api_token.c.token_id == token_id)).first()
        if found is None:
            raise NotFound(f"There is no token {token_id}.")
        if found.revoked_at is None:
            db.execute(api_token.update().where(api_token.c.token_id == token_id).values(revoked_at=sa.func.now()))
            audit.record(db, actor=actor, action="revoke", subject="token", subject_ids=[token_id])


def authenticate(engine: Engine, token: str | None) -> Principal:
    """Who a token belongs to; NotAuthenticated where it is unknown, expired, revoked, or its user is shut out."""
    if not token or not token.startswith(TOKEN_PREFIX) or len(token) > 200:
        raise NotAuthenticated("A valid token is needed: `stockflow token create` makes one.")
    with engine.begin() as db:
        row = db.execute(
            sa.select(api_token.c.token_id, api_token.c.username, api_token.c.last_used_at)
            .join(app_user, app_user.c.username == api_token.c.username)
            .where(
                api_token.c.token_hash == _hash(token),
                api_token.c.revoked_at.is_(None),
                sa.or_(api_token.c.expires_at.is_(None), api_token.c.expires_at > sa.func.now()),
                app_user.c.is_active,
            )
        ).first()
        if row is None:
            raise NotAuthenticated("The token is unknown, expired or revoked: ask an administrator for a new one.")
        now = dt.datetime.now(dt.UTC)
        if row.last_used_at is None or now - row.last_used_at > _USED_EVERY:
            db.execute(api_token.update().where(api_token.c.token_id == row.token_id).values(last_used_at=now))
        return _principal(db, row.username)


def principal(engine: Engine, username: str) -> Principal:
    """An active user by name, where somebody else has proved who they are (a Slack signature, say)."""
    with engine.connect() as db:
        active = db.execute(sa.select(app_user.c.is_active).where(app_user.c.username == username)).scalar()
        if not active:
            raise NotAuthenticated(f"There is no active user {username}.")
        return _principal(db, username)


def link_login(engine: Engine, username: str, system: str, name: str, *, actor: str) -> None:
    """Says that whom `system` (slack, say) calls `name` is this user; whoever it was before is no longer."""
    with engine.begin() as db:
        _require_user(db, username)
        values = {"username": username, "granted_by": actor}
        db.execute(
            insert(login)
            .values(system=system, login=name, **values)
            .on_conflict_do_update(index_elements=["system", "login"], set_={**values, "granted_at": sa.func.now()})
        )
        audit.record(
            db, actor=actor, action="link", subject="user", subject_ids=[username],
            detail={"system": system, "login": name},
        )  # fmt: skip


def unlink_login(engine: Engine, system: str, name: str, *, actor: str) -> None:
    """Takes a login away; NotFound where there is none."""
    with engine.begin() as db:
        is_it = sa.and_(login.c.system == system, login.c.login == name)
        username = db.execute(login.delete().where(is_it).returning(login.c.username)).scalar()
        if username is None:
            raise NotFound(f"Nobody is known as {name} in {system}.")
        audit.record(
            db, actor=actor, action="unlink", subject="user", subject_ids=[username],
            detail={"system": system, "login": name},
        )  # fmt: skip


def principal_of_login(engine: Engine, system: str, name: str) -> Principal:
    """Who a login of another system, which has proved that it is them, belongs to; NotAuthenticated where nobody."""
    with engine.connect() as db:
        username = db.execute(
            sa.select(login.c.username).where(login.c.system == system, login.c.login == name)
        ).scalar()
    if username is None:
        raise NotAuthenticated(
            f"Stockflow does not know you: ask an administrator to run `stockflow user link USERNAME {system} {name}`."
        )
    return principal(engine, username)


def users(engine: Engine) -> list[dict[str, Any]]:
    """username, display_name, is_active, created_at, roles (role, amount_limit, currency)."""
    with engine.connect() as db:
        found = [dict(row) for row in db.execute(sa.select(app_user).order_by(app_user.c.username)).mappings()]
        roles: dict[str, list[dict[str, Any]]] = {}
        for row in db.execute(sa.select(role_grant).order_by(role_grant.c.role)).mappings():
            roles.setdefault(row["username"], []).append({n: row[n] for n in ("role", "amount_limit", "currency")})
    return [{**user, "roles": roles.get(user["username"], [])} for user in found]


def tokens(engine: Engine, username: str | None = None) -> list[dict[str, Any]]:
    """token_id, username, label, created_at, expires_at, revoked_at, last_used_at; never the token or its hash."""
    columns = [c for c in api_token.c if c.name != "token_hash"]
    query = sa.select(*columns).order_by(api_token.c.username, api_token.c.created_at)
    if username is not None:
        query = query.where(api_token.c.username == username)
    with engine.connect() as db:
        return [dict(row) for row in db.execute(query).mappings()]


def _principal(db: Connection, username: str) -> Principal:
    grants = db.execute(
        sa.select(role_grant.c.role, role_grant.c.amount_limit, role_grant.c.currency).where(
            role_grant.c.username == username
        )
    ).all()
    limits = [(g.amount_limit, g.currency) for g in grants if g.role == "approver" and g.amount_limit is not None]
    return Principal(username, frozenset(g.role for g in grants), limits[0] if limits else None)


def _add_user(db: Connection, username: str, display_name: str | None, actor: str) -> None:
    try:
        with db.begin_nested():
            db.execute(app_user.insert().values(username=username, display_name=display_name))
    except sa.exc.IntegrityError as error:
        raise Invalid(
            f"{username!r} cannot be a user name: use lower-case letters, digits and . _ @ + -, beginning with a "
            "letter or digit."
        ) from error
    audit.record(db, actor=actor, action="create", subject="user", subject_ids=[username])


def _grant(db: Connection, username: str, role: str, limit: tuple[Decimal, str] | None, actor: str) -> None:
    if role not in ROLES:
        raise Invalid(f"There is no role {role}: choose one of {', '.join(ROLES)}.")
    if limit is not None and (role != "approver" or limit[0] <= 0):
        raise Invalid("Only an approver has a limit, and it is more than nothing.")
    amount, currency = limit or (None, None)
    values = {"amount_limit": amount, "currency": currency, "granted_by": actor}
    db.execute(
        insert(role_grant)
        .values(username=username, role=role, **values)
        .on_conflict_do_update(index_elements=["username", "role"], set_={**values, "granted_at": sa.func.now()})
    )
    detail = {"role": role, **({"limit": f"{amount} {currency}"} if limit else {})}
    audit.record(db, actor=actor, action="grant", subject="user", subject_ids=[username], detail=detail)


def _issue(db: Connection, username: str, label: str, valid_for: dt.timedelta | None, actor: str) -> tuple[str, str]:
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    token_id = f"tok_{secrets.token_hex(6)}"
    expires_at = None if valid_for is None else dt.datetime.now(dt.UTC) + valid_for
    db.execute(
        api_token.insert().values(
            token_id=token_id, username=username, token_hash=_hash(token), label=label, expires_at=expires_at
        )
    )
    audit.record(
        db, actor=actor, action="issue", subject="token", subject_ids=[token_id],
        detail={"username": username, "label": label, "expires_at": expires_at},
    )  # fmt: skip
    return token_id, token


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _require_user(db: Connection, username: str) -> None:
    if db.execute(sa.select(app_user.c.username).where(app_user.c.username == username)).scalar() is None:
        raise NotFound(f"There is no user {username}.")


def _keep_an_admin(db: Connection, username: str) -> None:
    db.execute(sa.text("SELECT pg_advisory_xact_lock(hashtextextended('stockflow.first_admin', 0))"))
    admins = db.execute(
        sa.select(role_grant.c.username)
        .join(app_user, app_user.c.username == role_grant.c.username)
        .where(role_grant.c.role == "admin", app_user.c.is_active)
    ).scalars()
    if set(admins) == {username}:
        raise Conflict(f"{username} is the only administrator: make another one first.")
