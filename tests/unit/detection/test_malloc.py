"""Memory that is freed is kept, in a process of its own since that cannot be undone."""

import platform
import subprocess
import sys

import pytest

CODE = """
import resource
from samfleet.detection.malloc import keep_freed_memory
if {keep}:
    assert keep_freed_memory({at_most})
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = b"x" * ({size} << 20)
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(keep: bool, at_most: int | None = None, size: int = 64) -> int:
    """Pages that a block of so many MiB has to ask the system for, when others were freed before."""
    command = [sys.executable, "-c", CODE.format(keep=keep, at_most=at_most, size=size)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone can be told to")
def test_freed_memory_serves_the_next_block():
    assert page_faults(keep=True) < 4 < page_faults(keep=False)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone can be told to")
def test_no_more_is_kept_than_was_asked_for():
    assert page_faults(keep=True, at_most=48 << 20, size=31) < 4
    for at_most, size in ((16 << 20, 31), (128 << 20, 64)):
        assert page_faults(keep=True, at_most=at_most, size=size) > 4
