"""Find the devices that this process may use, without torch. Standard library only."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU by the name that this process can use for it.

    Attributes:
        name: the value for CUDA_VISIBLE_DEVICES that makes this device the only visible one.
        lock: its UUID if that is known, which is the same for every process of this machine; else
            `name`, which is only unique within a scheduler job.
        pretended: whether this is only a name, for tests and simulation; work runs on the CPU.
    """

    name: str
    lock: str
    pretended: bool = False


def visible_devices(
    pretended: list[str] | None = None, environment: Mapping[str, str] = os.environ
) -> list[Device]:
    """The devices in the inherited CUDA_VISIBLE_DEVICES, or all if it is not set.

    As in CUDA, an entry of CUDA_VISIBLE_DEVICES that names no device ends the list.

    Args:
        pretended: names to use instead of the devices of this machine. A scheduler may choose
            among them by numbers in CUDA_VISIBLE_DEVICES.
        environment: the environment that may have CUDA_VISIBLE_DEVICES.
    """
    inherited = environment.get("CUDA_VISIBLE_DEVICES")
    if pretended:
        names = _picked(pretended, inherited) if inherited else pretended
        return [Device(name, name, pretended=True) for name in names]
    uuids = _uuids()
    if inherited is None:
        return [Device(str(index), uuid) for index, uuid in enumerate(uuids)]
    devices = []
    for entry in dict.fromkeys(part.strip() for part in inherited.split(",")):
        if entry.isdecimal():
            index = int(entry)
            if uuids and index >= len(uuids):
                break
            devices.append(Device(entry, uuids[index] if uuids else entry))
        elif re.match(r"(GPU|MIG)-", entry):
            devices.append(Device(entry, _full_uuid(entry, uuids)))
        else:
            break
    return devices


def gpu_exists() -> bool:
    """Whether nvidia-smi, the kernel or else torch finds a GPU.

    torch runs in a separate process, because it would fix the visible devices of this one.
    """
    probe = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return bool(_uuids()) or subprocess.run([sys.executable, "-c", probe]).returncode == 0


def _picked(names: list[str], numbers: str) -> list[str]:
    """The names that the numbers in a CUDA_VISIBLE_DEVICES choose."""
    picked = []
    for entry in (part.strip() for part in numbers.split(",")):
        if not entry.isdecimal() or int(entry) >= len(names):
            break
        picked.append(names[int(entry)])
    return picked


def _full_uuid(entry: str, uuids: list[str]) -> str:
    """Complete a UUID, since CUDA also accepts a unique prefix of it."""
    matches = [uuid for uuid in uuids if uuid.startswith(entry)]
    return matches[0] if len(matches) == 1 else entry


def _uuids() -> list[str]:
    """The UUIDs of the GPUs in PCI order; their numbers if nvidia-smi is not available."""
    try:
        listing = subprocess.run(
            ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return [str(i) for i in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
    return [line.strip() for line in listing.splitlines() if line.strip().startswith("GPU-")]
