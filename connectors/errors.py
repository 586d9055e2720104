"""What can go wrong outside, classified once.

    StockflowError
    ├── TransientError      worth trying again later (time-outs, 429, 5xx, a lock held by another process)
    └── PermanentError      a person must act (bad credentials, a file that cannot be read, a schema that changed)

Every message is one sentence a user can act on: what happened, where, and what to do. Neither kind ever carries a
secret or personal data.
"""


class StockflowError(Exception):
    """Base of every error Stockflow raises on purpose; its text is shown to the user as it is."""


class TransientError(StockflowError):
    """Trying again may succeed.

    `retry_after` is in seconds, None where the other side did not say.
    """

    def __init__(self, message: str, retry_after: float | None = None):
        super().__init__(message)
        self.retry_after = retry_after


class PermanentError(StockflowError):
    """Trying again cannot succeed until a person changes something."""
