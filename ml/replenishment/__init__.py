"""Replenishment: from one cycle's frozen inputs to what to order, what to move, and why.

Belongs here: frozen inputs, lanes (order days, lead times), position, policy, lots, sourcing, stock-out risk, proposals
and their explanation, as pure functions on tables. Does not belong here: forecasting (`ml.forecast` supplies
`sample_paths`), approval and documents (`operations`), databases, the clock.

    inputs, freezing      what a cycle decides from, and its storage by content
    demand, position      scenarios of demand; stock by arrival date
    lanes, sourcing       when goods can come, from where, at what price
    policy, lots          how much is needed; how much can be ordered
    batch, decide         one batch of items: what is given, what is decided
    minimums              a supplier's minimum order
    propose, stockout     the cycle's proposals; risk and purchases of the coming weeks
    evidence, explain     why
"""

from ml.replenishment.demand import SamplePaths
from ml.replenishment.errors import FrozenInputsDamaged, InvalidInputs, InvalidParameters, ReplenishmentError
from ml.replenishment.explain import Explanation, explain
from ml.replenishment.freezing import freeze, thaw
from ml.replenishment.inputs import TABLES, FrozenInputs
from ml.replenishment.parameters import Parameters, Policy, read_parameters
from ml.replenishment.propose import ProposalSet, propose

__all__ = [
    "TABLES",
    "Explanation",
    "FrozenInputs",
    "FrozenInputsDamaged",
    "InvalidInputs",
    "InvalidParameters",
    "Parameters",
    "Policy",
    "ProposalSet",
    "ReplenishmentError",
    "SamplePaths",
    "explain",
    "freeze",
    "propose",
    "read_parameters",
    "thaw",
]
