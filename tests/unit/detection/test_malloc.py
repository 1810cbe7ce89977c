"""Memory that is freed is kept, in a process of its own since that cannot be undone."""

import platform
import subprocess
import sys

import pytest

CODE = """
import resource
from samfleet.detection.malloc import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = b"x" * (64 << 20)
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(keep: bool) -> int:
    """Pages that a block of 64 MiB has to ask the system for, when others were freed before."""
    command = [sys.executable, "-c", CODE.format(keep=keep)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone can be told to")
def test_freed_memory_serves_the_next_block():
    assert page_faults(keep=True) < 4 < page_faults(keep=False)
