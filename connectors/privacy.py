"""Personal data at the door: customer ids become keyed hashes, everything else personal is dropped from payloads.

The key never leaves STOCKFLOW_HOME; without it a hash can be neither reversed nor recomputed from a list of ids.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Set
from typing import Any


def hash_customer(customer_id: object, key: bytes) -> str | None:
    """32 hex digits for a customer id, the same for the same key; None for no customer."""
    if customer_id is None or str(customer_id).strip() == "":
        return None
    return hmac.new(key, str(customer_id).strip().encode(), hashlib.sha256).hexdigest()[:32]


def redact(payload: Any, personal: Set[str]) -> Any:
    """A copy of a JSON-like payload without the fields named in `personal`, at any depth."""
    if payload is None or isinstance(payload, str | int | float):
        return payload
    if isinstance(payload, dict | Mapping):
        return {k: redact(v, personal) for k, v in payload.items() if k not in personal}
    if isinstance(payload, list | tuple):
        return [redact(v, personal) for v in payload]
    return payload
