"""Accuracy against what anyone would pick instead (`benchmarks.peers`), side by side in one run: `make bench-accuracy`.

    STOCKFLOW_TEST_DATA=<folder> python -m benchmarks.accuracy [--data fresh,gifts,shop] [--series 2000] [--origins 4]

Prints, for each of `benchmarks.datasets`, tables in Markdown: errors of every model; ours against the best peer; bias at
every origin; the blend against its own learned models; what the LSTM earns; calibration, with limits and whether they held.

Observed sales are demand cut by stock-outs, and a forecast of the one is no forecast of the other. `blend` is demand: its
bias is measured on the hours in stock (fresh) and on the latent demand (shop). `sales` is what will be recorded as sold if
shelves stay as full as they are: what the peers forecast, and what WAPE and pinball on sales compare like with like.
Nothing is tuned on the days evaluated: every model sees only the history before its origin.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pandas as pd

from benchmarks import measures, peers
from benchmarks.calibration import calibration
from benchmarks.datasets import DATA_SETS, DataSet, data_folder, names_among
from benchmarks.markdown import markdown
from benchmarks.rolling import Origin, roll
from ml.forecast import ForecastConfig


def tables(data: DataSet, origins: list[Origin]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Every table of a data set under its title; empty ones are left out."""
    scored = measures.scores(data, origins)
    table = measures.means(scored)
    found = {
        "Errors, mean of the origins": table,
        "Ours against the best peer": measures.against_the_best(table),
        "Bias at every origin": measures.bias_by_origin(scored),
        "The blend against its learned models": measures.against_its_models(table),
        "What the LSTM earns": measures.lstm_gains(data, origins),
        "Calibration": calibration(data, origins),
    }
    return ((title, part) for title, part in found.items() if len(part))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=names_among(DATA_SETS), default=",".join(DATA_SETS))
    parser.add_argument("--series", type=int, default=2000, help="series drawn from each set; 0 takes all")
    parser.add_argument("--origins", type=int, default=4)
    parser.add_argument("--peers", default="naive,ets,lightgbm", help="of naive, ets, lightgbm, autogluon")
    parser.add_argument("--ets-series", type=int, default=100, help="series AutoETS is fitted to")
    arguments = parser.parse_args()
    folder = data_folder()
    others = set(filter(None, arguments.peers.split(",")))
    for name in sorted(others & set(peers.PYTHONS)):
        if not peers.PYTHONS[name].exists():
            others.remove(name)
            print(f"{name} is left out: there is no {peers.PYTHONS[name]}; {peers.SET_UP[name]} sets it up.")
    for name in arguments.data:
        data = DATA_SETS[name](folder, arguments.series or None)
        origins = roll(data, arguments.origins, others, arguments.ets_series, ForecastConfig(), lstm_gain=True)
        print(f"\n### {name}: {data.series:,} series, {arguments.origins} origins")
        for title, table in tables(data, origins):
            print(f"\n{title}\n\n{markdown(table)}", flush=True)
        print()


if __name__ == "__main__":
    main()
