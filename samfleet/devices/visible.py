"""Find the devices that this process may use, without torch. Standard library only."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
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
    pretended: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ
) -> list[Device]:
    """The devices in the inherited CUDA_VISIBLE_DEVICES, or all if it is not set.

    As in CUDA, an entry of CUDA_VISIBLE_DEVICES that names no device ends the list, and a GPU that is divided
    into instances (MIG) stands for the first of them, since it cannot be used as a whole. Where any is divided,
    devices are named by UUID: CUDA then no longer counts what nvidia-smi counts.

    Args:
        pretended: names to use instead of the devices of this machine. A scheduler may choose
            among them by numbers in CUDA_VISIBLE_DEVICES.
        environment: the environment that may have CUDA_VISIBLE_DEVICES.
    """
    inherited = environment.get("CUDA_VISIBLE_DEVICES")
    if pretended:
        names = _picked(pretended, inherited) if inherited else pretended
        return [Device(name, name, pretended=True) for name in names]
    gpus = _gpus()
    if inherited is None:
        if all(gpu.usable == [gpu.uuid] for gpu in gpus):
            return [Device(str(index), gpu.uuid) for index, gpu in enumerate(gpus)]
        return [Device(uuid, uuid) for gpu in gpus for uuid in gpu.usable]
    devices: list[Device] = []
    for entry in dict.fromkeys(part.strip() for part in inherited.split(",")):
        if entry.isdecimal():
            index = int(entry)
            if gpus and index >= len(gpus):
                break
            devices += _named(entry, gpus[index]) if gpus else [Device(entry, entry)]
        elif re.match(r"(GPU|MIG)-", entry):
            devices += _by_uuid(entry, gpus)
        else:
            break
    locks = [device.lock for device in devices]
    return [device for place, device in enumerate(devices) if device.lock not in locks[:place]]


def gpu_exists() -> bool:
    """Whether nvidia-smi, the kernel or else torch finds a GPU.

    torch runs in a separate process, because it would fix the visible devices of this one.
    """
    if any(gpu.usable for gpu in _gpus()):
        return True
    probe = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([sys.executable, "-c", probe]).returncode == 0


def _picked(names: Sequence[str], numbers: str) -> list[str]:
    """The names that the numbers in a CUDA_VISIBLE_DEVICES choose."""
    picked = []
    for entry in (part.strip() for part in numbers.split(",")):
        if not entry.isdecimal() or int(entry) >= len(names):
            break
        picked.append(names[int(entry)])
    return picked


@dataclass(frozen=True, slots=True)
class _Gpu:
    """A GPU of this machine.

    Attributes:
        uuid: its UUID, or its number where nvidia-smi is not available.
        usable: what CUDA can use of it, by UUID: the GPU itself or, if it is divided, its instances.
    """

    uuid: str
    usable: list[str]


def _named(entry: str, gpu: _Gpu) -> list[Device]:
    """What an entry of CUDA_VISIBLE_DEVICES that means a GPU makes visible."""
    if gpu.usable == [gpu.uuid]:
        return [Device(entry, gpu.uuid)]
    return [Device(uuid, uuid) for uuid in gpu.usable[:1]]


def _by_uuid(entry: str, gpus: list[_Gpu]) -> list[Device]:
    """What a UUID makes visible, or a unique prefix of one, which CUDA accepts as well."""
    whole = [gpu for gpu in gpus if gpu.uuid.startswith(entry)]
    instances = [uuid for gpu in gpus for uuid in gpu.usable if uuid.startswith(entry)]
    if len(whole) == 1:
        return _named(entry, whole[0])
    return [Device(entry, instances[0] if len(instances) == 1 else entry)]


def _gpus() -> list[_Gpu]:
    """The GPUs of this machine in PCI order."""
    try:
        listing = _nvidia_smi("-L")
    except (OSError, subprocess.SubprocessError):
        numbers = range(len(list(Path("/dev").glob("nvidia[0-9]*"))))
        return [_Gpu(str(number), [str(number)]) for number in numbers]
    gpus: list[_Gpu] = []
    for line in listing.splitlines():
        # "GPU 0: NVIDIA A100 (UUID: GPU-...)", and below it for each instance
        # "  MIG 3g.20gb Device 0: (UUID: MIG-...)", with older drivers "MIG-GPU-.../1/0"
        if found := re.search(r"(?:^\s*|UUID: )((GPU|MIG)-[\w/-]+)", line):
            uuid, kind = found.groups()
            if kind == "GPU":
                gpus.append(_Gpu(uuid, []))
            elif gpus:
                gpus[-1].usable.append(uuid)
    divided = _divided()
    return [
        gpu if gpu.usable or gpu.uuid in divided else _Gpu(gpu.uuid, [gpu.uuid]) for gpu in gpus
    ]


def _divided() -> set[str]:
    """The UUIDs of GPUs that can be used by instances only, even if there are none; older drivers know of none."""
    try:
        modes = _nvidia_smi("--query-gpu=uuid,mig.mode.current", "--format=csv,noheader")
    except (OSError, subprocess.SubprocessError):
        return set()
    rows = [line.split(",") for line in modes.splitlines()]
    return {row[0].strip() for row in rows if row[-1].strip() == "Enabled"}


def _nvidia_smi(*options: str) -> str:
    command = ["nvidia-smi", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
