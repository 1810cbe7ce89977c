"""Memory management of a process that computes masks."""

import ctypes
import platform

# From malloc.h of glibc.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Make the C library keep freed blocks of memory and use them again, even large ones.

    On a CPU every batch of prompts allocates and frees tensors of megabytes, and next to a GPU every image does.
    glibc returns each to the system, which then clears the pages of the next one. That can take as long as the
    arithmetic.

    Returns:
        Whether it was done; it is done for glibc only.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
