"""Memory management of a process that computes masks."""

import ctypes
import platform

# From malloc.h of glibc.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_NEVER = 2**31 - 1
_LARGEST_OF_HEAP = 1 << 25  # the largest threshold that glibc accepts


def keep_freed_memory(at_most: int | None = None) -> bool:
    """Make the C library keep freed blocks of memory and use them again, even large ones.

    On a CPU every batch of prompts allocates and frees tensors of megabytes, and next to a GPU every image does.
    glibc returns each to the system, which then clears the pages of the next one. That can take as long as the
    arithmetic.

    Args:
        at_most: bytes that are kept, of blocks of up to 32 MiB; None keeps all of every size.

    Returns:
        Whether it was done; it is done for glibc only.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    if at_most is None:
        return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
    large = bool(mallopt(_MMAP_THRESHOLD, _LARGEST_OF_HEAP))
    return large and bool(mallopt(_TRIM_THRESHOLD, at_most))
