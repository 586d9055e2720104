"""Days of a history that are not believed: by all of it where its end is forecast from, at a held-out origin by the days before.

Belongs here: keeping what the file says of such days, and judging anew which they are at an origin. Does not belong here: what
is too much (`ml.forecast.spikes`) or too quiet (`ml.phantom`) to be believed.

In the middle of a history the days after tell, too: an order of a hundred is cut by what sold later, and a shelf that looked
empty is known for the quiet week that it was once something sells. A forecast from that day could not know it, and models that
were spared what a forecast has to bear would be judged and calibrated too well.

Left as they are, for they say something of the file, and a forecast from its end knows them for the same days: series that are
left out altogether, in-stock shares that sales disprove, what a day without a row means. So is a day that is believed today and
would have been cut on its own day, the first of a product that has sold twenty times as much since: there are hardly any.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from ml.forecast.spikes import cut_spikes, usual_days
from ml.phantom import phantom_days


@dataclass(frozen=True)
class Doubted:
    """What the file says of the days that are not believed, of N series over T days, sparse: the `quantity` [N, T] of those
    that were cut to `spike_factor` usual selling days, and the in-stock `share` [N, T] of those that count as days without stock
    in a run of at most `phantom_days`; `share` is None where these are not looked for."""

    quantity: csr_array
    share: csr_array | None
    spike_factor: float
    phantom_days: int

    def select(self, rows: np.ndarray) -> Doubted:
        """The same of only some series (indices or a mask)."""
        share = None if self.share is None else self.share[rows]
        return Doubted(self.quantity[rows], share, self.spike_factor, self.phantom_days)

    def sales_until(self, day: int, sales: np.ndarray) -> np.ndarray:
        """The `sales` [N, T] of the first days [N, day], cut by no later ones."""
        sales, said = sales[:, :day], self.quantity[:, :day]
        rows = np.unique(said.nonzero()[0])
        if not len(rows):
            return sales
        recorded = np.maximum(sales[rows], said[rows].toarray())
        sales = sales.copy()
        sales[rows], _ = cut_spikes(recorded, usual_days(recorded, self.spike_factor), self.spike_factor)
        return sales

    def stocked_until(self, day: int, sales: np.ndarray, stocked: np.ndarray, location: np.ndarray) -> np.ndarray:
        """The in-stock share `stocked` [N, T] of the first days [N, day], with the phantom stock that their `sales` [N, day]
        show; `location` [N] codes."""
        if self.share is None:
            return stocked[:, :day]
        by_the_books = np.maximum(stocked[:, :day], self.share[:, :day].toarray())
        return np.where(phantom_days(sales, by_the_books, location, self.phantom_days), np.float32(0), by_the_books)


def said(values: np.ndarray, days: np.ndarray) -> csr_array:
    """The `values` [N, T] of `days` [N, T], sparse."""
    at = np.nonzero(days)
    return csr_array((values[at], at), shape=values.shape)
