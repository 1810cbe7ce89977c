"""Memory of a process that computes masks on a CPU."""

import ctypes
import platform

# Of malloc.h in glibc.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Have the C library keep large blocks that are freed, for the next ones.

    Tensors of megabytes come and go with every batch of prompts. glibc returns each to the system
    and has the next one's pages cleared by it, which can take as long as the arithmetic.

    Returns:
        Whether it was done; other C libraries are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))
