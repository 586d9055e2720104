"""What a mapping file says: how the columns of a user's file become canonical records.

The YAML is validated here, whole, before a file is opened: every key that is not known is refused by name, because a
misspelt key that is silently ignored loses data. Expressions are compiled later, against the columns of the file
(`connectors.files.plan`). Ready mappings lie in `mappings/`.
"""

from __future__ import annotations

import datetime as dt
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from connectors.errors import PermanentError
from connectors.records import ENTITIES

KINDS = ("orders", "stock", "catalog", "suppliers", "promotions", "index")
"""What can be imported; the words of `stockflow import`."""

SNAPSHOTS = frozenset({"stock", "catalog", "suppliers"})
"""Kinds whose file is the whole state: a much smaller one than last time is suspicious."""

_ALL_FIELDS = {name for model in ENTITIES.values() for name in model.model_fields}


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"there is no time zone {name!r}; write one like Europe/London") from error
    return name


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Expression = Annotated[str, Field(min_length=1, max_length=5000)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]
Constant = str | int | float | bool | dt.date


class Reading(_Part):
    """How the file is written, where it cannot be found out by looking."""

    encoding: Annotated[str, Field(description="e.g. utf-8, gb18030, latin-1; found out when absent")] | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    decimal_comma: Annotated[bool, Field(description="found out when absent, if commas do not separate")] | None = None
    skip_rows: Annotated[int, Field(ge=0, le=1000, description="lines above the header")] = 0
    sheet: str | None = None

    @model_validator(mode="after")
    def _encoding_exists(self) -> Reading:
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except LookupError as error:
                raise ValueError(f"there is no encoding {self.encoding!r}") from error
        return self


class RecordMapping(_Part):
    """One canonical entity made of a row, or with `one_per` of all rows that agree in those fields."""

    entity: str
    when: Expression | None = None
    one_per: tuple[str, ...] = ()
    fields: dict[str, Expression]

    @model_validator(mode="after")
    def _fields_exist(self) -> RecordMapping:
        if self.entity not in ENTITIES:
            raise ValueError(f"there is no entity {self.entity!r}; there are: {', '.join(ENTITIES)}")
        known = ENTITIES[self.entity].model_fields
        for name in (*self.fields, *self.one_per):
            if name not in known:
                raise ValueError(f"{self.entity} has no field {name!r}; it has: {', '.join(known)}")
        for name in self.one_per:
            if name not in self.fields:
                raise ValueError(f"one_per names {name!r}, which the fields of {self.entity} do not map")
        return self


class KindMapping(_Part):
    """Everything one kind of import makes of a row.

    `values` are named intermediate expressions, each may use those before it. `quarantine` sets rows aside under a
    named reason, `skip` passes over rows that rightly say nothing for this kind (they count as unchanged, with the
    reason). A row that no record applies to is quarantined as `no_rule_applies`: nothing disappears silently.
    """

    values: dict[Name, Expression] = {}
    quarantine: dict[Name, Expression] = {}
    skip: dict[Name, Expression] = {}
    repeated_lines: Literal["keep", "drop"] = "keep"
    records: Annotated[tuple[RecordMapping, ...], Field(min_length=1)]


class Mapping(_Part):
    """A whole mapping file. `source` is the source of every record it lands."""

    source: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)]
    description: str = ""
    timezone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    defaults: dict[str, Constant] = {}
    personal: frozenset[str] = frozenset()
    keep_columns: tuple[str, ...] = ()
    reading: Reading = Reading()
    orders: KindMapping | None = None
    stock: KindMapping | None = None
    catalog: KindMapping | None = None
    suppliers: KindMapping | None = None
    promotions: KindMapping | None = None
    index: KindMapping | None = None

    @model_validator(mode="after")
    def _defaults_exist(self) -> Mapping:
        for name in self.defaults:
            if name not in _ALL_FIELDS:
                raise ValueError(f"defaults: no entity has a field {name!r}")
        return self

    def with_decimal_comma(self) -> Mapping:
        """The same mapping for a file whose numbers have decimal commas."""
        return self.model_copy(update={"reading": self.reading.model_copy(update={"decimal_comma": True})})

    def kind(self, name: str) -> KindMapping:
        """The part for one kind. Raises PermanentError when the mapping does not have it."""
        if name not in KINDS:
            raise PermanentError(f"There is no import of {name!r}; there are: {', '.join(KINDS)}.")
        part = getattr(self, name)
        if part is None:
            has = ", ".join(k for k in KINDS if getattr(self, k)) or "nothing"
            raise PermanentError(f"The mapping {self.source} says nothing about {name}; it has: {has}.")
        return part


def ready_mappings() -> list[str]:
    """Names of the mappings that come with Stockflow."""
    folder = resources.files("connectors.files") / "mappings"
    return sorted(item.name[: -len(".yaml")] for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_mapping(name_or_path: str) -> Mapping:
    """A mapping by path, or a ready one by its bare name (`online_retail_ii`, with or without `.yaml`).

    Raises PermanentError with one sentence when it is not there, no YAML, or says something that is not known.
    """
    text = _text(name_or_path)
    try:
        content = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506  a SafeLoader that also refuses repeated keys
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise PermanentError(f"The mapping {name_or_path} is no valid YAML{where}: {problem}.") from error
    if not isinstance(content, dict):
        raise PermanentError(f"The mapping {name_or_path} is empty or no mapping of keys to values.")
    return parse_mapping(content, name_or_path)


def parse_mapping(content: dict[str, Any], name: str = "mapping") -> Mapping:
    """A mapping from its parsed YAML; raises PermanentError naming the first thing that is wrong."""
    try:
        return Mapping.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            parent = _known_keys(first["loc"][:-1])
            raise PermanentError(
                f"The mapping {name} has the unknown key {where!r}; known there: {', '.join(parent)}."
            ) from error
        message = first["msg"].removeprefix("Value error, ")
        raise PermanentError(f"The mapping {name} is wrong at {where or 'the top'!r}: {message}.") from error


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    if not location:
        return list(Mapping.model_fields)
    if location[-1] == "reading":
        return list(Reading.model_fields)
    return list((RecordMapping if isinstance(location[-1], int) else KindMapping).model_fields)


def _text(name_or_path: str) -> str:
    path = Path(name_or_path)
    if path.name == name_or_path and not path.is_file():
        ready = name_or_path.removesuffix(".yaml")
        if ready in ready_mappings():
            return (resources.files("connectors.files") / "mappings" / f"{ready}.yaml").read_text("utf-8")
    try:
        if path.stat().st_size > 1_000_000:
            raise PermanentError(f"The mapping {name_or_path} is larger than 1 MB; that is no mapping.")
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise PermanentError(f"The mapping {name_or_path} is not UTF-8 text; save it as UTF-8.") from error
    except OSError as error:
        raise PermanentError(
            f"There is no readable mapping {name_or_path!r}; give a path or one of: {', '.join(ready_mappings())}."
        ) from error


class _UniqueKeys(yaml.SafeLoader):
    """A key given twice would silently win over the first one."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        # Aliases could make a small file a huge one; a mapping has no use for them.
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.MarkedYAMLError(problem="aliases are not used in mappings", problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} is given twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)
