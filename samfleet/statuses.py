"""The statuses of an image and which of them are results; standard library only."""

OK = "ok"
EMPTY = "empty"
CHANGED = "changed"
PENDING = "pending"
UNREADABLE = "unreadable"
UNSUPPORTED = "unsupported"
TOO_LARGE = "too_large"
OUT_OF_MEMORY = "out_of_memory"
ERROR = "error"

MAXIMUM_ATTEMPTS = 3
"""In how many runs an image with a transient failure is tried."""
