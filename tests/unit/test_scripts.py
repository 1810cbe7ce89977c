"""Scripts take Snakemake's job apart and make one call; everything goes to the rule's log."""

import contextlib
import errno
import logging
import os
import re
import resource
import runpy
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from samfleet.config.schema import complete_config
from samfleet.detection.stopping import Stopped
from samfleet.errors import UserError, explanation
from samfleet.logs import configure_logging
from samfleet.plan.record import read_plan
from samfleet.results import plan_file, shard_file, stamp_file, verified_file
from samfleet.summary.verification import FailedImages
from tests.builders import carry_out, write_files

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
KEY = "0123456789abcdef"


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """An empty working directory with images."""
    write_files(tmp_path, {"images/a.tif": b"a", "images/b.tif": b"b"})
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Inputs(SimpleNamespace):
    """Named files that can be iterated over, as Snakemake's."""

    def __iter__(self):
        return iter(vars(self).values())


def run_script(name: str, config: dict | None = None, **job) -> None:
    """Run a script as Snakemake does, with a stand-in for its object."""
    stand_in = SimpleNamespace(
        config=complete_config({"images": "images", **(config or {})}),
        log=[f"logs/{name}.log"],
        input=Inputs(**job.pop("input", {})),
        output=SimpleNamespace(**job.pop("output", {})),
        **job,
    )
    runpy.run_path(str(SCRIPTS / f"{name}.py"), {"snakemake": stand_in}, "__main__")


def log(name: str) -> str:
    return Path(f"logs/{name}.log").read_text()


def planned():
    stamp = stamp_file("results", "plan", 7)
    write_files(Path(), {str(stamp): b"2\n"})
    output = {"plan": "results/plan/plan.json"}
    run_script("plan", input={"stamp": str(stamp)}, output=output)
    return read_plan(plan_file("results"))


def summarize():
    run_script("summary", output={"summary": "results/summary.csv"})


@pytest.mark.parametrize("path", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_a_script_does_nothing_when_a_worker_imports_it(path, workdir):
    before = sorted(workdir.rglob("*"))
    runpy.run_path(str(path), run_name="__mp_main__")
    assert sorted(workdir.rglob("*")) == before


def test_plan_takes_its_number_and_the_gpus_from_the_stamp(workdir, monkeypatch):
    calls = []
    with monkeypatch.context() as patch:
        patch.setattr("samfleet.plan.planning.make_plan", lambda *a, **named: calls.append(named))
        planned()
    assert calls == [{"gpus": 2, "stamp": 7}]
    plan = planned()
    assert (plan.stamp, plan.images) == (7, 2)
    assert "2 images, 2 to detect\n" in log("plan")
    words = (
        "2 images to detect are cut into 2 chunks, to be drawn by 1 job on 1 device of 2 (more jobs would hardly "
        "outlast their own start: shard.min_seconds), expected to take about 3 seconds"
    )
    assert words in log("plan")


def test_inputs_that_are_dated_in_the_future_are_set_to_now(workdir):
    stamp = stamp_file("results", "plan", 7)
    write_files(Path(), {str(stamp): b"2\n"})
    os.utime(stamp, (2e9, 2e9))
    planned()
    assert stamp.stat().st_mtime <= time.time()


def test_detect_carries_out_a_shard_of_its_plan(workdir, monkeypatch):
    plan, calls = planned(), []
    monkeypatch.setattr(
        "samfleet.detection.job.detect_shard", lambda *a, **named: calls.append((a, named))
    )
    shard = shard_file("results", plan.id, "0001")
    done = f"results/plan/{plan.id}/0001.done"
    job = {"threads": 3, "resources": SimpleNamespace(runtime=30)}
    monkeypatch.setenv("SLURM_JOB_END_TIME", "1234.5")
    run_script("detect", input={"shard": str(shard)}, output={"done": done}, **job)
    (((settings, results), named),) = calls
    assert (settings.images, results) == ("images", Path("results"))
    assert named == {
        "shard_list": shard,
        "done": Path(done),
        "threads": 3,
        "ends": 1234.5,
    }


def test_a_stopped_detection_ends_with_the_status_of_its_signal(workdir, monkeypatch):
    def stopped(*_, **__):
        raise Stopped(15)

    plan = planned()
    monkeypatch.setattr("samfleet.detection.job.detect_shard", stopped)
    shard = str(shard_file("results", plan.id, "0001"))
    done = f"results/plan/{plan.id}/0001.done"
    with pytest.raises(SystemExit) as ended:
        job = {"threads": 1, "resources": SimpleNamespace(runtime=30)}
        run_script("detect", input={"shard": shard}, output={"done": done}, **job)
    assert ended.value.code == 128 + 15
    assert not Path(done).exists()


def test_summary_writes_the_tables_of_the_plans_model(workdir):
    carry_out(Path("results"), planned())
    summarize()
    assert Path("results/summary.csv").read_text().count(",ok,") == 2
    assert "2 images (2 ok), 2 objects" in log("summary")


def test_a_summary_names_the_plan_that_it_cannot_read(workdir):
    planned()
    plan_file("results").write_text("{")
    with pytest.raises(FileNotFoundError, match=r"plan\.json: the plan is gone or damaged"):
        summarize()


def test_verify_writes_its_word_only_when_nothing_failed(workdir):
    plan = planned()
    carry_out(Path("results"), plan, {"b.tif": {"status": "error", "reason": "why"}})
    summarize()
    files = {"input": {"summary": "results/summary.csv"}, "output": {}}
    with pytest.raises(FailedImages, match=r"b\.tif: error: why"):
        run_script("verify", **files)
    assert not verified_file("results").exists()
    carry_out(Path("results"), plan)
    summarize()
    run_script("verify", **files)
    assert verified_file("results").read_text() == "2 images, none failed\n"


def test_fetch_weights_fetches_the_configured_file_and_says_where_it_is(workdir, monkeypatch):
    calls = []

    def fetch(model, path):
        calls.append((model, path))
        return path

    monkeypatch.setattr("samfleet.sam.fetching.fetch_weights", fetch)
    config = {"sam": {"model": "vit_b", "cache_folder": "cache"}}
    run_script("fetch_weights", config, output={"weights": "weights.txt"})
    assert calls == [("vit_b", Path("cache/sam_vit_b_01ec64.pth"))]
    assert Path("weights.txt").read_text() == "cache/sam_vit_b_01ec64.pth\n"


@contextlib.contextmanager
def full_disk():
    """No file can grow beyond 100 bytes, as on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_named_by_plan_and_summary_which_leave_nothing_behind(workdir):
    with pytest.raises(OSError) as error, full_disk():
        planned()
    assert re.match(
        r"results/plan/hashes-\w+\.tsv: File too large; make room", str(explanation(error.value))
    )
    plan = planned()
    carry_out(Path("results"), plan)
    before = sorted(Path("results").rglob("*"))
    with pytest.raises(OSError) as error, full_disk():
        summarize()
    assert re.match(r"results(/[\w./]+)?: File too large; make room", str(explanation(error.value)))
    assert not list(Path("results").glob(".objects-*"))
    assert {path for path in Path("results").rglob("*.tmp")} == set()
    assert set(before) <= set(Path("results").rglob("*"))
    summarize()
    assert Path("results/summary.csv").read_text().count(",ok,") == 2


@pytest.mark.parametrize(
    "fault", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO, errno.EACCES]
)
def test_an_error_of_the_disk_is_in_the_log_with_its_file_and_without_a_traceback(workdir, fault):
    text = uncaught(OSError(fault, os.strerror(fault), "results/summary.csv"))
    assert f"CRITICAL results/summary.csv: {os.strerror(fault)}; " in text
    assert "then run again" in text
    assert "Traceback" not in text


def test_a_package_that_is_not_installed_is_named(workdir):
    text = uncaught(ModuleNotFoundError("No module named 'torch'", name="torch"))
    assert (
        "CRITICAL the package torch is not installed; install what requirements.txt lists" in text
    )
    assert "Traceback" not in text
    assert "Traceback" in uncaught(ModuleNotFoundError("No module", name="samfleet.gone"))


def test_any_other_error_of_the_system_keeps_its_traceback(workdir):
    assert "Traceback" in uncaught(OSError(errno.ENOENT, "No such file", "a.py"))


def uncaught(error: Exception) -> str:
    configure_logging("logs/deep/job.log")
    try:
        raise error
    except type(error):
        sys.excepthook(*sys.exc_info())
    return Path("logs/deep/job.log").read_text()


def test_an_uncaught_error_is_in_the_log_with_its_traceback(workdir):
    text = uncaught(LookupError("of a fault of ours"))
    assert "CRITICAL of a fault of ours" in text
    assert "Traceback (most recent call last)" in text


def test_an_error_that_a_user_can_put_right_is_in_the_log_without_one(workdir):
    text = uncaught(UserError("images: none is neither a folder nor a table"))
    assert "CRITICAL images: none is neither" in text
    assert "Traceback" not in text


def test_warnings_and_messages_are_in_the_log(workdir):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        configure_logging("job.log")
        warnings.warn("of a library", UserWarning, stacklevel=1)
    logging.getLogger("samfleet.any").info("of ours")
    text = Path("job.log").read_text()
    assert "UserWarning: of a library" in text
    assert "INFO of ours" in text
