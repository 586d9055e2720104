"""What a business sets about its replenishment: costs, service, conventions. Validated YAML, defaults here.

Belongs here: the parameter models and how they are read. Does not belong here: facts about suppliers, items or
locations, which are inputs.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml.replenishment.errors import InvalidParameters

Share = Annotated[float, Field(ge=0, le=1)]
Service = Annotated[float, Field(gt=0, lt=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Policy(_Strict):
    """What an order weighs against what; each item class may replace any of it.

    With `service_target` the stock-out probability of a protection interval is held at 1 - target and lots are always
    rounded up. Without it the target is the newsvendor's critical ratio Cu / (Cu + Co), where Cu is the lost margin of
    a unit short and Co the holding cost of a unit left over for one review interval, kept between `minimum_service`
    and `maximum_service`; a lot is then rounded to the cheaper neighbour.
    """

    # Probability that an interval passes without a stock-out; none: weigh costs instead.
    service_target: Service | None = None
    # Never lower ...
    minimum_service: Service = 0.5
    # ... and never higher than this, whatever the costs say.
    maximum_service: Service = 0.98
    # Cost of a unit short as a multiple of its margin; above 1 when customers who find nothing also stay away.
    stockout_cost_share: Annotated[float, Field(ge=0)] = 1.0
    # Cost of holding stock, per year and per unit of its value: capital, space, shrinkage.
    holding_rate: Annotated[float, Field(ge=0)] = 0.25
    # What throwing a unit away costs on top of its purchase value, as a share of that value.
    disposal_cost_share: Annotated[float, Field(ge=0)] = 0.0


class PolicyChange(_Strict):
    """The fields of `Policy` that one item class replaces; those left out stay."""

    service_target: Service | None = None
    minimum_service: Service | None = None
    maximum_service: Service | None = None
    stockout_cost_share: Annotated[float, Field(ge=0)] | None = None
    holding_rate: Annotated[float, Field(ge=0)] | None = None
    disposal_cost_share: Annotated[float, Field(ge=0)] | None = None


class Parameters(_Strict):
    """All that a business decides about replenishment. Days are calendar days."""

    # Currency in which costs are weighed against each other.
    reporting_currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "EUR"
    # What an order weighs against what.
    policy: Policy = Policy()
    # The same by item class, replacing parts of it.
    classes: dict[str, PolicyChange] = {}

    # How many demand and lead-time scenarios a decision is weighed on.
    paths: Annotated[int, Field(ge=10, le=10_000)] = 200
    # How far the risk table and the purchase plan look.
    horizon_days: Annotated[int, Field(ge=1, le=180)] = 28
    # An order day counts only when the next one is at least this many days later.
    review_period_days: Annotated[int, Field(ge=1, le=180)] = 1
    # Goods are on sale this many days after the day they arrive; 0 where they are on the shelf before opening.
    receiving_days: Annotated[int, Field(ge=0, le=30)] = 1
    # When proposals are decided on; a supplier's cut-off before it is met only by the cycle of the day before.
    decision_time: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")] = "09:00"
    # Orders whose last day to decide is at most this many days away are proposed; the others wait for their cycle.
    propose_ahead_days: Annotated[int, Field(ge=0, le=28)] = 0

    # Assumed of a supplier of whom neither receipts nor a statement say how long it takes.
    default_lead_time_days: Annotated[float, Field(ge=0)] = 7.0
    # Standard deviation as a share of the mean, where only the mean is stated.
    default_lead_time_cv: Annotated[float, Field(ge=0, le=3)] = 0.25
    # Observed receipts replace the stated lead time from this many on.
    minimum_receipts: Annotated[int, Field(ge=1)] = 8

    # An order that should be here is expected again after this long, where the supplier's own delays are unknown ...
    late_order_days: Annotated[int, Field(ge=1)] = 3
    # ... and is no longer counted on when it is later than this.
    lost_after_days: Annotated[int, Field(ge=1)] = 90

    # Book stock below zero by more than this (base units) withholds a SKU; above, it counts as none on hand.
    negative_stock_tolerance: Annotated[float, Field(ge=0)] = 0.0
    # A stock count older than this withholds a SKU; none: any age will do.
    stock_count_max_age_days: Annotated[int, Field(ge=1)] | None = None

    # Selling price where none is known: unit cost times (1 + markup).
    default_markup: Annotated[float, Field(ge=0)] = 0.5
    # Yearly cost of capital, by which a supplier's payment terms are worth something.
    capital_rate: Share = 0.06

    def policy_for(self, item_class: str | None) -> Policy:
        """The policy of an item class: the general one with what the class replaces."""
        change = self.classes.get(item_class or "")
        if change is None:
            return self.policy
        return self.policy.model_copy(update=change.model_dump(exclude_unset=True))

    @property
    def version(self) -> str:
        """Twelve hex digits that change when any parameter does."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()[:12]

    def canonical(self) -> str:
        """The same parameters give the same text."""
        values = self.model_dump(mode="json")
        # A class that says null replaces; a class that says nothing does not.
        values["classes"] = {name: change.model_dump(exclude_unset=True) for name, change in self.classes.items()}
        return json.dumps(values, sort_keys=True, separators=(",", ":"))


def read_parameters(text: str) -> Parameters:
    """Parameters from YAML text; what it leaves out keeps its default. Raises InvalidParameters."""
    try:
        return Parameters.model_validate(yaml.safe_load(text) or {})
    except yaml.YAMLError as error:
        raise InvalidParameters(f"The replenishment parameters are not readable YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InvalidParameters(f"Correct the replenishment parameter {where}: {first['msg']}.") from error
