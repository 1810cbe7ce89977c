"""The command line: what each command is given, what `init` sees in files, and plain errors."""

import errno
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import yaml

from samfleet import cli
from samfleet.cli import store as store_command
from samfleet.config.schema import read_config
from samfleet.plan.planning import make_plan
from samfleet.resources import ROOT
from samfleet.results import store_folder, store_settings_file
from samfleet.sam.model_key import model_key, model_settings
from samfleet.survey import sample, suggestion
from tests.builders import carry_out, make_settings, write_files


@pytest.fixture(autouse=True)
def workdir(tmp_path, monkeypatch):
    """An empty working directory with a folder of images, on a machine without a GPU."""
    monkeypatch.setattr(cli, "configure_logging", lambda log: None)
    monkeypatch.setattr(suggestion, "visible_devices", lambda: [])
    monkeypatch.chdir(tmp_path)
    Path("images").mkdir()
    return tmp_path


def write_tiff(name: str, shape=(8, 8), dtype="uint16", brightest=3000, **settings) -> None:
    pixels = np.zeros(shape, dtype)
    pixels.flat[3] = brightest
    tifffile.imwrite(Path("images", name), pixels, **settings)


def init(*arguments: str) -> tuple[str, dict]:
    """What `samfleet init` writes, as text and as the keys that it sets."""
    assert cli.main(["init", "images", *arguments]) == 0
    written = Path("samfleet.yaml").read_text(encoding="utf-8")
    read_config("samfleet.yaml")
    return written, yaml.safe_load(written)


def test_init_says_what_is_there_and_writes_what_it_prints(capsys):
    write_tiff("a.tif")
    write_tiff("b.TIF")
    write_files(Path("images"), {"notes.txt": b"x"})
    written, keys = init()
    assert keys["images"] == os.path.abspath("images")
    assert keys["sam"] == {"model": "vit_b"}
    for words in ("2, .tif (2)", ".txt (1)", "8 x 8 (2)", "uint16 (2)", "grey (2)"):
        assert words in written
    assert "WARNING" not in written
    assert capsys.readouterr().out.startswith(written)


def test_init_chooses_the_large_model_where_there_is_a_gpu(monkeypatch):
    monkeypatch.setattr(suggestion, "visible_devices", lambda: ["gpu0"])
    write_tiff("a.tif")
    assert init()[1]["sam"] == {"model": "vit_h"}


def test_init_proposes_tiles_for_images_that_are_larger_than_the_models_input():
    write_tiff("a.tif", shape=(700, 1000))
    written, keys = init()
    assert "object_diameter" not in keys["sam"]
    assert "# object_diameter: auto # tiles, if objects are less than 47 pixels wide" in written
    write_tiff("b.tif", shape=(1030, 60))
    Path("samfleet.yaml").unlink()
    written, keys = init()
    assert keys["sam"] == {"model": "vit_b", "object_diameter": "auto"}
    assert "up to 1030" in written


@pytest.mark.parametrize(
    ("dtype", "brightest", "white"),
    [
        ("uint16", 200, 255),
        ("uint16", 1023, 1023),
        ("uint16", 1024, 4095),
        ("uint16", 4095, 4095),
        ("uint16", 16000, 16383),
        ("uint16", 16384, 65535),
        ("uint8", 100, None),
        ("int16", 4000, 4095),
        ("int16", 20000, 32767),
        ("uint32", 60000, 65535),
        ("uint32", 70000, 262143),
        ("float32", 0.5, 1),
        ("float32", 200.0, 255),
        ("float32", 3000.0, 4095),
        ("uint16", 0, None),
        ("float64", np.nan, None),
    ],
)
def test_init_pins_the_scale_that_a_summary_would_choose(dtype, brightest, white):
    write_tiff("a.tif", dtype=dtype, brightest=brightest)
    write_tiff("b.tif", dtype=dtype, brightest=brightest / 2)
    written, keys = init()
    assert keys["fluorescence"].get("white") == white
    assert (f"The brightest pixel seen is\n  # {brightest:g};" in written) == (white is not None)


def test_init_pins_the_scale_of_one_despite_a_few_brighter_pixels():
    write_tiff("a.tif", shape=(200, 200), dtype="float32", brightest=1.05)
    assert init()[1]["fluorescence"]["white"] == 1


def test_init_leaves_the_scale_of_several_types_to_the_summary():
    write_tiff("a.tif")
    write_tiff("b.tif", dtype="uint8", brightest=100)
    written, keys = init()
    assert "white" not in keys["fluorescence"]
    assert (
        "white is left to the summary, which chooses it for each type: uint16 (1), uint8 (1)"
        in written
    )


@pytest.mark.parametrize(
    ("dtype", "background", "brightest", "share"),
    [("uint16", 300, 3000, "19"), ("uint16", 100, 3000, ""), ("uint8", 20, 200, "20")],
)
def test_init_proposes_contrast_where_the_background_is_bright(dtype, background, brightest, share):
    pixels = np.full((9, 9), background, dtype)
    pixels[0, 0] = brightest
    tifffile.imwrite("images/a.tif", pixels)
    written, keys = init()
    assert (f"background alone is at about {share} of 255" in written) == bool(share)
    assert ("# min_contrast: 8.1" in written) == bool(share)
    assert "min_contrast" not in keys["fluorescence"]


def test_init_warns_of_files_that_differ_or_cannot_be_read():
    write_tiff("a.tif")
    write_tiff("stack.tif", shape=(5, 8, 8), photometric="minisblack")
    cv2.imwrite("images/color.png", np.full((8, 8, 3), (10, 20, 30), np.uint8))
    write_files(Path("images"), {f"bad{n}.jpg": b"no image" for n in range(7)})
    written, keys = init()
    assert "white" not in keys["fluorescence"]
    assert "display" not in keys  # colours pass as they are
    assert keys["image"] == {"slices": "max"}
    assert "several planes, the first of 5 scenes" in written
    for words in (
        "pixels' types: uint16 (2), uint8 (1)",
        "channels: grey (2), colour (1)",
        "planes: one plane (2), several planes (1)",
        "bad0.jpg cannot be read: un",
        "2 more of the files looked at cannot be read",
        "Looked at: 10, of which 3 can be read",
    ):
        assert words in written


def test_init_warns_of_what_is_doubtful_about_files():
    for name in ("a.tif", "b.tif"):
        write_tiff(name, photometric="miniswhite", metadata=None)
    write_tiff("c.tif")
    written, _ = init()
    assert "WARNING: 2 files of those looked at: the values were inverted" in written


def test_init_offers_the_channels_of_what_is_no_colour_image():
    write_tiff("a.tif", shape=(3, 8, 8), metadata={"axes": "CYX"}, photometric="minisblack")
    written, keys = init()
    assert keys["display"] == {"channel": "max"}
    assert "0 to 2" in written


@pytest.mark.parametrize(("side", "smallest", "largest"), [(256, 94, 9375), (1024, 1500, 150000)])
def test_init_fits_the_areas_to_small_images(side, smallest, largest):
    write_tiff("a.tif", shape=(side, side))
    filters = init()[1]["fluorescence"]
    assert (filters["min_area"], filters["max_area"]) == (smallest, largest)


def test_init_reads_a_bounded_sample_with_every_kind_of_file(monkeypatch):
    for number in range(20):
        write_tiff(f"{number:02}.tif")
    write_tiff("only.tiff")
    monkeypatch.setattr(sample, "SAMPLE_FILES", 6)
    written, _ = init()
    assert "Image files: 21, .tif (20), .tiff (1)." in written
    assert (
        "Looked at: 4, of which 4 can be read" in written
    )  # 3 of the share of .tif, and the other
    monkeypatch.setattr(sample, "SAMPLE_BYTES", 2 * Path("images/only.tiff").stat().st_size)
    Path("samfleet.yaml").unlink()
    assert "Looked at: 2, of which 2 can be read" in init()[0]


def test_init_writes_something_to_run_when_nothing_can_be_read():
    write_files(Path("images"), {"a.png": b"no image"})
    written, keys = init()
    assert "Looked at: 1, of which 0 can be read" in written
    assert keys["fluorescence"]["min_area"] == 1500


def test_init_quotes_whatever_a_folder_is_called(workdir):
    name = "a: b #c\x7f\udcff\N{GRINNING FACE}"
    Path("images").rename(name)
    write_files(workdir / name, {"bad\n.png": b"no image"})
    assert cli.main(["init", name]) == 0
    assert read_config("samfleet.yaml")["images"] == str(workdir / name)


def test_init_overwrites_nothing(capsys):
    write_tiff("a.tif")
    Path("samfleet.yaml").write_text("mine")
    assert cli.main(["init", "images"]) == 2
    assert Path("samfleet.yaml").read_text() == "mine"
    assert (
        "samfleet.yaml: already exists; name another file with --output" in capsys.readouterr().err
    )
    assert cli.main(["init", "images", "--output", "other.yaml"]) == 0
    assert read_config("other.yaml")


@pytest.fixture
def started(monkeypatch) -> list[list[str]]:
    """The command lines that take this process's place."""
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, command: started.append(command))
    Path("my.yaml").write_text("images: demo\n")
    return started


def test_run_becomes_snakemake_on_the_packages_workflow(started, workdir):
    assert cli.main(["run", "my.yaml"]) == 0
    (command,) = started
    assert command == [
        *(sys.executable, "-m", "snakemake", f"--snakefile={ROOT / 'Snakefile'}"),
        *(f"--configfile={workdir / 'my.yaml'}", "--cores=all"),
    ]
    assert (ROOT / "Snakefile").is_file()


def test_run_hands_on_what_is_asked_of_snakemake(started, workdir):
    options = ["--gpus", "2", "--cores", "8", "--directory", "there", "-n"]
    cli.main(["run", *options, "my.yaml", "--", "results/summary.csv", "--quiet"])
    (command,) = started
    assert command[command.index("snakemake") + 2 :] == [
        *(f"--configfile={workdir / 'my.yaml'}", "--resources=gpu=2"),
        *("--directory=there", "--dry-run", "--cores=8", "results/summary.csv", "--quiet"),
    ]


@pytest.mark.parametrize("option", ["--workflow-profile=slurm", "--profile", "--executor", "-e"])
def test_cores_of_this_machine_do_not_limit_jobs_elsewhere(started, workdir, option):
    cli.main(["run", "my.yaml", "--", option, "x"])
    cli.main(["run", "my.yaml", "--cores", "3", "--", option, "x"])
    assert [[part for part in command if part.startswith("--cores")] for command in started] == [
        [],
        ["--cores=3"],
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "none.yaml"], "none.yaml: no such file; `samfleet init FOLDER` writes a"),
        (["summary", "none.yaml"], "none.yaml: no such file"),
        (["overlays", "none.yaml", "out"], "none.yaml: no such file"),
        (["summary", "my.yaml"], "results: there is no plan; `samfleet run my.yaml` makes one"),
        (["overlays", "my.yaml", "out"], "results: there are no tables; `samfleet run my.yaml`"),
        (["status", "--results", "none"], "--results none: no such folder"),
        (["export", "coco", "my.yaml", "out", "--results", "none"], "none: no such folder"),
        (["init", "nowhere"], "nowhere is neither a folder nor a table (looked for in /"),
        (["init", "images"], "no image in images"),
        (
            ["init", "demo", "--output", "no/where.yaml"],
            "no/where.yaml: its folder does not exist",
        ),
    ],
)
def test_an_error_names_the_file_and_what_to_do(arguments, words, started, capsys):
    assert cli.main(arguments) == 2
    assert words in capsys.readouterr().err
    assert not started
    assert not Path("samfleet.yaml").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["run", "my.yaml", "--gpus", "0"],
        ["run", "my.yaml", "--cores", "many"],
        ["summary", "my.yaml", "--", "--quiet"],
    ],
    ids=" ".join,
)
def test_a_faulty_command_line_starts_nothing(arguments, started, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: samfleet" in capsys.readouterr().err
    assert not started


def test_the_command_imports_no_heavy_library_before_it_is_needed():
    heavy = {"numpy", "pandas", "pyarrow", "torch", "cv2", "skimage", "tifffile"}
    code = f"import sys, samfleet.cli; print(sorted({heavy} & set(sys.modules)))"
    printed = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(cli.__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert printed.stdout.strip() == "[]"


def test_run_names_the_folders_when_none_can_hold_temporary_files(started, monkeypatch, capsys):
    def nowhere():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)
    assert cli.main(["run", "my.yaml"]) == 2
    assert "directory found in ['/tmp']: make room there, or set TMPDIR" in capsys.readouterr().err
    assert started == []


def test_run_refuses_a_section_that_stands_twice(started, capsys):
    Path("my.yaml").write_text("images: demo\nsam: {}\nsam: {}\n")
    assert cli.main(["run", "my.yaml"]) == 2
    assert "my.yaml: `sam` stands in line 2 and again in line 3" in capsys.readouterr().err
    assert started == []


@pytest.mark.parametrize(
    "option", ["sam.model=tiny", "--config=sam.model=tiny", "-Csam.model=tiny"]
)
def test_run_explains_how_a_key_inside_a_section_is_set(option, started, capsys):
    assert cli.main(["run", "my.yaml", "--", "--config", option]) == 2
    assert "write --config 'sam={model: tiny}'" in capsys.readouterr().err
    assert started == []
    assert cli.main(["run", "my.yaml", "--", "--config", "sam={model: tiny}"]) == 0


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert re.fullmatch(r"samfleet (\d+\.\d+\.\d+|\(a clone .*\))\n", capsys.readouterr().out)


def test_a_full_disk_is_named_without_a_traceback(capsys, monkeypatch):
    def fill(_):
        raise OSError(errno.ENOSPC, "No space left on device", "results/summary.csv")

    monkeypatch.setattr(store_command, "show", fill)
    assert cli.main(["store"]) == 2
    assert capsys.readouterr().err.startswith(
        "samfleet: results/summary.csv: No space left on device; make room"
    )


def test_summary_refuses_what_was_detected_under_other_settings(workdir, capsys):
    settings = make_settings(workdir / "images", fluorescence={"largest_part": False})
    write_tiff("a.tif")
    explained = model_settings(settings, "0" * 64)
    plan = make_plan(settings, workdir / "results", model_key(explained), 1)
    carry_out(workdir / "results", plan)
    note = store_settings_file(store_folder(workdir / "results", plan.model_key))
    config = {"images": str(workdir / "images"), "fluorescence": {"largest_part": False}}
    for written, other in (
        (explained, {}),
        (explained, {"largest_part": True, "min_area": 1}),
        (explained | {"algorithm_version": 1}, {}),
    ):
        note.write_text(json.dumps({"model": "vit_h", **written}))
        sections = config | {"fluorescence": config["fluorescence"] | other}
        Path("my.yaml").write_text(yaml.safe_dump(sections))
        ended, printed = cli.main(["summary", "my.yaml"]), capsys.readouterr().err
        differing = [name for name in ("largest_part", "algorithm_version") if name in printed]
        assert ended == (2 if differing else 0)
        assert differing == (["largest_part"] if other else []) + (
            ["algorithm_version"] if written != explained else []
        )
    assert not list(note.parent.glob("*.damaged"))


def test_summary_refuses_another_collection_and_says_that_it_has_changed(workdir, capsys, caplog):
    settings = make_settings("images")
    write_tiff("a.tif")
    plan = make_plan(settings, workdir / "results", "0" * 16, 1)
    carry_out(workdir / "results", plan)
    Path("my.yaml").write_text("images: others")
    assert cli.main(["summary", "my.yaml"]) == 2
    assert "the last plan is of images: images, not of others" in capsys.readouterr().err
    Path("my.yaml").write_text("images: images")
    assert cli.main(["summary", "my.yaml"]) == 0
    assert "have changed" not in capsys.readouterr().err + caplog.text
    write_tiff("b.tif")
    assert cli.main(["summary", "my.yaml"]) == 0
    assert "the images have changed since the last plan" in capsys.readouterr().err + caplog.text


def test_run_names_a_configuration_that_is_not_yaml(started, workdir, capsys):
    Path("my.yaml").write_text("images: [")
    assert cli.main(["run", "my.yaml"]) == 2
    assert "my.yaml: cannot be read as YAML" in capsys.readouterr().err
    assert started == []


def test_an_image_in_place_of_a_folder_is_told_from_a_table(workdir, capsys):
    Path("a.png").write_bytes(b"")
    assert cli.main(["init", "a.png"]) == 2
    assert "a.png is an image; name its folder" in capsys.readouterr().err
