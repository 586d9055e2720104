"""Personal data at the door: customer ids become keyed hashes, everything else personal is dropped from payloads.

The key never leaves STOCKFLOW_HOME; without it a hash can be neither reversed nor recomputed from a list of ids.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Set
from types import NoneType
from typing import Any


def hash_customer(customer_id: object, key: bytes) -> str | None:
    """32 hex digits for a customer id, the same for the same key; None for no customer."""
    if customer_id is None or str(customer_id).strip() == "":
        return None
    return hmac.new(key, str(customer_id).strip().encode(), hashlib.sha256).hexdigest()[:32]


def redact(payload: Any, personal: Set[str]) -> Any:
    """A copy of a JSON-like payload without the fields named in `personal`, at any depth."""
    if isinstance(payload, dict | Mapping):
        # Most values are plain ones: not calling for them halves the time of a large pull.
        return {
            key: value if type(value) in _PLAIN else redact(value, personal)
            for key, value in payload.items()
            if key not in personal
        }
    if isinstance(payload, list | tuple):
        return [redact(value, personal) for value in payload]
    return payload


_PLAIN = frozenset({str, int, float, bool, NoneType})
