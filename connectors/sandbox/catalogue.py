"""What the generated shop sells, where, and who supplies it: drawn once from the seed, the same for any length of run.

Belongs here: items with their codes in each system, locations, suppliers and offers. Does not belong here: what happens
on a day (`conditions`, `demand`, `simulate`).

Everything is a numpy array indexed by item (N), supplier (M) or location (L). Location L - 1 is two places in one: the
web shop `WEB` sells, and the warehouse `W1` holds the stock it sells from and delivers to the stores 0 .. L - 2.
Days are integers, days since 1970-01-01.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np

EPOCH = dt.date(1970, 1, 1)

CLASSES = ("steady", "seasonal", "intermittent", "perishable", "new", "kit")
STEADY, SEASONAL, INTERMITTENT, PERISHABLE, NEW, KIT = range(6)


def day_number(date: dt.date) -> int:
    return (date - EPOCH).days


def date_of(day: int) -> dt.date:
    return EPOCH + dt.timedelta(days=int(day))


@dataclass(frozen=True)
class ShopConfig:
    """What makes one generated shop differ from another; equal configurations give equal shops."""

    seed: int = 7
    start: dt.date = dt.date(2024, 11, 1)
    stores: int = 4
    items: int = 300
    suppliers: int = 12
    lines_per_item_day: float = 1.6
    """Order lines a day that customers want, over all locations, per item; some are lost to stock-outs."""
    web_customers: int = 4000
    own_buying_until: dt.date | None = None
    """The first day on which the shop no longer buys by itself: from then on only purchase orders written to its ERP
    are delivered. None: it goes on buying, net of what was written."""

    def __post_init__(self) -> None:
        if not 1 <= self.stores <= len(STORES):
            raise ValueError(f"A generated shop has 1 to {len(STORES)} stores, not {self.stores}.")
        if self.items < 20 or self.suppliers < 3:
            raise ValueError("A generated shop needs at least 20 items and 3 suppliers.")


@dataclass(frozen=True)
class Place:
    """A location. Hours are minutes after local midnight of the business day; `closed` are ISO weekdays."""

    code: str
    name: str
    kind: str
    timezone: str
    country: str
    opens: int
    closes: int
    business_day_start: int = 0
    closed: tuple[int, ...] = ()
    delivery_days: tuple[int, ...] = (1, 3, 5)
    """ISO weekdays on whose evening the warehouse packs for this store."""
    size: float = 0.2
    range_share: float = 0.6


STORES = (
    Place("S1", "Mitte", "store", "Europe/Berlin", "DE", 540, 1200, 0, (7,), (1, 2, 3, 4, 5, 6), 0.32, 0.85),
    Place("S2", "Altona", "store", "Europe/Berlin", "DE", 540, 1200, 0, (7,), (1, 3, 5), 0.22, 0.65),
    Place("S3", "Bockenheim", "store", "Europe/Berlin", "DE", 600, 1140, 0, (7,), (2, 4, 6), 0.16, 0.55),
    # Open until 02:00: what it sells after midnight belongs to the day before.
    Place("S4", "Bairro Alto", "store", "Europe/Lisbon", "PT", 720, 1560, 180, (1,), (2, 4, 6), 0.12, 0.45),
)
WEB = Place("WEB", "Web shop", "web", "Europe/Berlin", "DE", 0, 1440, size=0.18, range_share=0.9)
WAREHOUSE = Place("W1", "Warehouse", "warehouse", "Europe/Berlin", "DE", 360, 1320)


@dataclass(frozen=True)
class Category:
    name: str
    short: str
    vat: int
    """Per cent, included in prices."""
    heat: float
    """Log-demand per 10 degrees above 12."""
    rain: float
    peak_day: int
    """Day of the year at which its seasonal items peak."""
    new_year: float
    """How much Chinese New Year lifts it at the height of the fortnight before."""
    price: tuple[float, float]
    words: tuple[str, ...]
    perishable: bool = False


CATEGORIES = (
    Category("Tea", "TEA", 7, -0.15, 0.05, 350, 0.6, (3, 18), ("Jasmine Tea", "Oolong", "Pu-erh", "Green Tea")),
    Category("Drinks", "DRK", 19, 0.45, -0.10, 200, 0.3, (1, 6), ("Lemonade", "Soy Drink", "Iced Tea", "Lychee Soda")),
    Category("Noodles & soups", "NDL", 7, -0.30, 0.10, 20, 0.3, (1, 9), ("Ramen", "Udon", "Hot Pot", "Miso Soup")),
    Category("Snacks", "SNK", 7, 0.0, 0.0, 330, 0.5, (1, 8), ("Rice Cracker", "Peanuts", "Seaweed Snack", "Chips")),
    Category("Sweets & gifts", "GFT", 7, -0.1, 0.0, 352, 1.6, (4, 35), ("Gift Box", "Candy", "Mooncake", "Nougat")),
    Category("Rice & staples", "STP", 7, 0.0, 0.0, 330, 0.4, (2, 25), ("Jasmine Rice", "Sticky Rice", "Flour")),
    Category("Sauces", "SAU", 7, 0.0, 0.0, 190, 0.3, (2, 12), ("Soy Sauce", "Chilli Oil", "Hoisin", "Sesame Oil")),
    Category("Kitchenware", "KIT", 19, 0.0, 0.0, 345, 0.4, (4, 60), ("Wok", "Steamer", "Bowl", "Tea Pot")),
    Category("Decoration", "DEC", 19, 0.0, 0.0, 345, 1.8, (2, 30), ("Lantern", "Red Envelope", "Paper Cut", "Candle")),
    Category("Umbrellas & seasonal", "SEA", 19, 0.1, 0.6, 180, 0.0, (6, 40), ("Umbrella", "Fan", "Sun Hat", "Poncho")),
    Category("Fruit & vegetables", "FRU", 7, 0.10, -0.05, 170, 0.4, (1, 7), ("Pak Choi", "Mango", "Herbs"), True),
    Category("Chilled & bakery", "CHL", 7, 0.0, 0.0, 330, 0.3, (2, 9), ("Tofu", "Bao", "Egg Tart", "Yoghurt"), True),
)  # fmt: skip

BRANDS = ("Golden Carp", "Nordwind", "Lotus", "Casa Verde", "Red Lantern", "Kranich", "Three Hills", "Porto Sul")
SIZES = ("100 g", "250 g", "500 g", "1 kg", "small", "large", "family size", "classic")

# Sold at the till or in the web shop, unknown to the ERP and without a GTIN: nothing can match them.
STRAYS = (
    ("tills", "90001", "Paper bag", 25),
    ("tills", "90002", "Bottle deposit", 15),
    ("webshop", "GIFT-WRAP", "Gift wrapping", 290),
)


@dataclass
class Catalogue:
    """All arrays are indexed by item unless said otherwise."""

    config: ShopConfig
    places: tuple[Place, ...]
    kind: np.ndarray
    category: np.ndarray
    name: list[str]
    brand: list[str]
    erp_code: list[str]
    sku: list[str]
    plu: list[str]
    gtin: list[str]
    gtin_in_tills: np.ndarray
    gtin_in_webshop: np.ndarray
    price_cents: np.ndarray
    price_rise_day: np.ndarray
    """From this day on the list price is `price_rise` times as high."""
    price_rise: np.ndarray
    cost_cents: np.ndarray
    case_size: np.ndarray
    shelf_life: np.ndarray
    """Days on which a fresh batch can be sold, 0 for what does not expire."""
    launch_day: np.ndarray
    rate: np.ndarray
    """(L, N): units a day that customers want at a location on an ordinary open day, 0 where it is not sold."""
    line_quantity: np.ndarray
    season: np.ndarray
    growth: np.ndarray
    promotion_pull: np.ndarray
    kit_parts: list[tuple[int, int, int]]
    """(kit, component, units of the component in one kit)."""
    suppliers: Suppliers
    main_supplier: np.ndarray
    offers: list[Offer]

    @property
    def ranged(self) -> np.ndarray:
        """(L, N): where an item is sold at all."""
        return self.rate > 0

    def list_price(self, day: int) -> np.ndarray:
        """Cents, tax included, on one day."""
        risen = np.rint(self.price_cents * self.price_rise).astype(np.int64)
        return np.where(day >= self.price_rise_day, risen, self.price_cents)


@dataclass
class Suppliers:
    """Indexed by supplier. Lead times are calendar days; `late_share` of the orders take half as long again."""

    code: list[str]
    name: list[str]
    currency: list[str]
    lead_mean: np.ndarray
    lead_sd: np.ndarray
    late_share: np.ndarray
    order_weekdays: list[tuple[int, ...]]
    terms_days: np.ndarray
    quotes_cases: np.ndarray
    minimum_order: np.ndarray
    rests_at_new_year: np.ndarray
    """Closed around Chinese New Year: what is ordered then comes a fortnight later."""


@dataclass(frozen=True)
class Offer:
    """Quantities in base units, price per base unit in 1/10,000 of the supplier's currency."""

    supplier: int
    item: int
    valid_from: int
    announced: int
    moq: int
    pack: int
    steps: tuple[tuple[int, int], ...]


RATE_AT_START = {"EUR": 1.0, "USD": 0.92, "CNY": 0.128}
"""Euros for one unit of a currency before its first day of drift."""


def build_catalogue(config: ShopConfig) -> Catalogue:
    """Draws the catalogue of one shop."""
    rng = np.random.default_rng([config.seed, 1])
    n = config.items
    places = (*STORES[: config.stores], WEB)
    kind = _classes(rng, n)
    fresh = np.array([i for i, c in enumerate(CATEGORIES) if c.perishable])
    shelf = np.array([i for i, c in enumerate(CATEGORIES) if not c.perishable])
    category = np.where(kind == PERISHABLE, rng.choice(fresh, n), rng.choice(shelf, n))
    low, high = (np.array([c.price[side] for c in CATEGORIES])[category] for side in (0, 1))
    price = np.rint((low * (high / low) ** rng.random(n)) * 10) * 10 - 1
    price_cents = np.maximum(price, 49).astype(np.int64)
    start = day_number(config.start)
    launch = np.where(kind == NEW, start + rng.integers(45, 660, n), start - 400)
    rate = _rates(rng, config, places, kind, category, launch)
    kit_parts = _kits(rng, kind)
    for kit in np.flatnonzero(kind == KIT):
        price_cents[kit] = int(sum(price_cents[part] * count for owner, part, count in kit_parts if owner == kit) * 0.9)
    suppliers = _suppliers(rng, config.suppliers)
    main_supplier = np.where(
        kind == PERISHABLE,
        rng.choice(np.flatnonzero(suppliers.lead_mean <= 3), n),
        rng.choice(np.flatnonzero(suppliers.lead_mean > 3), n),
    )
    cost_cents = np.maximum(np.rint(price_cents / 1.12 * rng.uniform(0.5, 0.68, n)), 10).astype(np.int64)
    case_size = rng.choice([4, 6, 8, 12, 24], n, p=[0.2, 0.3, 0.2, 0.2, 0.1])
    case_size = np.where(rate.sum(axis=0) < 0.4, rng.choice([1, 2, 4], n), case_size)
    without = _without_gtin(rng, rate, kind)
    brand = [str(rng.choice(BRANDS)) for _ in range(n)]
    names = [
        f"{brand[i]} Set no. {i}" if k == KIT else f"{brand[i]} {rng.choice(CATEGORIES[c].words)} {rng.choice(SIZES)}"
        for i, (c, k) in enumerate(zip(category, kind, strict=True))
    ]
    return Catalogue(
        config=config,
        places=places,
        kind=kind,
        category=category,
        name=names,
        brand=brand,
        erp_code=[f"A{100_000 + 7 * i}" for i in range(n)],
        sku=[f"{CATEGORIES[c].short}-{x}" for c, x in zip(category, rng.permutation(n) + 1000, strict=True)],
        plu=[str(x) for x in rng.choice(np.arange(10_000, 90_000), n, replace=False)],
        gtin=[_gtin(401_234_500_000 + 137 * i) for i in range(n)],
        gtin_in_tills=~np.isin(np.arange(n), without[::2]),
        gtin_in_webshop=~np.isin(np.arange(n), without[1::2]),
        price_cents=price_cents,
        price_rise_day=start + rng.integers(300, 600, n),
        price_rise=np.where(rng.random(n) < 0.4, 1 + rng.choice([0.03, 0.05, 0.08], n), 1.0),
        cost_cents=cost_cents,
        case_size=case_size,
        shelf_life=np.where(kind == PERISHABLE, rng.integers(5, 16, n), 0),
        launch_day=launch,
        rate=rate,
        line_quantity=np.select(
            [kind == PERISHABLE, kind == INTERMITTENT, kind == KIT], [1.6, 2.2, 1.0], rng.uniform(1.1, 1.6, n)
        ),
        season=np.where(kind == SEASONAL, rng.uniform(0.7, 1.5, n), rng.uniform(0.0, 0.15, n)),
        growth=rng.normal(0.03, 0.08, n),
        promotion_pull=rng.uniform(2.5, 5.0, n),
        kit_parts=kit_parts,
        suppliers=suppliers,
        main_supplier=main_supplier,
        offers=_offers(rng, start, kind, suppliers, main_supplier, cost_cents, case_size, rate),
    )


def _classes(rng: np.random.Generator, n: int) -> np.ndarray:
    shares = {SEASONAL: 0.18, INTERMITTENT: 0.14, PERISHABLE: 0.13, NEW: 0.08, KIT: 0.02}
    kind = np.full(n, STEADY)
    order, at = rng.permutation(n), 0
    for label, share in shares.items():
        count = max(2, round(share * n))
        kind[order[at : at + count]] = label
        at += count
    return kind


def _rates(rng, config: ShopConfig, places, kind, category, launch) -> np.ndarray:
    n = len(kind)
    typical = np.array([1.3, 1.3, 0.07, 2.6, 1.6, 0.25])[kind]
    popularity = typical * rng.lognormal(0, np.where(kind == INTERMITTENT, 0.4, 0.7))
    rate = np.zeros((len(places), n))
    for index, place in enumerate(places):
        ranged = rng.random(n) < np.where(
            popularity > np.median(popularity), place.range_share + 0.1, place.range_share
        )
        if place.kind == "web":
            ranged &= kind != PERISHABLE
        rate[index] = ranged * place.size * rng.lognormal(0, 0.3, n)
    nowhere = ~rate.any(axis=0)
    rate[0, nowhere] = places[0].size
    rate *= popularity
    # A line is 1.35 units on average; new items sell only a part of the time.
    wanted = config.lines_per_item_day * n * 1.35
    return rate * wanted / rate[:, kind != NEW].sum()


def _kits(rng, kind) -> list[tuple[int, int, int]]:
    parts = []
    candidates = np.flatnonzero((kind == STEADY) | (kind == SEASONAL))
    for kit in np.flatnonzero(kind == KIT):
        for part in sorted(rng.choice(candidates, rng.integers(2, 4), replace=False)):
            parts.append((int(kit), int(part), int(rng.integers(1, 3))))
    return parts


def _without_gtin(rng, rate, kind) -> np.ndarray:
    """Up to eight items sold in both worlds; even positions lack the GTIN at the tills, odd ones in the web shop."""
    both = np.flatnonzero(rate[:-1].any(axis=0) & (rate[-1] > 0) & (kind == STEADY))
    return rng.choice(both, min(8, len(both)), replace=False)


def _gtin(number: int) -> str:
    """A GTIN-13: twelve digits and the check digit of GS1's modulo 10."""
    body = f"{number:012d}"
    total = sum(int(digit) * (3 if place % 2 else 1) for place, digit in enumerate(body))
    return f"{body}{-total % 10}"


def _suppliers(rng, m: int) -> Suppliers:
    number = np.arange(m)
    local, far = number % 4 == 0, number % 4 == 3
    currency = ["CNY" if i % 8 == 3 else "USD" if i % 8 == 7 else "EUR" for i in range(m)]
    lead = np.where(local, rng.uniform(1, 2.5, m), np.where(far, rng.uniform(24, 40, m), rng.uniform(5, 14, m)))
    names = (
        "Hof Linde", "Elbe Import", "Sul Comercio", "Pearl River Trading", "Morgenfrisch", "Alster Food",
        "Douro Foods", "Pacific Goods", "Marktkontor", "Rhein Handel", "Tejo Wares", "Shenzhen Homeware",
    )  # fmt: skip
    weekdays = [
        (1, 2, 3, 4, 5, 6) if local[i] else (1,) if far[i] else ((1, 4), (2, 5), (3,))[int(rng.integers(3))]
        for i in range(m)
    ]
    return Suppliers(
        code=[f"V{i + 1:03d}" for i in range(m)],
        name=[names[i] if i < len(names) else f"Supplier {i + 1}" for i in range(m)],
        currency=currency,
        lead_mean=np.round(lead, 1),
        lead_sd=np.round(lead * rng.uniform(0.1, 0.3, m), 1),
        late_share=rng.uniform(0.02, 0.15, m).round(2),
        order_weekdays=weekdays,
        terms_days=rng.choice([7, 14, 30, 45, 60], m),
        quotes_cases=number % 4 == 2,
        minimum_order=np.where(local, 0, rng.choice([0, 100, 250], m)),
        rests_at_new_year=np.array([c == "CNY" for c in currency]),
    )


def _offers(rng, start, kind, suppliers, main, cost_cents, case_size, rate) -> list[Offer]:
    offers = []
    for item in np.flatnonzero(kind != KIT):
        sellers = [int(main[item])]
        same_sort = np.flatnonzero((suppliers.lead_mean <= 3) == (suppliers.lead_mean[main[item]] <= 3))
        if rng.random() < 0.35 and len(same_sort) > 1:
            sellers.append(int(rng.choice(same_sort[same_sort != main[item]])))
        for rank, supplier in enumerate(sellers):
            euros = cost_cents[item] / 100 * (1.0 if rank == 0 else rng.uniform(0.94, 1.15))
            price = euros / RATE_AT_START[suppliers.currency[supplier]]
            pack = int(case_size[item])
            weekly = rate[:, item].sum() * 7
            moq = pack * int(np.clip(np.rint(weekly * rng.choice([0.2, 0.5, 1.0]) / pack), 1, 10))
            begins = [start - 200, *([int(start + rng.integers(120, 640))] if rng.random() < 0.5 else [])]
            for step, begin in enumerate(begins):
                level = price * (1 + step * rng.choice([-0.03, 0.04, 0.07]))
                breaks = [(moq, 1.0), (moq * 4, 0.97), (moq * 12, 0.93)][: int(rng.integers(1, 4))]
                prices = tuple((quantity, round(level * factor * 10_000)) for quantity, factor in breaks)
                offers.append(Offer(supplier, int(item), begin, begin - 30, moq, pack, prices))
    return offers
