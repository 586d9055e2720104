"""What a deployment can set: environment variables for where things are, `config.yaml` for what the business is.

Environment (each read once, here)
    STOCKFLOW_HOME           all state; default .stockflow in the checkout
    STOCKFLOW_DATABASE_URL   an external PostgreSQL instead of the embedded one
    STOCKFLOW_LANDING        where landed batches go; default <home>/landing, or any fsspec URL (s3://bucket/landing)
`<home>/config.yaml` is validated by `Business`; values of the form ${NAME} come from the environment, so that secrets
need not stand in the file.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from connectors.errors import PermanentError

CHECKOUT = Path(__file__).resolve().parent.parent
DBT_PROJECT = CHECKOUT / "dbt_project"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SandboxSource(_Strict):
    """The generated shop. `managed`: commands start its systems themselves, with `as_of` as its first morning."""

    connector: Literal["sandbox"]
    # Where it answers.
    url: str
    # What it asks for.
    token: str
    # Commands start the shop's systems themselves.
    managed: bool = False
    # First morning of the shop.
    as_of: dt.date = dt.date(2026, 11, 2)


class SlackSettings(_Strict):
    """`api_url` replaces Slack's own for tests and proxies."""

    # The app's bot token.
    token: str
    # The app's signing secret.
    signing_secret: str
    # The channel's id.
    channel: str
    # Slack's own.
    api_url: str = "https://slack.com/api/"


class Business(_Strict):
    """`config.yaml`."""

    # Of business dates, the schedules and `plan_at`, such as Europe/Berlin.
    timezone: str = "UTC"
    # Three letters; every amount is also given in it.
    reporting_currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "EUR"
    # When the daily cycle starts, HH:MM.
    plan_at: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "05:30"
    # The first morning that can be planned in the web UI, such as for a backfill; by default the day of set-up.
    plan_from: dt.date | None = None
    # Whose public holidays count, besides those of the countries of your locations; two letters each. They are those of a
    # location without a country, and one that celebrates the lunar new year makes forecasts look at it everywhere.
    holiday_countries: tuple[Annotated[str, Field(pattern=r"^[A-Z]{2}$")], ...] = ()
    # Systems that are pulled and written to; none where all data comes in files.
    sources: tuple[SandboxSource, ...] = ()
    # Approvals and alerts in Slack.
    slack: SlackSettings | None = None

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"{value!r} is no time zone; write one such as Europe/Berlin or Asia/Shanghai") from None
        return value


@dataclass(frozen=True)
class Settings:
    """`database_url` None means the embedded PostgreSQL."""

    home: Path
    landing: str
    business: Business
    database_url: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Raises PermanentError naming the variable or the line of config.yaml that is wrong."""
        home = Path(environment.get("STOCKFLOW_HOME") or CHECKOUT / ".stockflow").expanduser().resolve()
        return cls(
            home=home,
            landing=environment.get("STOCKFLOW_LANDING") or str(home / "landing"),
            business=read_business(home / "config.yaml", environment),
            database_url=environment.get("STOCKFLOW_DATABASE_URL") or None,
        )

    @property
    def warehouse(self) -> Path:
        return self.home / "warehouse" / "stockflow.duckdb"

    @property
    def published(self) -> Path:
        """Folder with `stockflow.duckdb` and the Parquet snapshot."""
        return self.home / "published"

    @property
    def frozen(self) -> Path:
        return self.home / "frozen"

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def forecasts(self) -> Path:
        """One folder a morning."""
        return self.home / "forecasts"

    @property
    def dagster_home(self) -> Path:
        return self.home / "dagster"

    @property
    def token_file(self) -> Path:
        """The first administrator's API token, which commands on this machine use where none is given."""
        return self.home / "admin.token"

    @property
    def unfinished_restore(self) -> Path:
        """There while a restore is under way: nothing else may use a home that is half one state and half another."""
        return self.home / "restore.unfinished"

    @property
    def drop(self) -> Path:
        """Folder watched for files: <drop>/<kind>/<mapping>/<file>."""
        return self.home / "drop"


def read_business(path: Path, environment: Mapping[str, str]) -> Business:
    if not path.exists():
        return Business()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise PermanentError(f"{path} cannot be read as YAML ({str(error).splitlines()[0]}): correct it.") from None
    try:
        return Business.model_validate(_filled(content, environment))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PermanentError(f"{path}: {where}: {first['msg']}. Correct it and try again.") from None


def _filled(value: object, environment: Mapping[str, str]) -> object:
    """Replaces ${NAME} by the variable's value, at any depth."""
    if isinstance(value, dict):
        return {key: _filled(inner, environment) for key, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, environment) for inner in value]
    if isinstance(value, str):
        return re.sub(r"\$\{(\w+)\}", lambda match: _variable(match.group(1), environment), value)
    return value


def _variable(name: str, environment: Mapping[str, str]) -> str:
    if name not in environment:
        raise PermanentError(f"config.yaml needs the environment variable {name}: set it and try again.")
    return environment[name]
