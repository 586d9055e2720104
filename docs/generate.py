"""Writes the tables of docs/*.md that come from code, between `<!-- generated: NAME -->` and `<!-- end -->`.

    .venv/bin/python docs/generate.py

A test fails when a table is not what this would write.
"""

from __future__ import annotations

import inspect
import re
import sys
import typing
from pathlib import Path
from typing import Any, Literal

import typer
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

DOCS = Path(__file__).resolve().parent
CHECKOUT = DOCS.parent
BLOCK = re.compile(r"(<!-- generated: (?P<name>[\w./]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def generated(name: str) -> str:
    """The table called `name`, as Markdown."""
    from ml.forecast.config import (
        AccuracyConfig,
        BoostedConfig,
        ChallengeConfig,
        FeaturesConfig,
        ForecastConfig,
        RecurrentConfig,
    )
    from ml.replenishment.parameters import Parameters, Policy
    from orchestration.settings import Business, SandboxSource, SlackSettings

    models = {
        "forecast.yaml": ForecastConfig, "forecast.yaml/boosted": BoostedConfig,
        "forecast.yaml/recurrent": RecurrentConfig, "forecast.yaml/accuracy": AccuracyConfig,
        "forecast.yaml/challenge": ChallengeConfig, "forecast.yaml/features": FeaturesConfig, "parameters.yaml": Parameters, "parameters.yaml/policy": Policy,
        "config.yaml": Business, "config.yaml/sandbox": SandboxSource, "config.yaml/slack": SlackSettings,
    }  # fmt: skip
    if name in models:
        return fields_table(models[name])
    return {"marts": marts_table, "commands": commands_list}[name]()


def fields_table(model: type[BaseModel]) -> str:
    """Field, default, limits and meaning; the meaning is the field's description or the comment above it."""
    comments = comments_of(model)
    rows = ["| field | default | allowed | meaning |", "| --- | --- | --- | --- |"]
    for name, info in model.model_fields.items():
        section = isinstance(info.default, BaseModel) or name in ("classes", "sources")
        default = "required" if info.default is PydanticUndefined else "see below" if section else _yaml(info.default)
        meaning = info.description or comments.get(name, "")
        rows.append(f"| `{name}` | {default} | {_limits(info)} | {_cell(meaning)} |")
    return "\n".join(rows)


def comments_of(model: type[BaseModel]) -> dict[str, str]:
    found, above = {}, []
    for line in inspect.getsource(model).splitlines():
        text = line.strip()
        if text.startswith("#"):
            above.append(text.lstrip("# "))
        else:
            field = re.match(r"(\w+):", text)
            if field and above:
                found[field.group(1)] = " ".join(above)
            above = []
    return found


def marts_table() -> str:
    """Each published mart with its grain and columns, from dbt's own description."""
    described = yaml.safe_load((CHECKOUT / "dbt_project/models/marts/_marts.yml").read_text(encoding="utf-8"))
    parts = []
    for model in described["models"]:
        parts.append(f"### {model['name']}\n\n{model['description']} One row per {_grain(model)}.\n")
        parts.append("| column | type | meaning |\n| --- | --- | --- |")
        parts += [f"| `{c['name']}` | {c['data_type']} | {_cell(c['description'])} |" for c in model["columns"]]
        parts.append("")
    return "\n".join(parts).rstrip()


def commands() -> dict[str, Any]:
    """Every command of the command line that does something, by what is typed: `user create`."""
    from orchestration.cli import app, register

    register.commands(app)
    found: dict[str, Any] = {}

    def walk(prefix: str, group: Any) -> None:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                walk(f"{prefix}{name} ", command)
            else:
                found[prefix + name] = command

    walk("", typer.main.get_command(app))
    return found


def commands_list() -> str:
    parts = []
    for name, command in commands().items():
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        options = [p for p in command.params if p.param_type_name != "argument"]
        words = [_argument(command, p) if p.required else f"[{_argument(command, p)}]" for p in arguments]
        words += [f"{p.opts[0]} {p.name.upper()}" for p in options if p.required]
        usage = " ".join(words)
        parts.append(f"### stockflow {name}\n\n```\n{f'stockflow {name} {usage}'.strip()}\n```\n")
        parts.append(" ".join(command.help.split()) + "\n")
        if options:
            parts.append("| option | meaning |\n| --- | --- |")
            parts += [f"| `{', '.join(p.opts)}` | {_cell(_help(p))} |" for p in options]
            parts.append("")
    return "\n".join(parts).rstrip()


def _argument(command: Any, parameter: Any) -> str:
    """What to type: its name, or the words there are to choose from."""
    kind = typing.get_type_hints(command.callback).get(parameter.name)
    words = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
    return "|".join(words) or parameter.name.upper()


def _help(parameter: Any) -> str:
    default = parameter.default
    shown = default is not None and default is not False and default != "" and not callable(default)
    return (parameter.help or "") + (f" (default {default})" if shown else "")


def _grain(model: dict) -> str:
    for test in model.get("data_tests", []):
        if isinstance(test, dict) and "unique_combination" in test:
            return ", ".join(f"`{name}`" for name in test["unique_combination"]["arguments"]["columns"])
    unique = [column["name"] for column in model["columns"] if "unique" in column.get("data_tests", [])]
    return f"`{unique[0]}`" if unique else _REPORT_GRAIN[model["name"]]


# Reports of the planning step are tested as a whole and not column by column.
_REPORT_GRAIN = {
    "rpt_stockout_risk": "`item_key`, `location_key`, `business_date`",
    "rpt_purchase_plan": "planned purchase",
}


def _limits(info) -> str:
    words = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [
        f"{sign} {getattr(limit, name):g}"
        for limit in info.metadata
        for name, sign in words.items()
        if getattr(limit, name, None) is not None
    ]
    choices = re.findall(r"Literal\[(.+?)\]", str(info.annotation))
    return ", ".join(found) or (choices[0].replace("'", "") if choices else "")


def _yaml(value: object) -> str:
    if isinstance(value, tuple):
        value = list(value)
    return f"`{yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}`"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def filled(text: str) -> str:
    """A document's text with every generated block as it should be."""
    return BLOCK.sub(lambda match: f"{match.group(1)}\n{generated(match.group('name'))}\n\n{match.group(3)}", text)


if __name__ == "__main__":
    sys.path.insert(0, str(CHECKOUT))
    for path in sorted(DOCS.rglob("*.md")):
        before = path.read_text(encoding="utf-8")
        after = filled(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
