"""The statuses of an image; standard library only."""

from enum import StrEnum


class Status(StrEnum):
    """What became of an image, as the tables write it.

    The store holds `ok` for an image that was detected; the summary tells `empty` from it, where no
    object is left, and `pending`, where nothing is stored yet.
    """

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
