"""The documents tell the truth: what they show exists, and what exists they show."""

from __future__ import annotations

import re
import runpy
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from openpyxl import Workbook

from orchestration.cli import app

CHECKOUT = Path(__file__).resolve().parent.parent
READMES = [CHECKOUT / "README.md", CHECKOUT / "README.zh-CN.md"]
DOCUMENTS = [*READMES, CHECKOUT / "CHANGELOG.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
MAKEFILE = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
GENERATE = runpy.run_path(str(CHECKOUT / "docs" / "generate.py"))
COMMANDS = GENERATE["commands"]()


def name(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


def shown_commands(text: str) -> list[str]:
    """Commands in fenced blocks and in `code`, without comments, variables before them and the environment's path."""
    fenced = re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    found = []
    for line in [line for block in fenced for line in block.splitlines()] + inline:
        words = re.sub(r"^([A-Z_]+=\S+ +)+", "", re.split(r" {2,}#", line.strip())[0].strip())
        words = words.removeprefix(".venv/bin/")
        if re.match(r"(stockflow|make) [a-z]", words):
            found.append(words)
    return found


EVERY = sorted({(name(path), command) for path in DOCUMENTS for command in shown_commands(path.read_text("utf-8"))})


@pytest.mark.parametrize(("where", "command"), EVERY)
def test_a_command_that_is_shown_is_accepted(where, command):
    program, *words = shlex.split(command)
    if program == "make":
        targets = re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE)
        assert words[0] in targets, f"{where} shows `{command}`; the Makefile has {', '.join(targets)}"
        return
    typed = next((known for known in COMMANDS if f"{' '.join(words)} ".startswith(f"{known} ")), None)
    assert typed, f"{where} shows `{command}`; there is no such command"
    found = COMMANDS[typed]
    # `a|b` stands for one of them, `[X]` for what may be left out, `...` for anything.
    given = [word.split("|")[0] for word in words[len(typed.split()) :] if not word.startswith("[")]
    if "..." in given or len(words) == len(typed.split()) or typed == "approve":
        options = {option for parameter in found.params for option in parameter.opts}
        assert {word for word in given if word.startswith("--")} <= options, f"{where} shows `{command}`"
    else:
        # Parses and converts as a call would, and calls nothing.
        found.make_context(typed, given)


def test_every_command_is_documented():
    shown = {command for _, command in EVERY}
    missing = [typed for typed in COMMANDS if not any(f"{c} ".startswith(f"stockflow {typed} ") for c in shown)]
    assert missing == []


def test_both_readmes_show_the_same_commands_and_links():
    english, chinese = (path.read_text(encoding="utf-8") for path in READMES)
    assert shown_commands(english) == shown_commands(chinese)
    assert _targets(english) - {"README.zh-CN.md"} == _targets(chinese) - {"README.md"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_lead_somewhere(path):
    for target in _targets(path.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), f"{name(path)} links to {target}"
        assert found.is_relative_to(CHECKOUT)
        if anchor:
            headings = re.findall(r"^#+ (.+)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [heading.strip().lower().replace(" ", "-") for heading in headings], f"{target}"


def _targets(text: str) -> set[str]:
    return set(re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_generated_tables_are_what_the_code_says(path):
    text = path.read_text(encoding="utf-8")
    assert GENERATE["filled"](text) == text, "run .venv/bin/python docs/generate.py"


def test_every_column_of_a_mart_is_described():
    """For dbt, Dagster and docs/bi.md show what is said of it once, and whoever reads a report has nothing else."""
    told = yaml.safe_load((CHECKOUT / "dbt_project/models/marts/_marts.yml").read_text(encoding="utf-8"))["models"]
    assert {path.stem for path in (CHECKOUT / "dbt_project/models/marts").glob("*.sql")} == {
        model["name"] for model in told
    }
    mute = [f"{m['name']}.{c['name']}" for m in told for c in m["columns"] if not c.get("description", "").strip()]
    assert not mute


def test_pictures_are_small_and_used():
    used = {target for path in READMES for target in _targets(path.read_text("utf-8"))}
    for picture in (CHECKOUT / "docs" / "images").iterdir():
        assert picture.stat().st_size < 300_000, picture
        assert f"docs/images/{picture.name}" in used, picture


def test_every_connector_is_whole():
    """A folder per system: client, pull, a stand-in to test against, and a row in the README. Files have no client, and records
    are what all of them yield."""
    folders = {path for path in (CHECKOUT / "connectors").iterdir() if (path / "__init__.py").exists()}
    for folder in sorted(folders - {CHECKOUT / "connectors" / "records"}):
        for readme in READMES:
            assert f"| `{folder.name}` |" in readme.read_text(encoding="utf-8"), f"{name(readme)} has no row"
        assert list((CHECKOUT / "tests").glob(f"*/test_{folder.name}*.py")), folder
        parts = {path.stem for path in folder.glob("*.py")}
        if folder.name == "files":
            assert "importer" in parts
        elif "pull" in parts:
            assert "client" in parts, folder
            assert {"sandbox", "platform"} & parts, f"{folder} has no stand-in to test against"
        else:
            assert "client" in parts, folder


def test_the_changelog_has_this_version():
    version = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"\n## {version}\n" in (CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_every_decision_is_listed_and_has_its_parts():
    listed = (CHECKOUT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for path in sorted((CHECKOUT / "docs" / "adr").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        assert f"(adr/{path.name})" in listed
        assert text.startswith(f"# {path.name[:4]} ")
        assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Consequences")), path


# -- What a newcomer types, on a new home ------------------------------------------------------------------------------


MAPPING = {
    "source": "my_shop",
    "timezone": "Europe/Berlin",
    "defaults": {"location_code": "S1", "currency": "EUR"},
    "orders": {
        "records": [
            {
                "entity": "order_line",
                "fields": {
                    "order_code": "receipt",
                    "line_code": "line_id(item_code, quantity)",
                    "item_code": "article",
                    "ordered_at": "to_instant(time, '%Y-%m-%d %H:%M')",
                    "quantity": "qty",
                    "unit_price": "price",
                },
            }
        ]
    },
    "stock": {
        "records": [
            {
                "entity": "stock_level",
                "fields": {
                    "item_code": "article",
                    "counted_at": "to_instant(time, '%Y-%m-%d %H:%M')",
                    "on_hand": "qty",
                },
            }
        ]
    },
    "catalog": {"records": [{"entity": "product", "fields": {"item_code": "article", "name": "title"}}]},
}


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory) -> Path:
    """A folder with the files that the README's commands name."""
    folder = tmp_path_factory.mktemp("newcomer")
    (folder / "my-shop.yaml").write_text(yaml.safe_dump(MAPPING))
    book = Workbook()
    book.active.append(["receipt", "article", "time", "qty", "price"])
    for row in (
        ["r1", "A", "2026-10-01 10:00", 2, 3.5],
        ["r1", "B", "2026-10-01 10:00", 1, 2],
        ["r2", "A", "soon", 1, 1],
    ):
        book.active.append(row)
    book.save(folder / "ORDERS.xlsx")
    (folder / "STOCK.csv").write_text("article,time,qty\nA,2026-10-01 20:00,10\n")
    (folder / "PRODUCTS.csv").write_text("article,title\nA,Apple\nB,Bread\n")
    days = [f"2026-{month:02d}-{day:02d}" for month in (6, 7) for day in range(1, 31)]
    sales = [f"{sku},S1,{day},{3 + day_number % 7}" for sku in "AB" for day_number, day in enumerate(days)]
    (folder / "HISTORY.csv").write_text("\n".join(["sku,location,date,quantity", *sales]))
    return folder


@pytest.fixture
def typed(newcomer, monkeypatch, capsys):
    """Types a command that the README shows; gives what it prints."""
    monkeypatch.chdir(newcomer)
    for variable, value in {"STOCKFLOW_HOME": str(newcomer / "home"), "COLUMNS": "200"}.items():
        monkeypatch.setenv(variable, value)
    for variable in ("STOCKFLOW_DATABASE_URL", "STOCKFLOW_LANDING", "STOCKFLOW_TOKEN"):
        monkeypatch.delenv(variable, raising=False)

    def run(command: str) -> str:
        assert command in shown_commands(READMES[0].read_text(encoding="utf-8")), f"the README shows no `{command}`"
        app(shlex.split(command)[1:], standalone_mode=False)
        return capsys.readouterr().out

    return run


def test_what_the_readme_shows_works_on_a_new_home(typed):
    typed("stockflow setup")
    assert Path("home/admin.token").stat().st_mode & 0o777 == 0o600
    told = typed("stockflow import orders ORDERS.xlsx --mapping my-shop.yaml --rejects bad-rows.csv")
    assert "accepted 2" in told
    assert "quarantined 1" in told
    assert Path("bad-rows.csv").exists()
    assert "accepted 1" in typed("stockflow import stock STOCK.csv --mapping my-shop.yaml")
    assert "accepted 2" in typed("stockflow import catalog PRODUCTS.csv --mapping my-shop.yaml")
    assert "Nothing awaits" in typed("stockflow proposals")
    told = typed('stockflow user create ana --role approver --name "Ana Diaz"')
    assert "keep this token" in told
    typed("stockflow user grant ana approver --limit 5000EUR")
    typed("stockflow token create ana --label laptop --days 90")
    assert "5,000.00 EUR" in typed("stockflow user list")
    told = typed("stockflow bi")
    assert "user stockflow_bi" in told
    assert "postgresql://" not in told


def test_the_printed_url_is_the_bi_role_and_reads_only(typed):
    import psycopg

    from orchestration.application import Application
    from orchestration.settings import Settings

    url = typed("stockflow bi --url").strip()
    home = Path.cwd() / "home"
    with Application(Settings.from_environment({"STOCKFLOW_HOME": str(home)})), psycopg.connect(url) as db:
        assert db.execute("SELECT current_user").fetchone() == ("stockflow_bi",)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute("SELECT * FROM operations.app_user")


def test_the_shown_forecast_works_without_a_database(typed):
    told = typed("stockflow forecast HISTORY.csv --horizon 14 --out FORECASTS.parquet")
    assert "seasonal_naive" in told
    assert "2 series" in told


def test_the_doctor_of_a_new_home_finds_nothing(typed):
    assert "FAIL" not in typed("stockflow doctor")


def test_asking_for_help_opens_nothing(tmp_path, monkeypatch, capsys):
    """Help must work where nothing is set up."""
    monkeypatch.setenv("STOCKFLOW_HOME", str(tmp_path / "none"))
    for command in COMMANDS:
        app([*command.split(), "--help"], standalone_mode=False)
        assert "Usage" in capsys.readouterr().out, command
    assert not (tmp_path / "none").exists()
