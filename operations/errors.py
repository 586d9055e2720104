"""What operations refuses or cannot do, each with one sentence that says what to do.

    OperationsError
    ├── DatabaseUnavailable   PostgreSQL is down, full, or refuses the password; trying again later may succeed
    ├── NotAuthenticated      no token, or one that is unknown, expired or revoked
    ├── NotAllowed            the person's roles, limits or the segregation of duties forbid it
    ├── NotFound              there is no such thing
    ├── Conflict              it is not in a state that admits the action
    └── Invalid               the request itself makes no sense

The text is shown to people as it is: it never carries a secret.
"""

from __future__ import annotations


class OperationsError(Exception):
    """Base of every error operations raises on purpose."""


class DatabaseUnavailable(OperationsError):
    """PostgreSQL cannot be used now."""


class NotAuthenticated(OperationsError):
    """Nobody can be named for this request."""


class NotAllowed(OperationsError):
    """Somebody asked for what is not theirs to do."""


class NotFound(OperationsError):
    """There is no such thing."""


class Conflict(OperationsError):
    """The thing is not in a state that admits the action."""


class Invalid(OperationsError):
    """The request itself makes no sense."""
