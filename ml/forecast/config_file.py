"""Parameters of forecasting from a YAML file, `forecast.yaml` or that of `--config`, and what is said of a wrong one.

Belongs here: reading the file. Does not belong here: which parameters there are (`ml.forecast.config`).
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError

from ml.forecast.config import ForecastConfig
from ml.forecast.errors import ForecastError

_FORMER = {
    "accuracy.least_sales": "accuracy.least_selling_days, which counts days on which a product sold and not what was sold"
}
"""Fields of earlier versions, and what there is in their place."""
_REMEDY = "Correct it; docs/forecasting.md lists every field."


def read_config(path: Path) -> ForecastConfig:
    """The parameters in the file at `path`; what it leaves out keeps its default. Raises `ForecastError` that names every
    field that is wrong."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ForecastError(f"The configuration {path} does not exist.") from None
    except OSError as error:
        raise ForecastError(f"The configuration {path} cannot be read: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" from line {mark.line + 1} on" if mark else ""
        raise ForecastError(f"The configuration {path} is not YAML{where}. {_REMEDY}") from None
    if not isinstance(content or {}, dict):
        raise ForecastError(f"The configuration {path} does not hold fields such as `min_days: 28`. {_REMEDY}")
    try:
        return ForecastConfig.model_validate(content or {})
    except ValidationError as error:
        wrong = "; ".join(_says(one) for one in error.errors(include_url=False))
        raise ForecastError(f"The configuration {path} cannot be used: {wrong}. {_REMEDY}") from None


def _says(error: dict) -> str:
    """One of pydantic's errors as a clause."""
    *section, name = map(str, error["loc"])
    field = ".".join((*section, name))
    if field in _FORMER:
        return f"{field} is no more; there is {_FORMER[field]}"
    if error["type"] == "extra_forbidden":
        meant = get_close_matches(name, _fields(section), n=1)
        return f"there is no field {field}" + (f", was {'.'.join((*section, *meant))} meant?" if meant else "")
    reason = error["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return f"{field} is {error['input']!r}, but {reason}"


def _fields(section: list[str]) -> list[str]:
    """The names of the fields of a section, of the whole file for none."""
    model: type[BaseModel] = ForecastConfig
    for name in section:
        model = model.model_fields[name].annotation
    return list(model.model_fields)
