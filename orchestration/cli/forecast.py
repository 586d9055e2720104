"""`stockflow forecast`: forecast any file of daily sales, without a database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ml.wording import how_many

_NAMES = ("sku", "location", "date", "quantity", "first_day")
"""Columns with a meaning of their own, however they are capitalised."""
_SHOWN = 10
"""Series of a kind that are named on the screen."""


def forecast(
    history: Annotated[
        Path, typer.Argument(help="CSV or Parquet with sku, location, date, quantity and any covariates")
    ],
    future: Annotated[
        Path | None, typer.Option(help="CSV or Parquet with sku, location, date and the known-future columns")
    ] = None,
    horizon: Annotated[int, typer.Option(help="Days to forecast")] = 14,
    known_future: Annotated[str, typer.Option(help="Comma-separated columns known for the days to come")] = "",
    past_only: Annotated[str, typer.Option(help="Comma-separated columns known only for the past")] = "",
    country: Annotated[
        str, typer.Option(help="Countries, such as CN or DE,AT, whose holidays and lunar new year the models are told")
    ] = "",
    static: Annotated[str, typer.Option(help="Comma-separated columns that do not change, such as a category")] = "",
    availability: Annotated[
        str | None,
        typer.Option(help="Column with the share (0 to 1) of the day in stock; sales without stock hide demand"),
    ] = None,
    hourly: Annotated[
        str,
        typer.Option(
            help="Two list columns instead of availability: quantities sold by hour, and whether each hour was out of stock"
        ),
    ] = "",
    newcomers: Annotated[
        Path | None,
        typer.Option(
            help="CSV or Parquet of products without a day of history: sku, location, any static columns, first_day"
        ),
    ] = None,
    sales: Annotated[
        bool, typer.Option(help="With availability, forecast what will be recorded as sold too (model sales)")
    ] = True,
    out: Annotated[Path, typer.Option(help="Where to write the forecasts, .parquet or .csv")] = Path(
        "FORECASTS.parquet"
    ),
    explain: Annotated[
        Path | None,
        typer.Option(help="Where to write what each driver contributes to each day's blended mean, .parquet or .csv"),
    ] = None,
    withheld: Annotated[
        Path | None, typer.Option(help="Where to write which series are not forecast and why, .parquet or .csv")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML with the fields of forecast.yaml; docs/forecasting.md lists them")
    ] = None,
    tune: Annotated[
        float, typer.Option(min=0, help="Minutes to look for better parameters first, on days held out of the history")
    ] = 0,
    artefacts: Annotated[Path | None, typer.Option(help="New folder to keep the trained model in")] = None,
    seed: Annotated[int, typer.Option(help="The same seed and file give the same forecast")] = 0,
) -> None:
    """Train on HISTORY and forecast the days after it: mean and quantiles per product, location and day."""
    from ml.forecast import ForecastConfig, ForecastError
    from ml.forecast import explain as parts_of
    from ml.forecast import forecast as run
    from ml.forecast.calendar import add_calendar
    from ml.forecast.config_file import read_config

    try:
        for path in filter(None, (out, explain, withheld)):
            _check_output(path)
        told, notes = _names(known_future), ()
        numbers = ("quantity", *told, *_names(past_only), *filter(None, [availability]))
        days = _read(history, "history", numbers)
        if not len(days):
            raise ForecastError(f"The history file {history} has no rows below its column names.")
        ahead = _read(future, "future", told) if future else None
        new = _read(newcomers, "newcomers") if newcomers else None
        if hourly:
            days, availability = _with_hours(days, _names(hourly), availability)
        if ahead is not None and not told:
            ahead, notes = None, ("the future table is not used: name its columns with --known-future",)
        if country:
            with_calendar = add_calendar(days, ahead, horizon, _names(country.upper()))
            if both := set(told) & set(with_calendar.names):
                raise ForecastError(f"The column {min(both)} comes with --country; leave it out of --known-future.")
            days, ahead, notes = with_calendar.history, with_calendar.future, (*notes, *with_calendar.notes)
            told += with_calendar.names
        parameters = read_config(config) if config else ForecastConfig()
        common = {
            "horizon": horizon,
            "known_future": told,
            "past_only": _names(past_only),
            "static": _names(static),
            "availability": availability or None,
            "seed": seed,
            "progress": lambda step: typer.echo(f"  {step}", err=True),
        }
        if tune:
            from ml.forecast.model import check_ahead
            from ml.forecast.panel import Columns
            from ml.forecast.tuning import tune as search

            check_ahead(ahead, horizon, Columns(told), new, artefacts)
            tuned = search(days, seconds=60 * tune, config=parameters, **common)
            parameters, notes = tuned.config, (*notes, *(choice.says() for choice in tuned.choices))
            if tuned.changed:
                typer.echo(f"Put this into --config to use it again:\n\n{tuned.as_yaml()}")
        result = run(days, ahead, newcomers=new, config=parameters, sales=sales, artefacts=artefacts, **common)
        _write(result.forecasts, out)
        if withheld:
            _write(result.withheld, withheld)
        if explain:
            _write(parts_of(result.model, days, ahead, horizon, newcomers=new), explain)
    except ForecastError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None
    _report(result, out, withheld, notes)


def _check_output(path: Path) -> None:
    from ml.forecast import ForecastError

    if path.suffix not in (".parquet", ".csv"):
        raise ForecastError(f"The output {path} must end in .parquet or .csv.")
    if not path.parent.is_dir():
        raise ForecastError(f"The folder {path.parent} for the output does not exist; create it first.")


def _with_hours(days, names: tuple[str, ...], availability: str | None):
    """The history with the demand-weighted in-stock share that its hours tell, and the name of that column."""
    import numpy as np

    from ml.demand import share_by_hours
    from ml.forecast import ForecastError

    if len(names) != 2 or availability:
        raise ForecastError(
            "--hourly takes two columns, sold by hour and out of stock by hour, in place of --availability."
        )
    missing = [name for name in (*names, "sku", "location") if name not in days.columns]
    if missing:
        raise ForecastError(f"The history lacks the column {missing[0]}; it has {', '.join(days.columns)}.")
    try:
        sold, out = (np.array(days[name].tolist(), dtype=np.float64) for name in names)
    except (ValueError, TypeError):
        sold = out = np.empty(0)
    if sold.ndim != 2 or sold.shape != out.shape:
        raise ForecastError(
            f"{names[0]} and {names[1]} must hold lists of as many numbers as there are hours, all alike."
        )
    series = days.groupby(["sku", "location"], sort=False, dropna=False).ngroup().to_numpy()
    return days.assign(_in_stock_share=share_by_hours(sold, out > 0, series)), "_in_stock_share"


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _known_names(columns) -> dict:
    """What to call each of `columns`: as it is written, without spaces around it, and `sku`, `location`, `date`, `quantity`
    and `first_day` in small letters."""
    names = {}
    for column in columns:
        bare = str(column).strip()
        small = bare.lower()
        names[column] = small if small in _NAMES and small not in {*columns, *names.values()} else bare
    return names


def _read(path: Path, what: str, numbers: tuple[str, ...] = ()):
    """The file as a frame; of its columns `numbers` are read as such, and may have decimal commas."""
    import pandas as pd

    from connectors.files.delimited import find_delimiter, find_encoding
    from ml.forecast import ForecastError

    try:
        if path.suffix.lower() == ".parquet":
            frame = pd.read_parquet(path)
            return frame.rename(columns=_known_names(frame.columns))
        if path.suffix.lower() in (".csv", ".txt", ".gz"):
            written = {}
            if path.suffix.lower() != ".gz":
                encoding = find_encoding(path)
                written = {"encoding": encoding, "sep": find_delimiter(path, 0, frozenset(_NAMES), encoding)}
            names = _known_names(pd.read_csv(path, nrows=0, **written).columns)
            # Codes such as 00123 must stay as they are.
            codes = {name: str for name, known in names.items() if known in ("sku", "location")}
            frame = pd.read_csv(path, dtype=codes, **written).rename(columns=names)
            asked = [name for name in numbers if name in frame]
            if written.get("sep", ",") == "," or all(frame[name].dtype.kind in "biuf" for name in asked):
                return frame
            # As they are written: where a column has no comma, pandas has made one and a half of 1.500.
            texts = pd.read_csv(path, dtype=str, **written).rename(columns=names)[asked]
            return frame.assign(**_with_points(texts))
    except FileNotFoundError:
        raise ForecastError(f"The {what} file {path} does not exist.") from None
    except pd.errors.EmptyDataError:
        raise ForecastError(f"The {what} file {path} is empty.") from None
    except (OSError, ValueError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise ForecastError(f"The {what} file {path} cannot be read as {path.suffix[1:].upper()}: {reason}.") from None
    raise ForecastError(f"The {what} file {path} must be CSV or Parquet and end in .csv or .parquet.")


def _with_points(texts) -> dict:
    """The columns of `texts` whose decimal commas are points now: none, where they may be something else."""
    from connectors.files.decimals import WITH_COMMA, tells_decimal_comma

    bare = {name: texts[name].str.strip() for name in texts}
    if not tells_decimal_comma(
        lambda pattern: any(text.str.fullmatch(pattern).eq(True).any() for text in bare.values())
    ):
        return {}
    pointed = {name: text.str.replace(".", "").str.replace(",", ".") for name, text in bare.items()}
    # Anything else stays as it is written, for it will be named.
    return {
        name: pointed[name].where(text.str.fullmatch(WITH_COMMA).eq(True), texts[name]) for name, text in bare.items()
    }


def _write(frame, path: Path) -> None:
    from ml.forecast import ForecastError

    temporary = path.with_name(path.name + ".part")
    try:
        if path.suffix == ".parquet":
            frame.to_parquet(temporary, index=False)
        else:
            frame.to_csv(temporary, index=False, date_format="%Y-%m-%d")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ForecastError(f"The forecasts cannot be written to {path}: {error.strerror or error}.") from None


def _report(result, out: Path, withheld: Path | None, notes: tuple[str, ...]) -> None:
    """A short table of held-out quality, what is new, what was withheld and where the forecasts are."""
    from ml.forecast.newcomers import judged

    for note in (*notes, *result.notes):
        typer.echo(f"Note: {note}.")
    pooled = result.scores[result.scores["segment"] == "all"].sort_values("wape")
    if len(pooled) and pooled["wape"].isna().all():
        typer.echo("\nNothing was sold on the held-out days inside the history: they do not tell how good a model is.")
    elif len(pooled):
        naive = pooled.set_index("model").at["seasonal_naive", "wape"]
        typer.echo(
            f"\nHeld-out days inside the history ({pooled['days'].iloc[0]:,} series-days; lower is better, bias near 0)"
        )
        typer.echo(
            f"{'model':<18}{'WAPE':>8}{'in stock':>10}{'pinball':>9}{'bias':>8}{'80 % hit':>10}{'against naive':>15}"
        )
        for row in pooled.itertuples():
            # A naive forecast without an error, as of a constant, cannot be bettered.
            gain = f"{row.wape / naive - 1:+.1%}" if naive > 0 else "-"
            typer.echo(
                f"{row.model:<18}{row.wape:>8.3f}{row.wape_in_stock:>10.3f}{row.pinball:>9.3f}"
                f"{row.bias_in_stock:>+8.1%}{row.coverage_80:>10.1%}{gain:>15}"
            )
    if len(result.newcomers):
        typer.echo(f"\nNew products: {len(result.newcomers)}, judged by similar ones")
        for row in result.newcomers.head(_SHOWN).itertuples():
            typer.echo(f"  {row.sku} at {row.location} from {row.first_day:%Y-%m-%d}: {judged(row.similar, row.alike)}")
        if (more := len(result.newcomers) - _SHOWN) > 0:
            typer.echo(f"  and {more:,} more: the column similar of {out} says by how many each was judged")
    if len(result.withheld):
        typer.echo(f"\nWithheld: {len(result.withheld)} series")
        for row in result.withheld.head(_SHOWN).itertuples():
            typer.echo(f"  {row.sku} at {row.location}: {row.reason}")
        if (more := len(result.withheld) - _SHOWN) > 0:
            typer.echo(f"  and {more:,} more: " + (str(withheld) if withheld else "--withheld FILE writes them all"))
    series = len(result.forecasts[["sku", "location"]].drop_duplicates())
    typer.echo(f"\nForecasts of {series:,} series for {how_many(result.parameters['horizon'], 'day')}: {out}")
