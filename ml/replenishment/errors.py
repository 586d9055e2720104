"""What replenishment refuses, each with one sentence that says what to do. Bad data of one SKU is not an error: the SKU
is withheld and listed (`screening`), and the others go on."""


class ReplenishmentError(Exception):
    """Base of every error this package raises on purpose."""


class InvalidInputs(ReplenishmentError):
    """A table handed over has the wrong columns or types."""


class InvalidParameters(ReplenishmentError):
    """The parameter file does not say what it must."""


class FrozenInputsDamaged(ReplenishmentError):
    """Frozen inputs are missing or are not what their hash says."""
