"""The device of a job: leased, the only one that CUDA shows, and left out of the plan if it fails."""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import quote, unquote

from samfleet.config.settings import GPU_PRECISIONS
from samfleet.devices.lease import lease_device, lease_folder, scheduler_job
from samfleet.devices.visible import Device, gpu_exists, visible_devices
from samfleet.errors import PermanentError, UserError
from samfleet.files import write_atomic

logger = logging.getLogger(__name__)

CPU = Device("", "")
"""What a job without a GPU runs on."""


class DeviceError(UserError):
    """A device cannot be used; the message names it and says what to do."""


class MissingDeviceError(DeviceError, PermanentError):
    """This machine has no GPU, and no scheduler that could give the job another machine."""


@contextlib.contextmanager
def job_device(
    device: str, pretended: Sequence[str], failed: Path, precision: str = "fast"
) -> Iterator[Device]:
    """Hold the device that a job is to use for the length of the block.

    Args:
        device: the configuration's `device`.
        pretended: the configuration's `devices`.
        precision: the configuration's `sam.precision`.
        failed: the folder with an empty file for each device of this host that failed in the plan.
            Files are named after the lock, since every job may know its own device as 0.

    Raises:
        DeviceError: there is no GPU, but `device` or `precision` needs one.
        LeaseError: every device failed.
    """
    devices = usable_devices(device, pretended, precision)
    if not devices and device == "auto":
        logger.warning("no GPU is visible: running on the CPU")
    with _lease(devices, failed) as leased:
        os.environ["CUDA_VISIBLE_DEVICES"] = leased.name
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # the order that nvidia-smi numbers in
        try:
            yield leased
        except DeviceError:
            if leased != CPU:
                write_atomic(failed / quote(leased.lock, safe=""), "")
            raise


def usable_devices(device: str, pretended: Sequence[str], precision: str) -> list[Device]:
    """The devices that a job on this machine can choose from; none if it will run on the CPU.

    Raises:
        DeviceError: there is no GPU, but `device` or `precision` needs one.
    """
    devices = [] if device == "cpu" else visible_devices(pretended)
    if devices and device == "auto" and not pretended and not gpu_exists():
        devices = []  # CUDA_VISIBLE_DEVICES names what is not there
    needed_by = "device: cuda" if device == "cuda" else f"sam.precision: {precision}"
    if not devices and (device == "cuda" or precision in GPU_PRECISIONS):
        kind = DeviceError if scheduler_job() else MissingDeviceError
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        instead = ["device: cpu"] if device == "cuda" else []
        instead += ["sam.precision: fast"] if precision in GPU_PRECISIONS else []
        raise kind(
            f"{needed_by} needs a GPU, but {socket.gethostname()} shows none (CUDA_VISIBLE_DEVICES "
            f"{'is not set' if visible is None else f'is {visible!r}'}); "
            f"ask the scheduler for one, or set {' and '.join(instead)}"
        )
    return devices


def _lease(devices: list[Device], failed: Path) -> AbstractContextManager[Device]:
    """A lease of a device that has not failed; the CPU needs none."""
    if not devices:
        return contextlib.nullcontext(CPU)
    return lease_device(
        devices, lease_folder(), lambda: {unquote(path.name) for path in failed.glob("*")}
    )


def torch_device(device: Device) -> str:
    """What torch calls a leased device: "cuda", or "cpu" if it is the CPU or pretended.

    Raises:
        DeviceError: torch cannot use it.
    """
    import torch

    if device == CPU or device.pretended:
        return "cpu"
    if not torch.cuda.is_available():
        raise DeviceError(
            f"device {device.name} on {socket.gethostname()} cannot be used by torch "
            f"{torch.__version__}; compare its CUDA version with the driver's"
        )
    return "cuda"


def device_error(device: Device, error: Exception) -> DeviceError:
    """The error that ends a job whose device failed."""
    name = f"device {device.name or 'cpu'} on {socket.gethostname()}"
    return DeviceError(f"{name} failed: {error}")
