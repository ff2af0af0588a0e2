"""How long to wait for what may never come: three times as long where ROE_TESTS_PATIENCE=3 is set."""

import os

_FACTOR = float(os.environ.get("ROE_TESTS_PATIENCE", "1"))


def patient(seconds: float) -> float:
    """Return how long to wait here for what takes at most so many seconds elsewhere."""
    return seconds * _FACTOR
