"""The statuses of a picture and which of them are results; standard library only."""

OK = "ok"
EMPTY = "empty"
CHANGED = "changed"
PENDING = "pending"
UNREADABLE = "unreadable"
UNSUPPORTED = "unsupported"
TOO_LARGE = "too_large"
OUT_OF_MEMORY = "out_of_memory"
ERROR = "error"

FAILURES = (UNREADABLE, UNSUPPORTED, TOO_LARGE, OUT_OF_MEMORY, ERROR)
"""Statuses that `on_error: fail` fails on, with `changed` and `pending`."""

MAXIMUM_ATTEMPTS = 3
"""In how many runs a picture with a transient failure is tried."""
