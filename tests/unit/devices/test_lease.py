"""The lease: one job holds one device, and the kernel frees it however the job ends."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from samfleet.devices import lease
from samfleet.devices.lease import LeaseError, lease_device, lease_folder
from samfleet.devices.visible import Device
from samfleet.resources import ROOT

A, B = Device("0", "GPU-a"), Device("1", "GPU-b")

HOLDER = """
import os, sys
from pathlib import Path
from samfleet.detection.workers import Workers
from samfleet.devices.visible import Device
from samfleet.devices.lease import lease_device

if __name__ == "__main__":
    with lease_device([Device("0", "GPU-a"), Device("1", "GPU-b")], Path(sys.argv[1])) as device:
        with Workers(1) as workers:
            worker = workers.result(workers.submit(os.getpid)) if "worker" in sys.argv else 0
            print(device.name, worker, flush=True)
            sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(lease, "_POLL_SECONDS", 0.01)
    return tmp_path / "samfleet-user" / "job"


@pytest.fixture
def start_holder(tmp_path):
    """Starts a process that holds a device until its input ends; gives it with what it printed."""
    script = tmp_path / "holder.py"
    script.write_text(HOLDER)
    with ExitStack() as stack:

        def start(folder: Path, *arguments: str) -> tuple[subprocess.Popen, str, int]:
            process = subprocess.Popen(
                [sys.executable, script, folder, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            name, worker = process.stdout.readline().split()
            return process, name, int(worker)

        yield start


def is_free(device: Device, folder: Path) -> bool:
    try:
        with lease_device([device], folder, excluded=iter([set(), {device.lock}]).__next__):
            return True
    except LeaseError:
        return False


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until_ended(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while not has_ended(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return has_ended(pid)


def test_the_first_free_device_is_taken(folder):
    with lease_device([A, B], folder) as first, lease_device([A, B], folder) as second:
        assert (first, second) == (A, B)
    assert is_free(A, folder)
    assert is_free(B, folder)


def test_a_lease_ends_with_its_block_also_on_an_error(folder):
    with pytest.raises(ZeroDivisionError), lease_device([A], folder):
        assert not is_free(A, folder)
        raise ZeroDivisionError
    assert is_free(A, folder)


def test_a_device_under_two_names_is_held_once(folder):
    with lease_device([A], folder):
        assert not is_free(Device("GPU-a", "GPU-a"), folder)


def test_two_processes_never_hold_one_device(folder, start_holder):
    _, first, _ = start_holder(folder)
    _, second, _ = start_holder(folder)
    assert {first, second} == {"0", "1"}
    assert not is_free(A, folder)
    assert not is_free(B, folder)


def test_sigkill_frees_the_device(folder, start_holder):
    process, name, _ = start_holder(folder)
    assert name == "0"
    assert not is_free(A, folder)
    process.kill()
    process.wait()
    assert is_free(A, folder)


def test_a_worker_of_a_killed_holder_does_not_keep_its_device_and_ends(folder, start_holder):
    process, _, worker = start_holder(folder, "worker")
    os.kill(worker, signal.SIGSTOP)
    process.kill()
    process.wait()
    try:
        assert is_free(A, folder)
    finally:
        with suppress(ProcessLookupError):  # the kernel may have ended it already
            os.kill(worker, signal.SIGCONT)
    assert wait_until_ended(worker)


def test_a_device_stays_held_when_a_cleaner_of_tmp_removes_its_lock(folder, start_holder):
    process, _, _ = start_holder(folder)
    shutil.rmtree(folder.parent)
    assert not is_free(A, folder)
    process.kill()
    process.wait()
    assert is_free(A, folder)


def test_a_job_waits_until_a_device_is_free(folder, monkeypatch, caplog):
    holder = ExitStack()
    holder.enter_context(lease_device([A], folder))
    monkeypatch.setattr(lease, "_NOTICE_SECONDS", -1)
    monkeypatch.setattr(lease.time, "sleep", lambda seconds: holder.close())
    with lease_device([A], folder) as device:
        assert device == A
    assert "waiting for a free device; all are in use: 0" in caplog.text


def test_a_device_that_failed_is_left_out(folder):
    with lease_device([A, B], folder, excluded=lambda: {"GPU-a"}) as device:
        assert device == B


def test_devices_are_left_out_by_identity_not_by_number(folder):
    with lease_device([A], folder, excluded=lambda: {"GPU-other", "0"}) as device:
        assert device == A


def test_no_device_left_is_an_error_that_names_those_that_failed(folder):
    with (
        pytest.raises(LeaseError, match="no device is left: GPU-a, GPU-b failed in this plan"),
        lease_device([A, B], folder, excluded=lambda: {"GPU-a", "GPU-b"}),
    ):
        pass


def test_a_device_that_fails_while_another_job_waits_for_it_is_left_out(folder):
    failed = iter([set(), set(), {"GPU-a"}])
    with (
        lease_device([A], folder),
        pytest.raises(LeaseError),
        lease_device([A], folder, excluded=lambda: next(failed)),
    ):
        pass


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
@pytest.mark.parametrize("part", ["parent", "folder"])
def test_a_folder_that_others_can_write_to_is_refused(folder, mode, part):
    folder.mkdir(parents=True, mode=0o700)
    folder.parent.chmod(0o700)
    wrong = folder if part == "folder" else folder.parent
    wrong.chmod(mode)
    with pytest.raises(LeaseError, match=f"{wrong} must be a folder that only you can write to"):
        is_free_or_raise(folder)


def test_a_folder_of_another_owner_is_refused(folder, monkeypatch):
    owner = os.getuid()
    monkeypatch.setattr(lease.os, "getuid", lambda: owner + 1)
    with pytest.raises(LeaseError, match="only you can write to"):
        is_free_or_raise(folder)


def test_a_link_in_place_of_the_folder_is_refused(folder, tmp_path):
    (tmp_path / "mine").mkdir(mode=0o700)
    folder.parent.symlink_to(tmp_path / "mine")
    with pytest.raises(LeaseError, match="only you can write to"):
        is_free_or_raise(folder)


def is_free_or_raise(folder: Path) -> None:
    with lease_device([A], folder):
        pass


def test_nobody_else_can_look_into_the_folder(folder):
    is_free_or_raise(folder)
    assert folder.stat().st_mode & 0o077 == 0
    assert folder.parent.stat().st_mode & 0o077 == 0


def test_jobs_that_see_one_device_by_its_uuid_share_its_lock(folder):
    with lease_device([A], folder.with_name("job 1")):
        assert not is_free(A, folder.with_name("job 2"))
        assert is_free(B, folder.with_name("job 2"))


def test_jobs_that_know_their_devices_by_number_alone_do_not_share_them(folder):
    device = Device("0", "0")
    with lease_device([device], folder.with_name("job 1")):
        assert not is_free(device, folder.with_name("job 1"))
        assert is_free(device, folder.with_name("job 2"))


def test_locks_of_different_jobs_do_not_meet():
    slurm, pbs = {"SLURM_JOB_ID": "12"}, {"PBS_JOBID": "12.server"}
    folders = [lease_folder(environment) for environment in ({}, slurm, pbs)]
    assert len(set(folders)) == 3
    assert {folder.parent.name for folder in folders} == {f"samfleet-{os.getuid()}"}


def test_steps_of_one_job_share_their_locks():
    assert lease_folder({"SLURM_JOB_ID": "12", "SLURM_STEP_ID": "0", "TMPDIR": "/x"}) == (
        lease_folder({"SLURM_JOB_ID": "12", "SLURM_STEP_ID": "1", "TMPDIR": "/y"})
    )


def test_an_empty_job_id_is_none():
    assert lease_folder({"SLURM_JOB_ID": ""}) == lease_folder({})


def test_a_job_id_with_slashes_stays_one_folder():
    folder = lease_folder({"_CONDOR_JOB_AD": "/var/lib/condor/dir_7/.job.ad"})
    assert folder.parent == lease_folder({}).parent


@pytest.mark.parametrize("make", [lambda lock: lock.symlink_to("nowhere"), Path.mkdir])
def test_a_lock_that_is_not_a_file_is_named(folder, make):
    assert is_free(A, folder)
    lock = folder.parent / "GPU-a"
    lock.unlink()
    make(lock)
    with pytest.raises(LeaseError, match=r"GPU-a: not a file of samfleet's .*delete it"):
        is_free_or_raise(folder)


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("function", ["mkdir", "open"])
def test_a_full_or_closed_tmp_is_named_with_what_to_do(folder, monkeypatch, fault, function):
    def refuse(path, *_, **__):
        raise OSError(fault, os.strerror(fault), str(path))

    if function == "open":
        assert is_free(A, folder)
    monkeypatch.setattr(os, function, refuse)
    with pytest.raises(LeaseError) as error:
        is_free_or_raise(folder)
    assert "samfleet-user" in str(error.value)
    assert f"({os.strerror(fault)}); /tmp must be writable" in str(error.value)


def test_a_file_system_without_locks_is_named(folder, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lease.fcntl, "flock", refuse)
    with pytest.raises(LeaseError, match=r"GPU-a: cannot be used to lease a device \(No locks"):
        is_free_or_raise(folder)
