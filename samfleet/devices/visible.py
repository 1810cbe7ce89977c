"""Which devices this process may use, found without torch; standard library only."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU as this process can name it.

    Attributes:
        name: the value for CUDA_VISIBLE_DEVICES that makes this device the only visible one.
        lock: its UUID where it is known, which every process of this machine knows it by; else
            `name`, which means it within this scheduler job alone.
        pretended: whether it is only a name, for tests and simulation; work runs on the CPU.
    """

    name: str
    lock: str
    pretended: bool = False


def visible_devices(
    pretended: list[str] | None = None, environment: Mapping[str, str] = os.environ
) -> list[Device]:
    """The devices visible here: CUDA_VISIBLE_DEVICES as inherited, else all.

    As in CUDA, an entry of CUDA_VISIBLE_DEVICES that names no device ends the list.

    Args:
        pretended: names to use instead of the machine's own devices. A CUDA_VISIBLE_DEVICES that
            is not empty picks among them by number, so a scheduler can hand them out.
        environment: where CUDA_VISIBLE_DEVICES is looked up.
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
    """Whether this machine has a GPU that can be counted, or else one that torch finds.

    torch is asked in a process of its own: in this one it would settle which devices are visible.
    """
    probe = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return bool(_uuids()) or subprocess.run([sys.executable, "-c", probe]).returncode == 0


def _picked(names: list[str], numbers: str) -> list[str]:
    """Of `names` those that a CUDA_VISIBLE_DEVICES picks."""
    picked = []
    for entry in (part.strip() for part in numbers.split(",")):
        if not entry.isdecimal() or int(entry) >= len(names):
            break
        picked.append(names[int(entry)])
    return picked


def _full_uuid(entry: str, uuids: list[str]) -> str:
    """CUDA accepts a unique prefix of a UUID: the lock needs the whole."""
    matches = [uuid for uuid in uuids if uuid.startswith(entry)]
    return matches[0] if len(matches) == 1 else entry


def _uuids() -> list[str]:
    """UUIDs of the GPUs in PCI order, by nvidia-smi; device numbers where it is not installed."""
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
