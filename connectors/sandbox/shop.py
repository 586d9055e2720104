"""The generated shop as a whole: catalogue, facts and latent truth up to a day, cached on disk.

    shop = generate(ShopConfig(), end=date(2026, 11, 1), folder=Path(".stockflow/sandbox"))
    shop.facts["lines"]     what its systems would report (`facts.FACTS`)
    shop.latent             what customers wanted, which no system knows
    shop.simulation()       to go on from there

Equal configurations give equal shops, and a later `end` only appends days. A location of kind `web` keeps no stock:
what it sells leaves the warehouse that `supplied_from` names.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import shutil
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.sandbox.catalogue import WAREHOUSE, Catalogue, ShopConfig, build_catalogue, day_number
from connectors.sandbox.facts import FACTS
from connectors.sandbox.simulate import Simulation

SOURCES = {"webshop": "sandbox_webshop", "tills": "sandbox_tills", "erp": "sandbox_erp"}
"""System -> the `source` under which its records are landed."""

_CODE = ("books", "buying", "catalogue", "conditions", "demand", "facts", "shop", "simulate")


@dataclass
class Shop:
    """Facts of the business days from `config.start` to the day before `end`."""

    config: ShopConfig
    end: dt.date
    catalogue: Catalogue
    facts: dict[str, pa.Table]
    state: dict[str, np.ndarray]

    @property
    def latent(self) -> pa.Table:
        """date, location, item (the ERP's code), latent_demand, sold, lost, in_stock_share: one row per day on which a
        location was open and had the item in its range."""
        table = self.facts["latent"]
        places = pa.array([place.code for place in self.catalogue.places])
        items = pa.array(self.catalogue.erp_code)
        columns = {
            "date": table["date_on"],
            "location": places.take(table["location"].combine_chunks()),
            "item": items.take(table["item"].combine_chunks()),
        }
        rest = ("latent_demand", "sold", "lost", "in_stock_share")
        return pa.table({**columns, **{name: table[name] for name in rest}})

    @property
    def stock_codes(self) -> list[str]:
        """Location codes of the tables of stock: the warehouse stands where the web shop stands in those of sales."""
        return [place.code for place in self.catalogue.places[:-1]] + [WAREHOUSE.code]

    @property
    def declared_pairs(self) -> list[tuple[str, str, str, str]]:
        """(source, code, other source, other code) of items that one side sells without a GTIN."""
        return declared_pairs(self.catalogue)

    def simulation(self) -> Simulation:
        """The shop on the morning of `end`, ready to go on."""
        return Simulation(self.catalogue, self.state)


def declared_pairs(catalogue: Catalogue) -> list[tuple[str, str, str, str]]:
    pairs = []
    for system, has_gtin, codes in (
        ("tills", catalogue.gtin_in_tills, catalogue.plu),
        ("webshop", catalogue.gtin_in_webshop, catalogue.sku),
    ):
        pairs += [(SOURCES[system], codes[i], SOURCES["erp"], catalogue.erp_code[i]) for i in np.flatnonzero(~has_gtin)]
    return pairs


def generate(config: ShopConfig, end: dt.date, folder: Path | None = None) -> Shop:
    """Builds the shop, or reads it back when `folder` has it from the same code, configuration and end.

    Raises ValueError when `end` is not after the start.
    """
    if end <= config.start:
        raise ValueError(f"The shop starts on {config.start}; ask for an end after that, not {end}.")
    catalogue = build_catalogue(config)
    cached = None if folder is None else Path(folder) / f"shop-{_fingerprint(config, end)}"
    if cached is not None and cached.is_dir():
        facts = {name: pq.read_table(cached / f"{name}.parquet") for name in FACTS}
        with np.load(cached / "state.npz", allow_pickle=False) as stored:
            return Shop(config, end, catalogue, facts, dict(stored))
    simulation = Simulation(catalogue)
    simulation.advance(day_number(end))
    shop = Shop(config, end, catalogue, simulation.ledger.take(), simulation.state())
    if cached is not None:
        _store(shop, cached)
    return shop


def _store(shop: Shop, cached: Path) -> None:
    """Written aside and renamed, so that a killed run leaves nothing that looks whole."""
    aside = cached.with_name(f"{cached.name}.{uuid.uuid4().hex}")
    aside.mkdir(parents=True)
    for name, table in shop.facts.items():
        pq.write_table(table, aside / f"{name}.parquet", compression="zstd")
    np.savez_compressed(aside / "state.npz", **shop.state)
    try:
        os.replace(aside, cached)
    except OSError:
        # Another process was faster; its copy is the same.
        shutil.rmtree(aside)


def _fingerprint(config: ShopConfig, end: dt.date) -> str:
    digest = hashlib.sha256(json.dumps([asdict(config), end, np.__version__], default=str).encode())
    for module in _CODE:
        digest.update((Path(__file__).parent / f"{module}.py").read_bytes())
    return digest.hexdigest()[:20]
