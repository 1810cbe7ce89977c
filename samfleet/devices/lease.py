"""Give each job a device of its own, by locks that end with its process. Standard library only."""

import contextlib
import errno
import fcntl
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from samfleet.devices.visible import Device
from samfleet.digests import digest_of
from samfleet.errors import UserError

logger = logging.getLogger(__name__)

_JOB_VARIABLES = ("SLURM_JOB_ID", "LSB_JOBID", "PBS_JOBID", "_CONDOR_JOB_AD", "JOB_ID")
_POLL_SECONDS = 0.2
_NOTICE_SECONDS = 60


class LeaseError(UserError):
    """No device can be leased; the message says why, and what to do."""


def scheduler_job(environment: Mapping[str, str] = os.environ) -> str:
    """The id of the scheduler's job that this process is part of; empty if there is none."""
    return next((environment[name] for name in _JOB_VARIABLES if environment.get(name)), "")


def lease_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of the locks on this machine, one per user and scheduler job.

    A scheduler that confines jobs to their devices gives every job the same device numbers, so jobs
    must not share the locks of numbers. They do share the locks of UUIDs, which lie in the folder
    above. TMPDIR is not used, since it may differ between the processes of a job.
    """
    job = scheduler_job(environment) or "local"
    return Path("/tmp") / f"samfleet-{os.getuid()}" / re.sub(r"[^\w.-]", "_", job)[-100:]


@contextlib.contextmanager
def lease_device(
    devices: list[Device],
    folder: Path,
    excluded: Callable[[], set[str]] = set,
) -> Iterator[Device]:
    """Hold one of `devices` during the block; wait until one is free.

    The lease is an flock on a file named after the device, and a socket whose name follows from the file's
    path. The kernel releases both when the process ends, however it ends, and processes started with exec do
    not inherit them. The file excludes processes that share the file system. Whoever cleans /tmp can remove
    it, and then another process would lock a file of its own; but the name of a socket in Linux's abstract
    namespace is no file, and is free only when its holder has ended.

    Args:
        devices: the devices to choose from; the first free one is taken.
        folder: the folder of the lock files, see `lease_folder`.
        excluded: returns the locks of devices to leave out; called again at every attempt.

    Raises:
        LeaseError: no device is left, others can write to the folder, or it cannot be used.
    """
    try:
        _make_private(folder)
    except OSError as error:
        raise _unusable(error.filename or folder, error) from error
    waited, noticed = time.monotonic(), False
    while True:
        left_out = excluded()
        candidates = [device for device in devices if device.lock not in left_out]
        if not candidates:
            raise LeaseError(
                f"no device is left: {', '.join(sorted(left_out))} failed in this plan; "
                "look at the log, then run again to retry them"
            )
        for device in candidates:
            locks = _try_lock(_lock_file(folder, device))
            if locks is not None:
                logger.info("leased device %s", device.name)
                with locks:
                    try:
                        yield device
                    finally:
                        logger.info("released device %s", device.name)
                return
        if not noticed and time.monotonic() - waited > _NOTICE_SECONDS:
            names = ", ".join(device.name for device in candidates)
            logger.warning("waiting for a free device; all are in use: %s", names)
            noticed = True
        time.sleep(_POLL_SECONDS)


def _lock_file(folder: Path, device: Device) -> Path:
    """The lock file: shared by all jobs for a UUID, within a job for a device number."""
    shared = re.match(r"(GPU|MIG)-", device.lock)
    return (folder.parent if shared else folder) / re.sub(r"[^\w.-]", "_", device.lock)


def _make_private(folder: Path) -> None:
    for part in (folder.parent, folder):
        with contextlib.suppress(FileExistsError):
            part.mkdir(mode=0o700)
        stat = part.lstat()
        if stat.st_uid != os.getuid() or stat.st_mode & 0o170022 != 0o040000:
            raise LeaseError(f"{part} must be a folder that only you can write to; delete it")


def _try_lock(path: Path) -> contextlib.ExitStack | None:
    """What holds the lock until it is closed, or None while another process holds it.

    Raises:
        LeaseError: the file cannot be opened or locked.
    """
    with contextlib.ExitStack() as stack:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(path, flags, 0o600)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            name = stack.enter_context(socket.socket(socket.AF_UNIX))
            name.bind(f"\0samfleet-{digest_of(str(path))}")
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EADDRINUSE):
                return None
            raise _unusable(path, error) from error
        return stack.pop_all()


def _unusable(path: str | Path, error: OSError) -> LeaseError:
    """The error of a lock that is a link or a folder, or that lies on a full or read-only disk."""
    if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENOTDIR):
        return LeaseError(f"{path}: not a file of samfleet's ({error.strerror}); delete it")
    return LeaseError(
        f"{path}: cannot be used to lease a device ({error.strerror}); /tmp must be writable and have "
        "some room left"
    )
