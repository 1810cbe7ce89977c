"""Dying and coming back: every fault ends with a complete summary, and what was finished stays."""

import os
import re
import signal
import subprocess
import time
from collections import Counter

import psutil
import pytest

from tests.workflow.test_leases import detect_processes

IMAGES = 6
PATIENCE = 1800
"""Seconds after which something hangs, also on a busy machine."""


@pytest.fixture
def busy(workspace):
    """Images in one shard, each flushed as soon as it is finished; slow enough to interfere."""
    for number in range(IMAGES):
        workspace.add_image(f"{number}.png", number)
    workspace.config["shard"] = {"flush_seconds": 0}
    workspace.config["sam"]["points_per_side"] = 8
    return workspace


def wait_for_first_result(workspace, snakemake: psutil.Popen) -> None:
    """Wait until the job has written the first image."""
    while not workspace.ledger():
        assert snakemake.poll() is None, workspace.output.read_text()
        time.sleep(0.05)


def assert_complete(workspace, at_most_twice: int) -> None:
    """Every image has its result, and no more than so many were detected twice."""
    assert len(workspace.summary()) == IMAGES
    assert {row["status"] for row in workspace.summary().values()} <= {"ok", "empty"}
    times = Counter(row["image_id"] for row in workspace.ledger())
    assert len(times) == IMAGES
    assert sum(times.values()) - IMAGES <= at_most_twice, times
    assert workspace.run().idle


def test_sigterm_to_a_job_ends_it_in_seconds_and_the_retry_goes_on(busy):
    snakemake = busy.start()
    wait_for_first_result(busy, snakemake)
    (job,) = detect_processes(snakemake)
    job.terminate()
    job.wait(timeout=PATIENCE)
    assert snakemake.wait(timeout=PATIENCE) == 0
    output = busy.output.read_text()
    assert "stopped by SIGTERM; what is finished is kept" in output
    assert_complete(busy, at_most_twice=0)


@pytest.mark.parametrize(
    "signals", [[signal.SIGKILL], [signal.SIGTERM, signal.SIGKILL]], ids=["killed", "walltime"]
)
def test_a_job_that_is_killed_in_mid_shard_goes_on_within_it(busy, signals):
    snakemake = busy.start()
    wait_for_first_result(busy, snakemake)
    (job,) = detect_processes(snakemake)
    workers = job.children(recursive=True)
    for number in signals:
        job.send_signal(number)
    _, alive = psutil.wait_procs([job, *workers], timeout=PATIENCE)
    assert not alive
    assert snakemake.wait(timeout=PATIENCE) == 0, busy.output.read_text()
    assert_complete(busy, at_most_twice=1)
    (first,) = busy.results.glob("logs/detect/*.failed-1.log")
    (log,) = set(busy.results.glob("logs/detect/*.log")) - {first}
    assert f"{IMAGES} images, {IMAGES} to detect" in first.read_text()
    (left,) = re.findall(rf"{IMAGES} images, (\d+) to detect", log.read_text())
    assert 0 < int(left) < IMAGES


def test_ctrl_c_stops_everything_and_the_next_run_goes_on(busy):
    snakemake = busy.start()
    wait_for_first_result(busy, snakemake)
    children = snakemake.children(recursive=True)
    os.killpg(snakemake.pid, signal.SIGINT)
    assert snakemake.wait(timeout=PATIENCE) != 0
    _, alive = psutil.wait_procs(children, timeout=PATIENCE)
    assert not alive
    busy.run()  # no --unlock is needed
    assert_complete(busy, at_most_twice=1)


def test_sigterm_to_snakemake_lets_running_jobs_finish(busy):
    snakemake = busy.start()
    wait_for_first_result(busy, snakemake)
    snakemake.terminate()
    snakemake.wait(timeout=PATIENCE)
    assert len({row["image_id"] for row in busy.ledger()}) == IMAGES
    busy.run()
    assert_complete(busy, at_most_twice=0)


def test_a_second_run_on_the_same_results_is_refused(busy):
    snakemake = busy.start()
    wait_for_first_result(busy, snakemake)
    (job,) = detect_processes(snakemake)
    job.suspend()  # so that it cannot end before the second run has begun
    second = busy.run(fails=True)
    job.resume()
    assert "lock" in second.output.lower()
    assert second.detections <= IMAGES
    assert snakemake.wait(timeout=PATIENCE) == 0
    assert busy.run().detections == 0  # the refused run may have asked for another plan
    assert_complete(busy, at_most_twice=0)


def test_damaged_and_foreign_segments_are_set_aside_and_their_images_detected_again(busy):
    busy.config["sam"]["points_per_side"] = 2  # nothing interferes with its jobs
    busy.run()
    (segment,) = busy.results.glob("store/*/*.parquet")
    data = segment.read_bytes()
    segment.write_bytes(data[: len(data) // 2])
    (segment.parent / "foreign.parquet").write_text("not a segment")
    again = busy.run()
    assert again.output.count("set aside") == 2
    assert again.detections == IMAGES
    assert len(list(segment.parent.glob("*.damaged"))) == 2
    assert_complete(busy, at_most_twice=IMAGES)


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


def test_a_full_disk_is_named_and_loses_nothing_that_is_finished(small_disk):
    snakemake = small_disk.start("--retries", "0")
    wait_for_first_result(small_disk, snakemake)
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


def test_results_that_cannot_be_written_are_named(small_disk):
    small_disk.config["sam"]["points_per_side"] = 2  # nothing interferes with its jobs
    remount(small_disk.results, "size=20m")
    small_disk.run()
    small_disk.add_image("0.png", 100)
    remount(small_disk.results, "ro")
    refused = small_disk.run(fails=True)
    assert "Read-only file system" in refused.output
    remount(small_disk.results, "rw")
    small_disk.run()
    assert len(small_disk.summary()) == IMAGES
