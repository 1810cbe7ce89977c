"""The statuses of an image; standard library only."""

from enum import StrEnum


class Status(StrEnum):
    """The result of an image, as the tables write it.

    In the store, an image that was detected is `ok`. The summary calls it `empty` if the filters leave
    no object, and calls an image `pending` if nothing is stored for it yet.
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
"""The number of runs in which an image with a transient failure is tried."""
