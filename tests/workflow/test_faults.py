"""Dying and coming back: every fault ends with a complete summary, and what was finished stays."""

import os
import re
import signal
import subprocess
import time
from collections import Counter

import psutil
import pytest

from samfleet.store.segments import stored_images
from tests.workflow.conftest import detect_processes

pytestmark = pytest.mark.slow

IMAGES = 6
PATIENCE = 1800
"""Seconds after which something hangs, also on a busy machine."""
_LEFT = re.compile(rf"{IMAGES} images, (\d+) to detect")


@pytest.fixture
def busy(workspace):
    """Images in one shard, each flushed as soon as it is finished; slow enough to interfere."""
    for number in range(IMAGES):
        workspace.add_image(f"{number}.png", number)
    workspace.config["shard"] = {"flush_seconds": 0}
    workspace.config["sam"]["points_per_side"] = 8
    return workspace


def wait_for_another_result(workspace, snakemake: psutil.Popen) -> None:
    """Wait until a job has written one more image."""
    before = len(workspace.ledger())
    while len(workspace.ledger()) <= before:
        assert snakemake.poll() is None, workspace.output.read_text()
        time.sleep(0.02)


def wait_for_end(processes: list[psutil.Process]) -> None:
    """Wait until processes have ended."""
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE)
    assert not alive


def stored(workspace) -> set[str]:
    """The ids of the images that the store holds."""
    (store,) = workspace.results.glob("store/*")
    return set(stored_images(store))


def assert_lost(workspace, at_most: int) -> None:
    """No more recorded images than that will be detected again."""
    assert len({row["image_id"] for row in workspace.ledger()} - stored(workspace)) <= at_most


def logs(workspace) -> list[str]:
    """The logs of the detection's attempts; that of the last one has no number and comes last."""
    return [path.read_text() for path in sorted(workspace.results.glob("logs/detect/*.log"))]


def assert_complete(workspace, at_most_twice: int) -> None:
    """Every image has its result, and no more than so many were detected twice."""
    assert len(workspace.summary()) == IMAGES
    assert {row["status"] for row in workspace.summary().values()} <= {"ok", "empty"}
    times = Counter(row["image_id"] for row in workspace.ledger())
    assert len(times) == IMAGES
    assert sum(times.values()) - IMAGES <= at_most_twice, times
    assert workspace.run().idle


def test_a_job_that_is_stopped_and_then_killed_goes_on_within_its_shard(busy):
    snakemake = busy.start()
    wait_for_another_result(busy, snakemake)
    (job,) = detect_processes(snakemake)
    job.suspend()  # so that it cannot end before the second run has begun
    second = busy.run(fails=True)
    assert "lock" in second.output.lower()
    assert second.detections == 0
    job.terminate()
    job.resume()
    wait_for_end([job])
    assert_lost(busy, at_most=0)

    wait_for_another_result(busy, snakemake)
    (job,) = detect_processes(snakemake)
    workers = job.children(recursive=True)
    job.kill()
    wait_for_end([job, *workers])
    assert_lost(busy, at_most=1)

    assert snakemake.wait(timeout=PATIENCE) == 0, busy.output.read_text()
    output = busy.output.read_text()
    assert output.count("stopped by SIGTERM; what is finished is kept") == 1
    left = [int(number) for log in logs(busy) for number in _LEFT.findall(log)]
    assert IMAGES == left[0] > left[1] > left[2] > 0
    assert busy.run().detections == 0  # the refused run may have asked for another plan
    assert_complete(busy, at_most_twice=1)


def test_walltime_then_ctrl_c_then_a_closed_terminal_lose_nothing_that_is_finished(busy):
    snakemake = busy.start()
    wait_for_another_result(busy, snakemake)
    (job,) = detect_processes(snakemake)
    workers = job.children(recursive=True)
    job.terminate()
    job.kill()
    wait_for_end([job, *workers])
    assert_lost(busy, at_most=1)

    wait_for_another_result(busy, snakemake)
    children = snakemake.children(recursive=True)
    os.killpg(snakemake.pid, signal.SIGINT)
    assert snakemake.wait(timeout=PATIENCE) != 0
    wait_for_end(children)
    assert_lost(busy, at_most=1)
    left = [int(number) for log in logs(busy)[:2] for number in _LEFT.findall(log)]
    assert IMAGES == left[0] > left[1] > 0

    snakemake = busy.start()  # no --unlock is needed
    wait_for_another_result(busy, snakemake)
    snakemake.send_signal(signal.SIGHUP)  # which becomes SIGTERM
    snakemake.wait(timeout=PATIENCE)
    assert len(stored(busy)) == IMAGES  # running jobs finish
    busy.run()
    assert_complete(busy, at_most_twice=2)


def test_damaged_and_foreign_segments_are_set_aside_and_their_images_detected_again(detected):
    (segment,) = detected.results.glob("store/*/*.parquet")
    images = len(detected.ledger())
    data = segment.read_bytes()
    segment.write_bytes(data[: len(data) // 2])
    (segment.parent / "foreign.parquet").write_text("not a segment")
    before = detected.summary()
    again = detected.run()
    assert again.output.count("set aside") == 2
    assert again.detections == images
    assert len(list(segment.parent.glob("*.damaged"))) == 2
    assert detected.summary() == before
    assert detected.run().idle


@pytest.fixture
def small_disk(busy):
    """The results on a disk of a few hundred kilobytes."""
    if os.getuid() != 0:
        pytest.skip("mounting a small disk needs root")
    busy.results.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", busy.results]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr}")
    yield busy
    subprocess.run(["umount", busy.results], check=True)


def remount(folder, options: str) -> None:
    """Change the options of a mounted disk."""
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def test_a_full_and_a_read_only_disk_are_named_and_lose_nothing_that_is_finished(small_disk):
    snakemake = small_disk.start("--retries", "0")
    wait_for_another_result(small_disk, snakemake)
    filler = small_disk.results / "filler"
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert snakemake.wait(timeout=PATIENCE) != 0
    assert "No space left on device" in small_disk.output.read_text()
    filler.unlink()
    remount(small_disk.results, "size=20m")
    small_disk.run()
    assert_complete(small_disk, at_most_twice=2)

    small_disk.add_image("0.png", 100)
    remount(small_disk.results, "ro")
    refused = small_disk.run(fails=True)
    assert "Read-only file system" in refused.output
    remount(small_disk.results, "rw")
    assert small_disk.run().detections == 1
    assert len(small_disk.summary()) == IMAGES
