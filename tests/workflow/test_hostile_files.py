"""Whole runs over images that are broken, odd or badly named: a row for every file, no `error`."""

import os
import struct
import subprocess
import time
from collections import Counter
from collections.abc import Callable

import cv2
import numpy as np
import pandas as pd
import pytest

from samfleet.cells import read_csv
from samfleet.config.schema import schema
from samfleet.digests import image_id
from samfleet.files import unescape_name
from tests.images import GREY8, JPEGS, RGB8, chunk, opencv, tiff
from tests.unit.images.formats.test_given import (
    GIVEN_DATA,
    NASTY,
    NASTY_REFUSED,
    WITHOUT_GROUND_TRUTH,
    needs_data,
)

pytestmark = pytest.mark.slow


def summary_rows(workspace) -> dict[str, dict]:
    """The first row of each file in summary.csv, which is in the order of names as bytes."""
    rows = read_csv(workspace.results / "summary.csv")
    names = [unescape_name(row["image"]) for row in rows]
    assert names == sorted(names, key=os.fsencode)
    several = [row for row in rows if names.count(unescape_name(row["image"])) > 1]
    assert all(row["scene"] + row["time"] + row["slice"] for row in several)
    return dict(reversed([*zip(names, rows, strict=True)]))


def assert_tables_agree(workspace) -> None:
    """Objects belong to images that have some, and every candidate is counted."""
    rows = read_csv(workspace.results / "summary.csv")
    objects = pd.read_parquet(workspace.results / "objects.parquet")
    with_objects = Counter()
    for row in rows:
        with_objects[row["image"]] += int(row["n_objects"] or 0)
    assert Counter(objects["image"]) == +with_objects
    filtering = pd.read_csv(workspace.results / "filtering.csv", index_col="filter")["count"]
    assert filtering["candidates"] == sum(int(row["n_candidates"] or 0) for row in rows)
    assert filtering["candidates"] == filtering.drop("candidates").sum()
    assert filtering["objects"] == len(objects)
    for row in rows:
        assert (row["status"] in ("ok", "empty")) == (row["reason"] == "")


def stored_now(workspace) -> pd.DataFrame:
    """What the store says of every image, by image id."""
    segments = workspace.results.glob("store/*/*.parquet")
    return pd.concat(map(pd.read_parquet, segments)).groupby("image_id").first()


@needs_data
def test_every_given_file_gets_its_row_with_its_status_and_its_pixels(workspace):
    for name in ("nasty", "fluorescence/images_nogt"):
        (workspace.images / os.path.basename(name)).symlink_to(GIVEN_DATA / name)
    suffixes = schema()["properties"]["image"]["properties"]["suffixes"]["default"]
    workspace.config["image"] = {"suffixes": [*suffixes, ".tsv"]}  # every file that is there
    run = workspace.run()
    assert "Traceback" not in run.output

    refused = {f"nasty/{name}": what for name, what in NASTY_REFUSED.items()}
    refused["nasty/SOURCES.tsv"] = ("unsupported", "begins with")
    read = {f"nasty/{name}": what for name, what in NASTY.items()}
    read |= {f"images_nogt/{name}": what for name, what in WITHOUT_GROUND_TRUTH.items()}
    rows, stored = summary_rows(workspace), stored_now(workspace)
    assert set(rows) == {*read, *refused}
    for name, (status, words) in refused.items():
        assert (rows[name]["status"], words in rows[name]["reason"]) == (status, True), rows[name]
    for name, (shape, dtype, _, largest, _, is_color, plane) in read.items():
        row, image = rows[name], stored.loc[rows[name]["image_id"]]
        assert row["status"] in ("ok", "empty"), row
        assert (int(row["height"]), int(row["width"])) == shape[:2], name
        assert (image["dtype"], image["is_color"]) == (dtype, is_color), name
        which = row["scene"] + row["time"] + row["slice"]
        assert which or image["plane"] == plane, name
        assert image.image_maximum[0] == pytest.approx(largest, rel=1e-6), name
    assert_tables_agree(workspace)
    assert workspace.run().idle


NAMES = (
    b"two  spaces .png",
    b" leading and trailing.png",
    b"'single' \"double\" `back`.png",
    b"-rf.png",
    b"--cores.png",
    b"new\nline.png",
    b"tab\t and return\r.png",
    b"back\\slash \\x41 \\n.png",
    b"{wildcards} %s $HOME $(id) ;&|<>*?[].png",
    b"=1+1,comma.png",
    b"#comment.png",
    b"bell\x07 delete\x7f.png",
    "composed \u00e9.png".encode(),
    "decomposed e\u0301.png".encode(),
    "line\u2028separator \u202eright to left \U0001f52c.png".encode(),
    b"latin-1 caf\xe9.png",
    b"no character \xff\xfe.png",
    b"UPPER.PNG",
    b"a" * 251 + b".png",
)
WHOLE = {
    "a PNG.tif": opencv(".png", RGB8),
    "a TIFF.jpg": tiff(GREY8),
    "a JPEG.png": JPEGS["color"],
    "one pixel.png": opencv(".png", GREY8[:1, :1]),
    "one row.png": opencv(".png", np.tile(GREY8[:1], 10)),
    "constant.tif": tiff(np.full((30, 40), 7, np.uint16)),
    "no number.tif": tiff(np.full((30, 40), np.nan, np.float32)),
    "infinite.tif": tiff(np.where(GREY8 > 99, np.inf, -np.inf).astype(np.float32)),
    "beyond float32.tif": tiff(np.where(GREY8 > 99, 1e300, -1e300)),
    "largest integers.tif": tiff(np.where(GREY8 > 99, 2**64 - 1, 0).astype(np.uint64)),
    "nine channels.tif": tiff(np.stack([GREY8] * 9), photometric="minisblack", planarconfig="separate"),
}  # fmt: skip
BROKEN = {
    "nothing.tif": (b"", "unreadable", "empty"),
    "zeros.png": (bytes(5000), "unreadable", "zero"),
    "cut off.png": (opencv(".png", RGB8)[:-400], "unreadable", "truncated"),
    "cut off.jpg": (JPEGS["color"][:-400], "unreadable", "truncated"),
    "cut off.tif": (tiff(GREY8)[:-400], "unreadable", "truncated"),
    "letter.jpg": (b"Dear colleague", "unsupported", "begins with b'Dear colleague'"),
    "camera.tif": (b"ZISRAWFILE" + bytes(200), "unsupported", "CZI"),
    "bomb.png": (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 1 << 16, 1 << 16, 8, 0, 0, 0, 0)), "too_large", "65536 x 65536"),
    "large.png": (opencv(".png", np.zeros((100, 100), np.uint8)), "too_large", "100 x 100"),
    "narrow.png": (opencv(".png", np.tile(GREY8[:1], 40)), "unsupported", "1480 x 1 pixels are too narrow"),
    "complex.tif": (tiff(GREY8.astype(np.complex64)), "unsupported", "complex"),
}  # fmt: skip


@pytest.fixture
def without_permission(workspace) -> Callable[[], None]:
    """Makes a file that nobody may read; root is run without the right to read everything."""
    if os.geteuid() == 0:
        rights = "-dac_override,-dac_read_search"
        workspace.prefix = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}"]
        if subprocess.run([*workspace.prefix, "true"], capture_output=True).returncode != 0:
            pytest.skip("setpriv cannot take root's right to read every file")

    def make() -> None:
        path = workspace.images / "private.png"
        path.write_bytes(opencv(".png", RGB8))
        path.chmod(0)

    return make


def test_hostile_files_and_names_get_their_rows_or_their_words(workspace, without_permission):
    for number, name in enumerate(NAMES):
        pixels = np.full((20, 24), 10 + number, np.uint8)
        cv2.circle(pixels, (12, 10), 6, 200, -1)
        path = os.path.join(os.fsencode(workspace.images), name)
        with open(path, "xb") as file:
            file.write(opencv(".png", pixels))
    for name, data in WHOLE.items():
        (workspace.images / name).write_bytes(data)
    for name, (data, _, _) in BROKEN.items():
        (workspace.images / name).write_bytes(data)
    (workspace.images / "nowhere.png").symlink_to("gone")
    (workspace.images / "itself.png").symlink_to("itself.png")
    (workspace.images / "folder.png").mkdir()
    (workspace.images / "folder.png" / "above").symlink_to("..")
    workspace.add_image("folder.png/vanishes.png", 1)
    os.mkfifo(workspace.images / "pipe.png")
    without_permission()
    workspace.config["image"] = {"max_pixels": 5000}

    snakemake = workspace.start()
    while not (workspace.results / "plan" / "plan.json").exists():
        assert snakemake.poll() is None, workspace.output.read_text()
        time.sleep(0.01)
    (workspace.images / "folder.png" / "vanishes.png").unlink()
    assert snakemake.wait(timeout=300) == 0, workspace.output.read_text()

    rows = summary_rows(workspace)
    found = {name: (row["status"], row["reason"]) for name, row in rows.items()}
    for name in ("nowhere.png", "itself.png", "pipe.png", "private.png"):
        assert found[name][0] == "unreadable"
    assert found.pop("nowhere.png")[1] == "cannot be read: No such file or directory"
    assert found.pop("itself.png")[1] == "cannot be read: Too many levels of symbolic links"
    assert found.pop("pipe.png")[1] == "cannot be read: not a regular file"
    assert found.pop("private.png")[1] == "cannot be read: Permission denied"
    assert found.pop("folder.png/vanishes.png") == (
        "unreadable",
        "cannot be read: No such file or directory",
    )
    for name, (_, status, words) in BROKEN.items():
        assert (found[name][0], words in found.pop(name)[1]) == (status, True), rows[name]
    assert set(found) == {*WHOLE, *map(os.fsdecode, NAMES)}
    assert {status for status, _ in found.values()} <= {"ok", "empty"}
    for name in found:
        assert rows[name]["image_id"] == image_id((workspace.images / name).read_bytes())
    assert len({rows[os.fsdecode(name)]["image_id"] for name in NAMES}) == len(NAMES)
    assert_tables_agree(workspace)
    assert "Traceback" not in workspace.output.read_text()
